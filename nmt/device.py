"""Where and in which precision the arithmetic runs; it knows nothing of models or training."""

from __future__ import annotations

import copy
import ctypes
import os
from typing import NamedTuple, TypeVar

import torch
from torch import nn

from nmt.errors import OptionError
from nmt.ranks import rank

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8  # of malloc.h
BF16_PRODUCTS = "avx512_bf16", "amx_bf16", "bf16"  # as torch names them; the last one is ARM's
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}

AnyModule = TypeVar("AnyModule", bound=nn.Module)


class Compute(NamedTuple):
    """A device and the precision of what runs on it; weights that are learnt or kept are fp32 everywhere."""

    device: torch.device
    dtype: torch.dtype

    @property
    def is_fused(self) -> bool:
        """Say whether torch's optimizers have one kernel for all weights here."""
        return self.device.type in ("cpu", "cuda")

    def fit(self, model: AnyModule) -> AnyModule:
        """Return the model moved to the device; in half precision a copy, which further learning does not reach.

        Weights and activations are all of one precision: converting back and forth around each product, as autocast
        does, takes a tenth of a training step. What needs more, sums over the vocabulary, is widened where it is made.
        """
        if self.dtype == torch.float32:
            return model.to(self.device)
        return copy.deepcopy(model).to(self.device, self.dtype)


def compute(device: str = "auto", precision: str = "auto", threads: int = 0) -> Compute:
    """Set the number of threads (0: all cores of this process, or its share) and choose device and precision.

    Each of several processes on a host has a GPU of its own, where there are so many.

    Raises OptionError for a device that is not there or cannot do the precision.
    """
    own = rank()
    torch.set_num_threads(threads or max(1, _cores() // own.local_size))
    chosen = torch.device(_best_device() if device == "auto" else device)
    if chosen == torch.device("cuda") and own.local_size > 1:
        chosen = torch.device("cuda", own.local % max(1, torch.cuda.device_count()))
        torch.cuda.set_device(chosen)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise OptionError(f"--device {device}: not on this machine; use --device auto")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise OptionError(f"--device {device}: not on this machine; use --device auto")
    if chosen.type == "cpu":
        _use_fast_fp32_products()
        _keep_freed_memory()
    if precision == "auto":
        precision = "bf16" if chosen.type == "cuda" and _gpu_has_bf16(chosen) else "fp32"
    if precision == "fp16" and chosen.type == "cpu":
        raise OptionError("--precision fp16: for GPUs only; use bf16 or fp32 on a CPU")
    if precision == "bf16" and chosen.type == "cpu" and not has_bf16():
        precision = "fp32"  # emulated bf16 is several times slower and no better
    return Compute(chosen, PRECISIONS.get(precision, torch.float32))


def _gpu_has_bf16(device: torch.device) -> bool:
    with torch.cuda.device(device):  # older GPUs emulate it, as older CPUs do
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _cores() -> int:
    """Return the cores this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bf16() -> bool:
    """Say whether the CPU multiplies in bf16 by itself, which torch can tell from 2.11 on.

    oneDNN takes bf16 on every CPU with AVX-512; where that has no such products they are emulated, four times slower
    than fp32.
    """
    if not (hasattr(torch.cpu, "get_capabilities") and torch.backends.mkldnn.is_available()):  # type: ignore[no-untyped-call]
        return False
    known = torch.cpu.get_capabilities()
    return any(known.get(name, False) for name in BF16_PRODUCTS)


def _use_fast_fp32_products() -> None:
    """Route fp32 products through oneDNN where that is faster and keeps fp32's accuracy.

    oneDNN is about twice as fast as MKL on AMD, and on Intel's own CPUs up to a fifth slower; where CPUs have AMX the
    same setting computes in bf16, which the product below shows.
    """
    if "intel" in _cpu_name().lower():
        torch.set_float32_matmul_precision("highest")
        return
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(64, 64, generator=generator) for _ in range(2))
    exact = (left.double() @ right.double()).float()
    torch.set_float32_matmul_precision("medium")
    if float((left @ right - exact).norm() / exact.norm()) > 1e-6:
        torch.set_float32_matmul_precision("highest")


def _cpu_name() -> str:
    """Return what torch calls the CPU, which it can tell from 2.11 on."""
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return str(known.get("cpu_name", ""))


def _keep_freed_memory() -> None:
    """Let the allocator of glibc keep what tensors free, instead of handing it back and faulting it in again.

    A training step frees and takes hundreds of tensors of megabytes; each page of them costs a fault otherwise.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_ARENA_MAX, 1)  # what one thread frees serves the others
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(M_TOP_PAD, 2**26)


def give_back_memory() -> None:
    """Hand what lies freed in glibc's allocator back to the system, after work that needed more than what follows."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
