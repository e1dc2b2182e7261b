"""Which device and precision are meant, and that products in fp32 are fp32's."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from nmt.device import Compute, compute, has_bf16
from nmt.errors import OptionError

CPU = torch.device("cpu")
GPU = torch.cuda.is_available()


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """What `compute` sets holds for the whole process, and the tests of other modules expect one thread."""
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("device", ["cuda:99", *([] if GPU else ["cuda", "cuda:0"])])
def test_a_gpu_that_is_not_there_is_named(device: str) -> None:
    with pytest.raises(OptionError, match=rf"--device {device}: not on this machine; use --device auto"):
        compute(device)


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="there is one")
def test_an_mps_that_is_not_there_is_named() -> None:
    with pytest.raises(OptionError, match=r"--device mps: not on this machine"):
        compute("mps")


def test_half_precision_of_gpus_is_refused_on_a_cpu() -> None:
    with pytest.raises(OptionError, match=r"--precision fp16: for GPUs only; use bf16 or fp32"):
        compute("cpu", "fp16")


def test_automatic_is_fp32_on_a_cpu_and_bf16_on_a_gpu() -> None:
    assert compute("cpu") == Compute(torch.device("cpu"), torch.float32)
    assert compute().dtype == (torch.bfloat16 if GPU else torch.float32)


@pytest.mark.parametrize(("has", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_a_gpu_that_only_emulates_bf16_computes_in_fp32(
    has: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def supports(including_emulation: bool = True) -> bool:
        asked.append(including_emulation)
        return has or including_emulation

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supports)
    assert compute("cuda:1").dtype == dtype
    assert asked == [False]
    assert compute("cuda:1", "bf16").dtype == torch.bfloat16


@pytest.mark.parametrize("threads", [1, 2])
def test_as_many_threads_as_asked_for(threads: int) -> None:
    compute("cpu", threads=threads)
    assert torch.get_num_threads() == threads


def test_zero_threads_are_all_cores() -> None:
    compute("cpu", threads=0)
    assert torch.get_num_threads() >= 1


def test_products_of_fp32_are_exact_to_fp32() -> None:
    compute("cpu", "fp32")
    left, right = torch.randn(200, 300), torch.randn(300, 100)
    exact = left.double() @ right.double()
    assert float((left @ right - exact).norm() / exact.norm()) < 1e-6


@pytest.mark.parametrize(
    ("name", "way"), [("Intel Xeon 2.50GHz", "highest"), ("AMD EPYC 9R14", "medium"), (None, "medium")]
)
def test_intels_cpus_keep_the_products_of_mkl(name: str | None, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"cpu_name": name} if name else {}, raising=False)
    compute("cpu", "fp32")
    assert torch.get_float32_matmul_precision() == ("highest" if real.get("amx_bf16") else way)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_products_run_in_the_precision_that_was_chosen(precision: str) -> None:
    on = compute("cpu", precision)
    layer = on.fit(nn.Linear(8, 8))
    assert layer(torch.randn(8, 8, dtype=on.dtype)).dtype == on.dtype
    assert on.dtype == torch.float32 or precision == "bf16"


@pytest.mark.parametrize(
    ("known", "has"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"avx512_f": True, "avx512_bw": True, "avx512_vnni": True, "avx512_bf16": False}, False),
        ({}, False),
    ],
)
def test_bf16_is_the_products_and_not_the_rest_of_avx512(
    known: dict[str, object], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: known, raising=False)
    assert has_bf16() is has
    assert compute("cpu", "bf16").dtype == (torch.bfloat16 if has else torch.float32)


def test_bf16_is_not_taken_where_it_is_slower() -> None:
    """Products that are emulated take four times as long as fp32's, real ones half as long."""

    def seconds(dtype: torch.dtype) -> float:
        left, right, taken = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype), list[float]()
        for _ in range(20):
            before = time.perf_counter()
            left @ right
            taken.append(time.perf_counter() - before)
        return min(taken)

    assert not has_bf16() or seconds(torch.bfloat16) < 1.5 * seconds(torch.float32)


def test_in_full_precision_the_model_itself_is_used() -> None:
    model = nn.Linear(8, 8)
    assert Compute(CPU, torch.float32).fit(model) is model
    assert model.weight.dtype == torch.float32


def test_in_half_precision_a_copy_is_used_that_goes_its_own_way() -> None:
    """What is learnt later stays out of the copy, and nothing that is done to the copy reaches the model."""
    model = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout()).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    copy = Compute(CPU, torch.bfloat16).fit(model)
    tensors = copy.state_dict()
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {torch.bfloat16}
    assert all(torch.equal(tensors[name], tensor.to(tensors[name].dtype)) for name, tensor in before.items())
    assert not any(module.training for module in copy.modules())
    with torch.no_grad():
        copy[0].weight.zero_()
        model[0].bias.add_(1.0)
    assert torch.equal(model[0].weight, before["0.weight"])
    assert model[0].weight.dtype == torch.float32
    assert torch.equal(copy[0].bias, before["0.bias"].bfloat16())


# ---- the surroundings -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "used"), [({}, "4000"), ({"GOMP_SPINCOUNT": "7"}, "7")])
def test_threads_spin_briefly_unless_told_otherwise(given: dict[str, str], used: str) -> None:
    """Beside a busy process training all but stopped: threads that spin while they wait take each other's cores."""
    kept = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    script = "import os, nmt; print(os.environ['GOMP_SPINCOUNT'])"
    done = subprocess.run(
        [sys.executable, "-c", script], env={**kept, **given}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == used


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="pages are counted on Linux")
def test_memory_that_was_kept_is_given_back() -> None:
    """In a process of its own: how the allocator keeps memory is set for the whole of one."""
    code = """if True:
        import torch
        from nmt.device import compute, give_back_memory
        def held():
            status = open("/proc/self/status").read().split("RssAnon:")[1]
            return int(status.split()[0]) // 1024
        compute("cpu", threads=1)
        before = held()
        big = [torch.ones(2**18) for _ in range(200)]  # MiB
        wall = torch.ones(2**10)
        del big
        kept = held() - before
        give_back_memory()
        print(kept, held() - before)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept, left = map(int, done.stdout.split())
    assert kept > 150
    assert left < 50
