"""The run folder on disk: config, weights and checkpoints; it knows nothing of how the weights are found.

Weights are safetensors, state is JSON: nothing is unpickled. Every folder is sealed by a manifest (`nmt.sealed`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load as parse_tensors
from safetensors.torch import save as format_tensors
from torch import Tensor, nn

import nmt
from nmt import sealed
from nmt.config import Config
from nmt.configfile import dump_config, read_yaml
from nmt.configfile import load_config as read_config
from nmt.errors import DataError, ModelError, OptionError
from nmt.models import Model, build
from nmt.sealed import MANIFEST, Content, Sealed, canonical, entry_of, read_file
from nmt.shortlist import Shortlist
from nmt.tokenizer import Tokenizers

CONFIG, WEIGHTS, STATE, SHORTLIST = "config.yaml", "model.safetensors", "state.json", "shortlist.safetensors"
SHARED, SOURCE, TARGET, SUFFIX = "tokenizer.model", "source.model", "target.model", ".safetensors"
LATER = {"word_dropout": 0, "transition_depth": 1}  # without effect on checkpoints that know nothing of them

Tensors = Mapping[str, Tensor]


# ---- checkpoints ----------------------------------------------------------------------------------------------


def step_folder(run: Path, step: int) -> Path:
    """Return where the checkpoint of a step lies."""
    return run / "checkpoints" / f"step-{step:08d}"


def steps(run: Path) -> list[int]:
    """Return the steps of all checkpoints, sound or not, in rising order."""
    names = (re.fullmatch(r"step-(\d{8,})", path.name) for path in (run / "checkpoints").glob("step-*"))
    return sorted(int(match[1]) for match in names if match)


def save_checkpoint(run: Path, step: int, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> Path:
    """Write `checkpoints/step-N/` with one `.safetensors` per entry of `tensors`, and `state` as JSON.

    Tensors that share their memory (tied weights) are saved once, under the first of their names. `state` may hold no
    NaN and no infinity. Returns the folder.
    """
    files: dict[str, Content] = {name + SUFFIX: _content(group) for name, group in tensors.items()}
    files[STATE] = canonical({**state, "step": step, "run": _identity(run)})
    folder = step_folder(run, step)
    sealed.write_folder(folder, files)
    return folder


def load_checkpoint(folder: Path) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """Return the tensors (on the CPU) and the state of a checkpoint, every byte verified."""
    content = sealed.unseal(folder)
    state = _state(content)
    names = [name for name in content.files if name.endswith(SUFFIX)]
    return {name.removesuffix(SUFFIX): _tensors(content, name) for name in names}, state


def latest(run: Path, warn: Callable[[str], None]) -> Path | None:
    """Return the newest checkpoint whose every byte is sound, with a warning for each unsound one passed over."""
    for step in reversed(steps(run)):
        folder = step_folder(run, step)
        try:
            verify(folder)
        except ModelError as error:
            warn(f"{error}; going back to the checkpoint before it")
        else:
            return folder
    return None


def verify(folder: Path) -> None:
    """Raise ModelError, naming the file, where anything of a checkpoint or of a finished run is damaged or missing."""
    content = sealed.unseal(folder)
    for name in content.files:
        content.read(name)


def prune(run: Path, last: int, keep: int, best: int | None = None) -> None:
    """Remove all checkpoints up to `last` but `keep` and that of step `best`, once the last is seen to be sound."""
    known = [step for step in steps(run) if step <= last]
    old = [step for step in known[: max(0, len(known) - keep)] if step != best]
    if old:
        verify(step_folder(run, last))
    for step in old:
        sealed.remove_folder(step_folder(run, step))


def sweep(run: Path) -> None:
    """Remove what writes of killed processes left behind; to be called before training goes on."""
    sealed.sweep(run)
    sealed.sweep(run / "checkpoints")


# ---- the run ----------------------------------------------------------------------------------------------------


def save_config(
    run: Path, config: Config, fingerprints: Mapping[str, Any], reasons: Mapping[str, str] | None = None
) -> None:
    """Write config.yaml with `reasons` by dotted key; where the file changes, the run is no longer finished."""
    why = {"recipe": dict(reasons)} if reasons else {}
    tree = {"nmt": nmt.__version__, **dump_config(config), "fingerprints": dict(fingerprints), **why}
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False, width=120).encode()
    path = run / CONFIG
    if not path.exists() or path.read_bytes() != text:
        reopen(run)
        sealed.replace_file(path, text)


def load_config(run: Path) -> Config:
    """Return the config of a run folder; keys that nmt does not know are refused."""
    try:
        return read_config(run / CONFIG)
    except (OptionError, DataError) as error:
        raise ModelError(str(error)) from error


def load_fingerprints(run: Path) -> dict[str, Any]:
    """Return what `save_config` was told of the data, every number as text."""
    return read_yaml(run / CONFIG)[0].get("fingerprints") or {}


def load_reasons(run: Path) -> dict[str, str]:
    """Return why the recipe chose the options it did, by their dotted keys."""
    return read_yaml(run / CONFIG)[0].get("recipe") or {}


def finish(run: Path, weights: Tensors, shortlist: Shortlist | None = None) -> None:
    """Write the weights to translate with and then, last, the manifest that alone means *finished*."""
    reopen(run)
    entries = {WEIGHTS: sealed.replace_file(run / WEIGHTS, _content(weights))}
    if shortlist is not None:
        entries[SHORTLIST] = sealed.replace_file(run / SHORTLIST, _content(shortlist._asdict()))
    for name in (CONFIG, *_tokenizer_names(run)):
        entries[name] = entry_of(read_file(run / name))
    sealed.replace_file(run / MANIFEST, sealed.seal(entries))


def reopen(run: Path) -> None:
    """Take the word *finished* back, because training goes on."""
    sealed.remove_file(run / MANIFEST)


def is_finished(run: Path) -> bool:
    """Say whether training ended here with weights to translate with."""
    return (run / MANIFEST).is_file()


# ---- the model --------------------------------------------------------------------------------------------------


class Loaded(NamedTuple):
    """A model in eval mode with all that belongs to it."""

    config: Config
    tokenizers: Tokenizers
    model: Model


def load_model(path: Path, device: torch.device) -> Loaded:
    """Return the model of a finished run, or of a checkpoint's folder: its average if it has one, else its weights.

    Raises ModelError, naming the file, for whatever is missing, damaged, swapped or not finite.
    """
    run = run_folder(path)
    name, weights = (WEIGHTS, _run_weights(path)) if run == path else _checkpoint_weights(path)
    config = load_config(run)
    tokenizers = Tokenizers.load(run)
    model = build(config.model, tokenizers.source.size, tokenizers.target.size, shared=tokenizers.shared)
    _fill(model, weights, str(path / name))
    return Loaded(config, tokenizers, model.to(device).eval())


def load_models(paths: Sequence[Path], device: torch.device) -> Iterator[Loaded]:
    """Yield the models of several folders; raises ModelError where one has other ids or languages than the first."""
    first, way = list[str](), ""
    for path in paths:
        loaded = load_model(path, device)
        digests, there = [tokenizer.sha256 for tokenizer in loaded.tokenizers], loaded.config.data.direction
        first, way = first or digests, way or there
        if there not in ("", way):
            raise ModelError(f"{path}: translates {there}, not {way} as {paths[0]}; give models of one direction")
        if digests != first:
            raise ModelError(f"{path}: its tokenizer is not that of {paths[0]}; give models trained on the same pairs")
        yield loaded


def load_shortlist(path: Path) -> Shortlist:
    """Return the shortlist of a finished run, or of the run of a checkpoint."""
    run = run_folder(path)
    content = sealed.unseal(run) if is_finished(run) else None
    if content is None or SHORTLIST not in content.files or not (run / SHORTLIST).exists():
        raise ModelError(f"{run}: has no {SHORTLIST}, which nmt train writes at its end; translate without --shortlist")
    return Shortlist(**_tensors(content, SHORTLIST))


def run_folder(path: Path) -> Path:
    """Return the run that a checkpoint's folder belongs to; a run folder belongs to itself."""
    return path.resolve().parent.parent if (path / STATE).is_file() else path


