"""Whether systems differ by more than luck: sacreBLEU's paired tests; it knows nothing of how they are shown.

Both ask how often chance alone gives a difference as large as the one seen. Paired bootstrap (Koehn 2004, W04-3250)
draws test sets of sentences with replacement; approximate randomisation (Riezler and Maxwell 2005, W05-0908) swaps the
outputs of two systems sentence by sentence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from nmt.inspect.scoring import Scorer

Kind = Literal["bs", "ar"]  # as sacreBLEU names them
KINDS: dict[Kind, str] = {"bs": "paired bootstrap", "ar": "approximate randomisation"}
NOTABLE = 0.05  # the usual level: a smaller p-value is called significant


@dataclass(frozen=True)
class PairedTest:
    """What one test says of one metric."""

    name: str
    signature: str  # sacreBLEU's, with the number of trials and the seed
    p_values: list[float | None]  # one per system; None: of the first, with which the others are compared


def paired_tests(
    systems: Sequence[tuple[str, Sequence[str]]], scorers: Mapping[str, Scorer]
) -> dict[str, list[PairedTest]]:
    """Return both tests by metric; systems are names and hypotheses, the first of them the baseline."""
    if len(systems) < 2:
        return {name: [] for name in scorers}
    found = [_test(kind, systems, scorers) for kind in KINDS]
    return {name: [tests[name] for tests in found] for name in scorers}


def _test(
    kind: Kind, systems: Sequence[tuple[str, Sequence[str]]], scorers: Mapping[str, Scorer]
) -> dict[str, PairedTest]:
    from sacrebleu.significance import PairedTest as Test  # here, because it is slow to import

    metrics = {name: scorer.metric for name, scorer in scorers.items()}
    references = next(iter(scorers.values())).references
    signatures, results = Test(list(systems), metrics, references, test_type=kind)()
    return {
        name: PairedTest(KINDS[kind], str(signatures[name]), [_number(result.p_value) for result in results[name]])
        for name in scorers
    }


def _number(value: float | None) -> float | None:
    return None if value is None else float(value)
