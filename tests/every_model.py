"""Options of every model of the family, small: each cell with each attention, and the Transformer in its variants."""

from __future__ import annotations

from trainings import Setting

Options = dict[str, Setting]
CELLS = ("rnn", "gru", "lstm")
LUONG = ("dot", "general", "concat")


def recurrent(cell: str, attention: str, *, feeding: bool = False) -> Options:
    return {
        "model.type": "rnn", "model.cell": cell, "model.attention": attention, "model.embedding": 32, "model.dim": 64,
        "model.input_feeding": str(feeding).lower(), "model.dropout": 0,
    }  # fmt: skip


def transformer(norm: str, positions: str) -> Options:
    return {
        "model.type": "transformer", "model.dim": 48, "model.heads": 4, "model.feed_forward": 96, "model.norm": norm,
        "model.encoder_layers": 2, "model.decoder_layers": 2, "model.positions": positions, "model.dropout": 0,
    }  # fmt: skip


TABLE: dict[str, Options] = {
    **{
        f"{cell}-{attention}": recurrent(cell, attention)
        for cell in CELLS
        for attention in ("none", "additive", *LUONG)
    },
    **{
        f"{cell}-{attention}-feeding": recurrent(cell, attention, feeding=True) for cell in CELLS for attention in LUONG
    },
    "transformer": transformer("pre", "sinusoidal"),
}
MODELS: dict[str, Options] = {
    **TABLE,
    "transformer-post-learned": transformer("post", "learned"),
    "transformer-pre-rotary": transformer("pre", "rotary"),
}