def _checkpoint_weights(folder: Path) -> tuple[str, dict[str, Tensor]]:
    content = sealed.unseal(folder)
    _state(content)
    name = next((name for name in ("average" + SUFFIX, "weights" + SUFFIX) if name in content.files), None)
    if name is None:
        raise ModelError(f"{folder}: no weights in this checkpoint; copy the folder again")
    return name, _tensors(content, name)


def _run_weights(run: Path) -> dict[str, Tensor]:
    if not run.is_dir():
        raise ModelError(f"{run}: no such model; give a run folder, or train one with nmt train")
    if not is_finished(run):
        known = steps(run)
        advice = f"use its checkpoint {step_folder(run, known[-1])}" if known else "give a folder that nmt train wrote"
        raise ModelError(f"{run}: not a finished run, it has no {MANIFEST}; {advice}")
    content = sealed.unseal(run)
    for name in (CONFIG, *_tokenizer_names(run)):
        content.read(name)
    return _tensors(content, WEIGHTS)


def _fill(model: nn.Module, weights: Tensors, name: str) -> None:
    """Put weights into a model; a name may be absent where its tensor is tied to one that is there."""
    for key, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{name}: non-finite values in {key}; use another checkpoint")
    own = model.state_dict()
    given = {own[key].data_ptr() for key in weights if key in own}
    strange = [key for key in weights if key not in own or own[key].shape != weights[key].shape]
    missing = [key for key in own if key not in weights and own[key].data_ptr() not in given]
    if strange or missing:
        raise ModelError(f"{name}: does not fit {CONFIG} at {(strange + missing)[0]}; copy the folder again")
    model.load_state_dict(weights, strict=False)


