"""Measures how long a step takes, before it is decided how many are made."""

from __future__ import annotations

import copy
import time
from itertools import islice

import torch

from nmt.batches import Corpus, Position, epoch_batches
from nmt.config import Config
from nmt.device import Compute
from nmt.models import Model
from nmt.recipe import Pace
from nmt.training.learner import Learner
from nmt.training.trainer import batch_ceiling

STEPS = 32  # of which the second half counts: the first ones take a quarter longer
ENOUGH = 8.0  # seconds of steps


def measure(model: Model, corpus: Corpus, config: Config, compute: Compute) -> Pace:
    """Return the pace of training, without R-Drop; model and generators stay as they are."""
    training, sampling = config.training, config.is_redrawn
    limit = batch_ceiling(training.batch_tokens, compute.device)
    pairs = batches = 0
    for batch, after in epoch_batches(corpus, training.seed, limit, Position(), sampling=sampling):
        pairs, batches = pairs + len(batch.source.lengths), batches + 1
        if after.block:
            break
    devices = [compute.device] if compute.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        learner = Learner(copy.deepcopy(model), training.model_copy(update={"rdrop": 0.0}), compute)
        some = epoch_batches(corpus, training.seed, limit, Position(), sampling=sampling)
        seconds = list[float]()
        for step, (batch, _) in enumerate(islice(some, STEPS), 1):
            before = time.monotonic()
            float(learner.learn([batch] * training.accumulate, step, 0.0).loss)  # which waits for a GPU
            seconds.append(time.monotonic() - before)
            if sum(seconds) > ENOUGH:
                break
    timed = seconds[len(seconds) // 2 :]
    per_epoch = batches * len(corpus) / pairs / training.accumulate
    return Pace(len(corpus), per_epoch, sum(timed) / len(timed))
