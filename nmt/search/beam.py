"""The one search loop, which extends the hypotheses of a batch of sentences; it knows no model beyond its interface.

Steps count from 0: step t reads the token before place t and chooses the one that stands there. The log-probability
of a hypothesis is never masked or truncated: rules only take candidates away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nmt.batches import BOS, EOS, PAD, UNK, Padded
from nmt.config import SearchConfig
from nmt.graphs import is_recorded
from nmt.models.interface import Memory, Seq2Seq, State, select, take
from nmt.search.hypotheses import Candidates, Hypothesis, Requests, Strategy, length_penalty
from nmt.search.recorded import Recorder

FREE = -1  # in `Plan.forced`: any token may stand here
POLL = {"cuda": 8, "mps": 8}  # steps between two looks at what has finished: there each look waits for the device
MULTIPLE = 16  # of the steps there is room for, where steps are recorded: so batches of the same shapes come again
NEVER, ALWAYS = float("-inf"), float("inf")
# Tokens, its end among them, that a live hypothesis is granted for nothing when it is asked whether it could still win:
# with one some translations get worse, with more than three hardly any change (docs/quality.md).
AHEAD = 3


class Plan(NamedTuple):
    """What is known before the first step, per sentence of the whole batch."""

    forced: Tensor  # (batch, steps) int64: a prefix, then FREE, then the EOS that ends the longest output
    is_forced: list[bool]  # per step: whether it is forced for any sentence; asked on the host, without a sync
    ceilings: Tensor  # (batch,) length penalty of the longest output
    min_length: int  # tokens
    no_repeat_ngram: int  # tokens; 0: off
    allow_unk: bool
    vocabulary: Tensor | None  # (size,) int64, the id that each logit stands for; the first are those of `batches`
    penalties: Tensor  # (steps + AHEAD + 1,) length penalty of so many tokens

    def is_free(self, step: int) -> bool:
        """Say whether no rule is for this step rather than for all."""
        return not (self.is_forced[step] or step < self.min_length or self.no_repeat_ngram)


class Finished(NamedTuple):
    """The best finished hypotheses of each sentence, best first."""

    tokens: Tensor  # (batch, beam, 1 + steps) int64: BOS w1 .. wn EOS, then anything
    log_probabilities: Tensor  # (batch, beam) nats
    scores: Tensor  # (batch, beam); -inf: not there yet


class Beams(NamedTuple):
    """What is known of the sentences still in the batch, beside the model's state."""

    rows: Tensor  # (batch,) int64: their places in the whole batch
    tokens: Tensor  # (batch, beam, 1 + steps) int64: BOS w1 .. wn, then anything
    log_probabilities: Tensor  # (batch, beam) nats; -inf: no hypothesis here
    finished: Finished
    bar: Tensor  # (batch,) the least score that is settled; hypotheses with a better one come too late
    ended: Tensor  # (batch,) bool: the result is settled


class Carry(NamedTuple):
    """All that a step hands on to the next."""

    place: Tensor  # (1,) int64, the number of the step: on the device, so that one recording of it serves all
    beams: Beams
    state: Any


class Known(NamedTuple):
    """All tensors that steps read and leave as they are."""

    memory: Any
    ceilings: Tensor  # those of the plan
    penalties: Tensor


def make_plan(source: Padded, options: SearchConfig, requests: Requests) -> Plan:
    """Return what is asked of each sentence; a prefix or `min_length` can lengthen the longest output."""
    sizes = (source.lengths - 1).tolist()  # tokens without EOS; lengths are on the CPU
    prefixes: Sequence[Sequence[int]] = requests.prefixes or [()] * len(sizes)
    limits = [
        max(int(options.max_length_ratio * size) + options.max_length_offset, options.min_length, len(prefix))
        for size, prefix in zip(sizes, prefixes, strict=True)
    ]
    steps, device = max(limits) + 1, source.ids.device
    if is_recorded(device):
        steps += -steps % MULTIPLE
    forced = torch.full((len(limits), steps), FREE)
    for row, (limit, prefix) in enumerate(zip(limits, prefixes, strict=True)):
        forced[row, : len(prefix)] = torch.tensor(prefix, dtype=torch.int64)
        forced[row, limit] = EOS
    ceilings = torch.tensor([length_penalty(limit + 1, options.length_penalty) for limit in limits])
    ceilings = ceilings * (1 + 1e-6)  # rounding errors never end a search
    penalties = torch.tensor([length_penalty(count, options.length_penalty) for count in range(steps + AHEAD + 1)])
    return Plan(
        forced.to(device, non_blocking=True),
        (forced != FREE).any(0).tolist(),
        ceilings.to(device, non_blocking=True),
        options.min_length,
        options.no_repeat_ngram,
        requests.allow_unk,
        requests.vocabulary,
        penalties.to(device, non_blocking=True),
    )