def _content(tensors: Tensors) -> Callable[[], bytes]:
    """Return what writes the tensors; of those in the same memory only the first, as safetensors demands."""

    def content() -> bytes:
        first: dict[object, str] = {}
        for name, tensor in tensors.items():
            place = (tensor.data_ptr(), tensor.shape, tensor.stride()) if tensor.numel() else name
            first.setdefault(place, name)
        return format_tensors({name: tensors[name].detach().cpu().contiguous() for name in first.values()})

    return content


def _tensors(content: Sealed, name: str) -> dict[str, Tensor]:
    try:
        return dict(sorted(parse_tensors(content.read(name)).items()))
    except SafetensorError as error:
        raise ModelError(f"{content.folder / name}: not safetensors ({error}); copy the folder again") from error


def _state(content: Sealed) -> dict[str, Any]:
    """Return a checkpoint's state once its run has the tokenizers and the model it was saved with."""
    state: dict[str, Any] = json.loads(content.read(STATE))
    run = content.folder.resolve().parent.parent
    saved, found = state.pop("run"), _identity(run)
    for name in {**saved, **found}:
        if saved.get(name) != found.get(name):
            raise ModelError(f"{run / name}: not the one that {content.folder} was saved with; restore it")
    return state


def _identity(run: Path) -> dict[str, str]:
    """Return what a checkpoint needs of its run: digests of the tokenizers and of the model's options."""
    names = (name for name in _tokenizer_names(run) if (run / name).is_file())
    found = {name: entry_of(read_file(run / name)).sha256 for name in names}
    if (run / CONFIG).is_file():
        options = dump_config(load_config(run).model)
        for name in ("embeddings", *(name for name, usual in LATER.items() if options.get(name) == usual)):
            del options[name]  # the first says where the weights began: no matter
        found[CONFIG] = entry_of(canonical(options)).sha256
    return found


def _tokenizer_names(run: Path) -> tuple[str, ...]:
    return (SOURCE, TARGET) if any((run / name).exists() for name in (SOURCE, TARGET)) else (SHARED,)
