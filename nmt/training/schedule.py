"""The learning rate of a step and the end of training, as functions of counts; it knows no optimizer and no model."""

from __future__ import annotations

import math
from typing import NamedTuple

from nmt.config import TrainingConfig


def learning_rate(step: int, config: TrainingConfig) -> float:
    """Return the learning rate of optimizer step `step`, counted from 1.

    It grows linearly over `warmup` steps; then it falls with the inverse square root of the step (arXiv 1706.03762
    section 5.3, scaled so that the peak is `learning_rate`), with half a cosine to 0 at `max_steps`, or stays.
    """
    if step < config.warmup:
        return config.learning_rate * step / config.warmup
    if config.schedule == "inverse_sqrt":
        return config.learning_rate * math.sqrt(max(config.warmup, 1) / max(step, 1))
    if config.schedule == "cosine":
        done = (step - config.warmup) / max(config.max_steps - config.warmup, 1)
        return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    return config.learning_rate


class Record(NamedTuple):
    """The best validation so far, and how many since then were no better."""

    best: float | None = None
    best_step: int = 0
    bad: int = 0  # validations since the best

    def after(self, value: float, step: int, *, lower_is_better: bool) -> Record:
        """Return the record once `value` was measured at `step`; what is not finite is never better.

        Of equal ones, such as the first BLEU of 0, the latest is kept, though for patience it is no better.
        """
        better = self.best is None or (value < self.best if lower_is_better else value > self.best)
        if better and math.isfinite(value):
            return Record(value, step, 0)
        return Record(self.best, step if value == self.best else self.best_step, self.bad + 1)