def explore(
    model: Seq2Seq[Memory, State], source: Padded, options: SearchConfig, plan: Plan, strategy: Strategy
) -> list[list[Hypothesis]]:
    """Return the `n_best` hypotheses of each sentence, best first; fewer only where the rules allow no more."""
    batch, steps = plan.forced.shape
    device = source.ids.device
    beams = _begin(batch, steps, options, device)
    memory = model.encode(source)
    state = model.start(memory, beams.finished.scores.shape[1], steps)
    state = select(state, torch.zeros_like(beams.log_probabilities, dtype=torch.int64))
    carry = Carry(torch.zeros(1, dtype=torch.int64, device=device), beams, state)
    known = Known(memory, plan.ceilings, plan.penalties)
    stepper = _Stepper(model, plan, options, strategy)
    recorder: Recorder[Carry, Known] | None = None
    if stepper.is_recordable(device):
        recorder = Recorder(stepper.extend, model, (options.model_dump_json(), plan.allow_unk))
    found: list[list[Hypothesis]] = [[] for _ in range(batch)]
    period = POLL.get(device.type, 1)
    for step in range(steps):
        if recorder and step and plan.is_free(step):  # the first step has one hypothesis a sentence, all others more
            carry, known = recorder(carry, known, steps - step)
        else:
            carry = stepper.extend(carry, known, step)
        if (step + 1) % period and step + 1 < steps:
            continue
        ended = carry.beams.ended.tolist()  # the only host sync, with what follows from it
        staying = _staying(ended, is_halving=recorder is not None)
        if len(staying) < len(ended):
            _collect(carry.beams, options, found)
            if not staying:
                break
            rows = torch.tensor(staying, device=device)
            beams, state, memory = take((carry.beams, carry.state, known.memory), rows)
            carry, known = Carry(carry.place, beams, state), known._replace(memory=memory)
    return found


class _Stepper(NamedTuple):
    """Does what is done at every step."""

    model: Seq2Seq[Any, Any]
    plan: Plan
    options: SearchConfig
    strategy: Strategy

    def is_recordable(self, device: torch.device) -> bool:
        """Say whether a step reads no tensors but those it is given and those of the model, and is recorded here."""
        return is_recorded(device) and not self.options.sample and self.plan.vocabulary is None

    def extend(self, carry: Carry, known: Known, step: int | None = None) -> Carry:
        """Return the hypotheses one token longer; without its number by no rule but those for all steps."""
        place, beams, state = carry
        words = beams.tokens.index_select(2, place)[:, :, 0]
        logits, state = self.model.step(words, state, known.memory)
        wide = torch.promote_types(logits.dtype, torch.float32)  # sums of half precision drift
        further = _obey(logits.log_softmax(-1, dtype=wide), beams, self.plan, step)  # (batch, beam, vocab)
        del logits  # they are large
        candidates = self.strategy(further, beams.log_probabilities, beams.rows, place)
        del further
        if self.plan.vocabulary is not None:
            candidates = candidates._replace(tokens=self.plan.vocabulary[candidates.tokens])
        parents, beams = _advance(beams, candidates, place, known.penalties)
        return Carry(place + 1, _settle(beams, known, place, self.options), select(state, parents))


def _begin(batch: int, steps: int, options: SearchConfig, device: torch.device) -> Beams:
    beam = options.n_best if options.sample else options.beam_size
    first = beam if options.sample else 1  # before the first choice all hypotheses are the same one
    tokens = torch.full((batch, beam, 1 + steps), BOS, device=device)
    nothing = torch.full((batch, beam), NEVER, device=device)
    return Beams(
        torch.arange(batch, device=device),
        tokens[:, :first],
        torch.zeros(batch, first, device=device),
        Finished(tokens, nothing, nothing),
        torch.full((batch,), ALWAYS, device=device),
        torch.zeros(batch, dtype=torch.bool, device=device),
    )


def _obey(further: Tensor, beams: Beams, plan: Plan, step: int | None) -> Tensor:
    """Return log-probabilities (batch, beam, vocab) with -inf for what may not stand here; the old are overwritten."""
    forced = None if step is None or not plan.is_forced[step] else plan.forced[:, step][beams.rows, None, None]
    alone = further if forced is None else _keep(further, forced, plan.vocabulary)
    for token in (PAD, BOS) if plan.allow_unk else (PAD, BOS, UNK):
        further[:, :, token] = NEVER
    if step is not None and step < plan.min_length:
        further[:, :, EOS] = NEVER
    if step is not None and 0 < plan.no_repeat_ngram <= step:
        history = beams.tokens[:, :, 1 : step + 1]
        places = history if plan.vocabulary is None else torch.searchsorted(plan.vocabulary, history.contiguous())
        _forbid_repeats(further, places, plan.no_repeat_ngram)
    return further if forced is None else torch.where(forced == FREE, further, alone)


def _keep(further: Tensor, tokens: Tensor, vocabulary: Tensor | None) -> Tensor:
    """Return a copy of `further` with -inf for all but one token (batch, 1, 1) of each sentence."""
    vocabulary = torch.arange(further.shape[2], device=further.device) if vocabulary is None else vocabulary
    return further.masked_fill(vocabulary != tokens, NEVER)


