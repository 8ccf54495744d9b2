"""The command `export`: what it takes."""

from pathlib import Path
from typing import Annotated

import typer

from tui.cli.arguments import RunName, print_lines


def export(
    run: RunName,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write.")],
    fuse: Annotated[
        bool, typer.Option("--fuse", help="The whole model, with the adapters part of it.")
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option("--quantize", metavar="4-bit|8-bit", help="The whole model in so many bits."),
    ] = None,
    peft: Annotated[
        bool, typer.Option("--peft", help="The adapters for peft and transformers.")
    ] = False,
    gguf: Annotated[
        str | None,
        typer.Option(
            "--gguf",
            metavar="q8_0|f16|q4_k_m",
            help="The whole model for llama.cpp and Ollama, with a Modelfile.",
        ),
    ] = None,
    gguf_adapter: Annotated[
        bool, typer.Option("--gguf-adapter", help="The adapters for llama.cpp.")
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="best|last",
            help="Of the step with the best win rate, or of the last; else as the run's settings "
            "say.",
        ),
    ] = None,
) -> None:
    """Write a run's adapters, or its model, for another program.

    Without an option: the adapters for mlx-lm.
    """
    from tui.cli.export import export_lines

    lines = export_lines(
        run,
        to,
        fuse=fuse,
        quantize=quantize,
        peft=peft,
        gguf=gguf,
        gguf_adapter=gguf_adapter,
        keep=keep,
    )
    print_lines(lines)
