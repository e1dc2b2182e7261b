"""`make mutants`: breaks the code on purpose, one way at a time, and sees that the tests notice each."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMIT = 600  # seconds for the tests of one mutant


class Mutant(NamedTuple):
    """A change that would break a promise, and the tests that are to see it."""

    file: str
    old: str
    new: str
    tests: str


MUTANTS = {
    "the attention mask is dropped": Mutant(
        "nmt/models/attention.py", "masked_fill_(~visible, -math.inf)", "masked_fill_(~visible, 0.0)",
        "tests/test_transformer.py tests/test_attention.py",
    ),
    "texts in pages are not escaped": Mutant(
        "nmt/inspect/html.py", 'return Html(html.escape(CONTROL.sub("\\ufffd", without_surrogates(text))))',
        "return Html(text)", "tests/test_reportpage.py",
    ),
    "the state of random numbers is not restored": Mutant(
        "nmt/training/learner.py", 'torch.set_rng_state(_bytes(state["rng"]["torch"]))', "pass",
        "tests/test_learner.py tests/test_trainer.py",
    ),
    "targets are not shifted": Mutant(
        "nmt/training/learner.py", "inputs, labels, smoothing = target[:, :-1], target[:, 1:],",
        "inputs, labels, smoothing = target[:, :-1], target[:, :-1],", "tests/test_learner.py tests/test_tasks.py",
    ),
    "files are not compared with the manifest": Mutant(
        "nmt/sealed.py", "if entry_of(data) != self.files[name]:", "if False:", "tests/test_checkpoint.py",
    ),
    "the manifest is not compared with its digest": Mutant(
        "nmt/sealed.py", "if text != data:", "if False:", "tests/test_checkpoint.py",
    ),
    "word vectors land on other rows": Mutant(
        "nmt/training/embeddings.py", "table.weight[list(rows)] =", "table.weight[: len(rows)] =",
        "tests/test_embeddings.py",
    ),
    "pairs with an empty side are kept": Mutant(
        "nmt/corpus.py", "elif is_blank(source) or is_blank(target):", "elif False:", "tests/test_corpus.py",
    ),
    "pairs that share a side with a held-out one are trained on": Mutant(
        "nmt/training/heldout.py", "out: tuple[int, ...] = (SIDE, SAME)", "out: tuple[int, ...] = ()",
        "tests/test_heldout.py",
    ),
    "what is set by hand is chosen by the recipe": Mutant(
        "nmt/recipe.py", "choices += _training(config, profile, machine)\n    return [choice for choice in choices if "
        "choice.key not in given]", "return choices + [*_training(config, profile, machine)]", "tests/test_recipe.py",
    ),
    "an ensemble averages logarithms": Mutant(
        "nmt/models/ensemble.py", "        total += each.softmax(-1, dtype=wide)\n    return total.div_(len(logits))",
        "        total *= each.softmax(-1, dtype=wide)\n    return total.pow_(1 / len(logits))",
        "tests/test_ensemble.py",
    ),
    "lines are read by splitlines": Mutant(
        "nmt/text.py", '*ended, rest = data.split(b"\\n")', "*ended, rest = [*data.splitlines(), b''] if data.endswith("
        "b'\\n') else data.splitlines() or [b'']", "tests/test_line_contract.py tests/test_text.py",
    ),
    "line ends in translations are kept": Mutant(
        "nmt/translate.py", "return Output(clean(text).strip(),", "return Output(text,", "tests/test_line_contract.py",
    ),
    "gradients that are no numbers are applied": Mutant(
        "nmt/training/learner.py", "changed = bool(norm.isfinite())", "changed = True", "tests/test_learner.py",
    ),
    "a plan too long is kept": Mutant(
        "nmt/training/trainer.py", "        self._replan(self.clock.pace)\n", "", "tests/test_trainer.py",
    ),
    "a checkpoint is not synced": Mutant(
        "nmt/sealed.py", "        os.fsync(stream.fileno())\n    return", "    return", "tests/test_checkpoint.py",
    ),
    "a model's files are unpickled": Mutant(
        "nmt/training/checkpoint.py", "return dict(sorted(parse_tensors(content.read(name)).items()))",
        "import io; return dict(torch.load(io.BytesIO(content.read(name)), weights_only=False))",
        "tests/test_checkpoint.py",
    ),
}  # fmt: skip


def main() -> int:
    """Try all mutants, or those whose name has a word in it, and return 1 where one lives."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("--only", default="", help="a word of the name")
    only = parser.parse_args().only
    alive = [name for name, mutant in MUTANTS.items() if only in name and not is_killed(name, mutant)]
    print(f"{sum(only in name for name in MUTANTS)} mutants, {len(alive)} alive")
    return int(bool(alive))


def is_killed(name: str, mutant: Mutant) -> bool:
    """Say whether the tests turn red with the change, in a copy of everything."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="nmt-mutant-") as folder:
        copy = Path(folder) / "copy"
        ignored = shutil.ignore_patterns(".git", ".venv", "runs", ".bench", "__pycache__", ".pytest_cache")
        shutil.copytree(ROOT, copy, ignore=ignored)
        file = copy / mutant.file
        text = file.read_text(encoding="utf-8")
        assert text.count(mutant.old) == 1, f"{name}: {mutant.file} has not just one {mutant.old!r}"
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", *mutant.tests.split()]
        done = subprocess.run(
            command, cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
    found = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    killed = done.returncode == 1 and bool(found)
    seconds = time.monotonic() - began
    print(
        f"{name:50} {'killed' if killed else 'ALIVE '} {seconds:6.1f} s  {found[0][:90] if found else ''}", flush=True
    )
    return killed


if __name__ == "__main__":
    sys.exit(main())
