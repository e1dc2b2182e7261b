"""The keys and values of what each hypothesis has read, written once; it knows nothing of layers, tokens or scores.

A step writes one entry for each hypothesis, which a hypothesis sees if it descends from the one that wrote it. So
reordering a beam costs one gather of flags, whatever the number of layers. As the hypotheses of a beam descend from
few, many entries are soon seen by none: on a CPU, where all of a cache is read at each step, they are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nmt.models.interface import Cache

GROWING = {"cpu"}  # devices on which a cache grows: reading a number back costs nothing there, a GPU would wait for it
GROWTH = 4  # steps by which it does: more would be looked at in vain, fewer would be copied more often
MULTIPLE = 16  # of entries, where it grows: products of a new shape take longer

Entries = slice | Tensor  # of a cache, one for each hypothesis: the same ones in all rows, or (batch, beam) int64


class Past(NamedTuple):
    """What hypotheses have read, part of a model's state."""

    used: Tensor  # (batch, beam) int64, the entries that are written, the same number for all of a row
    visible: Tensor  # (batch, beam, entry) bool, those of a hypothesis' own past
    cache: Cache  # each (batch, head, entry, head_dim)

    @classmethod
    def begin(cls, like: Tensor, tensors: int, beam: int, length: int) -> Past:
        """Return the past before the first of `length` steps, of keys and values like (batch, head, any, head_dim)."""
        batch, heads, _, width = like.shape
        room = beam * (min(length, GROWTH) if like.device.type in GROWING else length)
        cache = Cache([like.new_zeros(batch, heads, room, width) for _ in range(tensors)])
        used = torch.zeros(batch, beam, dtype=torch.int64, device=like.device)
        return cls(used, torch.zeros(batch, beam, room, dtype=torch.bool, device=like.device), cache)

    def extended(self) -> tuple[Past, Entries]:
        """Return the past with an entry more for each hypothesis, and which entries have to be written."""
        beam, room = self.visible.shape[1:]
        past, entries = self, None
        if self.used.device.type in GROWING:
            first = int(self.used[0, 0])
            if first + beam > room or not (self.used == first).all():
                past = self._grown()
                first = int(past.used[0, 0])
            entries = slice(first, first + beam)  # which is copied faster
        own = past.used[:, :1] + torch.arange(beam, device=self.used.device)  # (batch, beam)
        visible = past.visible.scatter(2, own[..., None], True)
        return Past(past.used + beam, visible, past.cache), own if entries is None else entries

    def _grown(self) -> Past:
        """Leave out what no hypothesis sees any more, and make room for some steps, from the same entry in all rows."""
        beam = self.visible.shape[1]
        is_seen = self.visible.any(1)  # (batch, entry)
        count = int(is_seen.sum(1).max())
        room = count + GROWTH * beam
        room += -room % MULTIPLE
        first = is_seen.byte().argsort(dim=1, descending=True, stable=True)[:, :count]  # seen ones, in their order
        order = F.pad(first, (0, room - count))  # (batch, room); what is to be written may hold anything till then
        visible = F.pad(self.visible.gather(2, first[:, None].expand(-1, beam, -1)), (0, room - count))

        def picked(tensor: Tensor) -> Tensor:
            batch, heads, entries, width = tensor.shape
            rows = torch.arange(batch * heads).view(batch, heads, 1) * entries + order[:, None]
            return tensor.flatten(0, 2).index_select(0, rows.flatten()).view(batch, heads, room, width)

        return Past(torch.full_like(self.used, count), visible, self.cache.replace(picked))


def write(cache: Tensor, entries: Entries, new: Tensor) -> None:
    """Put keys or values of one step (batch, head, beam, width) in their entries of a cache."""
    if isinstance(entries, slice):
        cache[:, :, entries] = new
    else:
        cache.scatter_(2, entries[:, None, :, None].expand_as(new), new)
