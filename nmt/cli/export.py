"""`nmt export`: a trained model in the format of another engine; it knows nothing of formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nmt.cli import options as shared

Engine = Annotated[Literal["ctranslate2"], typer.Option("--to", help="The engine that will translate.")]
Output = Annotated[Path, typer.Option("-o", "--output", metavar="FOLDER", help="What to write.")]
Quantization = Annotated[
    Literal["float32", "int8", "int8_float32", "int16", "float16", "bfloat16", "int8_float16", "int8_bfloat16"],
    typer.Option("--quantization", help="Of the weights."),
]
Check = Annotated[
    Path | None, typer.Option("--check", metavar="FILE", help="Lines to translate greedily with both, and compare.")
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite the folder.")]


def export(
    to: Engine,
    output: Output,
    model: shared.Model = None,
    quantization: Quantization = "float32",
    check: Check = None,
    force: Force = False,
) -> None:
    """Write a Transformer in the format of another engine."""
    say = shared.speaker("export")
    path = shared.find_model(model, say)
    shared.load_torch()
    import torch

    from nmt.export import compare_greedy, export_ctranslate2
    from nmt.testset import read_scored
    from nmt.training.checkpoint import load_model
    from nmt.translate import Translator

    lines = read_scored(str(check), say) if check is not None else []
    export_ctranslate2(load_model(path, torch.device("cpu")), output, quantization, force=force)
    say(f"{path} as {quantization} for {to}: {output}")
    if lines:
        found = compare_greedy(Translator.load(path, device="cpu", precision="fp32"), output, lines)
        print(f"{found.equal} of {found.lines} greedy outputs are the same")