def _forbid_repeats(further: Tensor, history: Tensor, n: int) -> None:
    """Forbid what would complete an n-gram of `history` (batch, beam, time), which holds places in the vocabulary."""
    windows = history.unfold(2, n, 1)  # (batch, beam, time - n + 1, n)
    last = history[:, :, history.shape[2] - (n - 1) :]  # (batch, beam, n - 1)
    is_repeat = (windows[..., :-1] == last[:, :, None]).all(-1)
    further.scatter_(2, windows[..., -1].where(is_repeat, PAD), NEVER)


def _advance(beams: Beams, candidates: Candidates, place: Tensor, penalties: Tensor) -> tuple[Tensor, Beams]:
    """Return the parents (batch, beam) of the hypotheses that go on, and the beams in which they do.

    Of the first `beam` candidates those that end are finished; of all others the best `beam` go on.
    """
    beam = beams.finished.scores.shape[1]
    parents, tokens, totals = candidates
    histories = select(beams.tokens, parents)  # (batch, candidates, 1 + steps)
    histories.index_copy_(2, place + 1, tokens[:, :, None])
    is_end = tokens == EOS

    scores = totals[:, :beam] / penalties.index_select(0, place + 1)
    is_new = is_end[:, :beam] & (scores <= beams.bar[:, None]) & ~beams.ended[:, None]
    new = Finished(histories[:, :beam], totals[:, :beam], scores.masked_fill(~is_new, NEVER))
    pool = Finished(*(torch.cat(pair, dim=1) for pair in zip(beams.finished, new, strict=True)))
    finished = select(pool, pool.scores.topk(beam).indices)

    log_probabilities, best = totals.masked_fill(is_end, NEVER).topk(beam)
    live = beams._replace(tokens=select(histories, best), log_probabilities=log_probabilities, finished=finished)
    return parents.gather(1, best), live


def _staying(ended: Sequence[bool], *, is_halving: bool) -> list[int]:
    """Return the rows of the sentences that go on, and of as many others as make a size that other batches have too.

    Products of a new shape take a millisecond longer, so sizes are multiples of a power of two near a sixteenth; where
    steps are recorded, each shape anew, they are halves of halves.
    """
    count = ended.count(False)
    multiple = max(1, 1 << max(0, count.bit_length() - 4))
    size = count + -count % multiple
    if is_halving and count:
        size = len(ended)
        while size > 1 and (size + 1) // 2 >= count:
            size = (size + 1) // 2
    first = sorted(range(len(ended)), key=lambda row: ended[row])[:size]
    return sorted(first)


def _settle(beams: Beams, known: Known, place: Tensor, options: SearchConfig) -> Beams:
    """Return the beams with what no live hypothesis can surpass settled, and the sentences ended that need no more.

    A finished hypothesis is settled as soon as no live one would have a better score if its next `AHEAD` tokens were
    certain: those that end later seldom gain by their length what they lose by further tokens. What is settled stays as
    it is, whatever comes, so that a list of the n best begins with the list of fewer. That the beam is full of finished
    hypotheses says nothing: a sure model has one that is worth the name, which unlikely short ones precede.
    """
    scores, live = beams.finished.scores, beams.log_probabilities.amax(1)
    divisors = torch.minimum(known.ceilings[beams.rows], known.penalties.index_select(0, place + 1 + AHEAD))
    reach = live / divisors  # -inf for a beam without hypotheses
    if options.sample:  # all that is drawn counts
        reach = reach.masked_fill(live > NEVER, ALWAYS)
    elif scores.shape[1] == 1:  # greedy search takes the first ending
        reach = reach.masked_fill(scores[:, 0] > NEVER, NEVER)
    settled = scores.masked_fill(scores < reach[:, None], ALWAYS)
    bar = torch.minimum(beams.bar, settled.amin(1))
    return beams._replace(bar=bar, ended=beams.ended | (scores[:, options.n_best - 1] >= bar))


def _collect(beams: Beams, options: SearchConfig, found: list[list[Hypothesis]]) -> None:
    """Write the n-best of the ended sentences to `found`."""
    rows, ended = beams.rows.tolist(), beams.ended.tolist()
    tokens, log_probabilities, _ = (part[:, : options.n_best].tolist() for part in beams.finished)
    for place, row in enumerate(rows):
        if ended[place]:
            pairs = zip(tokens[place], log_probabilities[place], strict=True)
            hypotheses = [_hypothesis(ids, value, options) for ids, value in pairs if value > NEVER]
            found[row] = sorted(hypotheses, key=lambda hypothesis: -hypothesis.score)


def _hypothesis(tokens: list[int], log_probability: float, options: SearchConfig) -> Hypothesis:
    ids = tuple(tokens[1 : tokens.index(EOS)])
    return Hypothesis(ids, log_probability, log_probability / length_penalty(len(ids) + 1, options.length_penalty))
