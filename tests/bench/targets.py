"""What is aimed at on a CPU, and how far it is reached; the aims are ratios to the best peer in the same run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from measure import Found, Record
from ratios import PEAK, SENTENCES, SPEED, WHOLE, Of, Spread, best, ratio, spread

OURS, ENGINE = "nmt", "CTranslate2"


class Target(NamedTuple):
    """A row of what is aimed at."""

    name: str
    target: float
    floor: float | None
    is_least: bool  # more is better
    ratio: Spread | float | None
    against: str  # which peer, or what is missing

    def row(self) -> list[str]:
        """Return the cells."""
        aims = [self.name, self._limit(self.target), self._limit(self.floor)]
        if self.ratio is None:
            return [*aims, "not measured", self.against, "-"]
        value = self.ratio.median if isinstance(self.ratio, Spread) else self.ratio
        shown = self.ratio.show(2) if isinstance(self.ratio, Spread) else f"{self.ratio:.3f}"
        return [*aims, shown, self.against, ("reached", "not reached", "below the floor")[self._missed(value)]]

    def _limit(self, value: float | None) -> str:
        return "-" if value is None else f"{'>=' if self.is_least else '<='} {value}"

    def _missed(self, value: float) -> int:
        limits = [limit for limit in (self.target, self.floor) if limit is not None]
        return sum(value < limit if self.is_least else value > limit for limit in limits)


def targets(found: Found) -> list[Target]:
    """Return every row of the aims on a CPU."""
    return [*_training(found), *_translation(found), *_memory(found), *_padding(found), *_scale(found)]


def _training(found: Found) -> list[Target]:
    aims = (
        ("training", "Transformer, fp32", "fp32", 2.0, 1.5),
        ("training", "Transformer, bf16", "bf16", 3.0, 2.0),
        ("training-rnn", "RNN, fp32", "fp32", 2.0, 1.5),
    )
    rows = []
    for part, name, mode, target, floor in aims:
        for title, peers in (("as shipped", True), ("any setting", False)):
            peer = best([record for record in peers_of(found, part) if record.is_shipped or not peers], SPEED)
            against = ratio(_ours(found, part, mode), peer, SPEED)
            rows.append(_target(f"training, {name}, peers {title}", target, floor, against, peer))
    return rows


def _translation(found: Found) -> list[Target]:
    fp32, part = _ours(found, "translation", "fp32"), "translation"
    engine, small = (best(_engine(found, part, kind), SENTENCES) for kind in ("float32", "int8"))
    whole = best(_engine(found, part, "int8"), WHOLE, is_least=True)
    fastest, quickest = fastest_of_ours(found, SENTENCES), fastest_of_ours(found, WHOLE, is_least=True)
    own = best([record for record in found.of(part) if record.toolkit == OURS and _is_fp32(record)], SENTENCES)
    name = f"translation, {fastest[0].mode if fastest else 'best mode'}"
    rows = []
    for title, peers in (("as shipped", True), ("any setting", False)):
        for unit, of in (("sentences", SENTENCES), ("pieces", SPEED)):
            peer = best([record for record in _torch(found, part) if record.is_shipped or not peers], of)
            rows.append(
                _target(f"translation, fp32, PyTorch peers {title}, {unit}", 3.0, 2.0, ratio(fp32, peer, of), peer)
            )
    rows += [
        _target("translation, fp32, best layouts, CTranslate2", 1.0, 0.5, ratio(own, engine, SENTENCES), engine),
        _target(f"{name}, CTranslate2 int8", 1.0, 0.4, ratio(fastest, small, SENTENCES), small),
        _target(
            "1,000 sentences, whole process, best mode, CTranslate2 int8", 1.5, None, ratio(quickest, whole, WHOLE),
            whole, is_least=False,
        ),
    ]  # fmt: skip
    mine = best([record for record in found.of("one") if record.toolkit == OURS], WHOLE, is_least=True)
    peer = best(_torch(found, "one"), WHOLE, is_least=True)
    seconds = spread(map(WHOLE, mine)) if mine else None
    faster = _target(
        "one sentence, whole process, PyTorch peers", 1.0, None, ratio(mine, peer, WHOLE), peer, is_least=False
    )
    alone = _target("one sentence, whole process, seconds", 2.0, 3.0, seconds, mine, is_least=False)
    return [*rows, alone, faster]


def fastest_of_ours(found: Found, of: Of, *, is_least: bool = False) -> list[Record]:
    """Return the runs of our best mode whose BLEU is within 0.2 of fp32's."""
    mine = [record for record in found.of("translation") if record.toolkit == OURS]
    exact = found.bleu.get(f"{OURS}, fp32", 0.0)
    return best([record for record in mine if found.bleu[record.system] >= exact - 0.2], of, is_least=is_least)


def _memory(found: Found) -> list[Target]:
    rows = []
    alone = tuple(f"{mode}, one worker" for mode in ("fp32", "bf16", "bf16, shortlist"))
    for part, modes in (("training", ("fp32", "bf16")), ("translation", (*alone, "fp32"))):
        peer = best(_torch(found, part), PEAK, is_least=True)
        for mode in modes:
            against = ratio(_ours(found, part, mode), peer, PEAK)
            rows.append(_target(f"peak memory, {part}, {mode}", 0.7, 1.0, against, peer, is_least=False))
    return rows


def _padding(found: Found) -> list[Target]:
    shares = found.other.get("padding", {})
    return [Target(f"padding, {name}", 0.05, 0.10, False, share, "of all cells") for name, share in shares.items()]


def _scale(found: Found) -> list[Target]:
    rows = []
    mine = [record for record in found.of("scale") if record.toolkit == OURS]
    many, few = ([record for record in mine if record.mode.endswith(size)] for size in ("many", "few"))
    for name, of in (("time per sentence", _per_sentence), ("peak memory", PEAK)):
        against = ratio(many, few, of)
        count = f"{many[0].figures.sentences:,} over {few[0].figures.sentences:,} sentences" if many and few else ""
        rows.append(Target(f"{name}, many sentences over few", 1.1, None, False, against, count))
    return rows


def _per_sentence(record: Record) -> float:
    return record.figures.seconds / record.figures.sentences


def _target(
    name: str,
    target: float,
    floor: float | None,
    ratio: Spread | None,
    peer: Sequence[Record],
    *,
    is_least: bool = True,
) -> Target:
    return Target(name, target, floor, is_least, ratio, peer[0].system if peer else "no such peer was measured")


def _ours(found: Found, part: str, mode: str) -> list[Record]:
    return [record for record in found.of(part) if record.toolkit == OURS and record.mode == mode]


def peers_of(found: Found, part: str) -> list[Record]:
    """Return the runs of all systems that are not ours."""
    return [record for record in found.of(part) if record.toolkit != OURS]


def _torch(found: Found, part: str) -> list[Record]:
    return [record for record in peers_of(found, part) if record.toolkit != ENGINE]


def _engine(found: Found, part: str, kind: str) -> list[Record]:
    return [record for record in found.of(part) if record.toolkit == ENGINE and record.mode.startswith(kind)]


def _is_fp32(record: Record) -> bool:
    return record.mode.startswith("fp32")
