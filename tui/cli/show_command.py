"""The command `runs show`: a run as it is, and with --follow as it goes on."""

import sys
from typing import Annotated

import typer


def show(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")],
    follow: Annotated[
        bool, typer.Option("--follow", help="Then what happens, until the run ends.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")] = False,
) -> None:
    """What a run was, how it went, and where it is."""
    from tui.cli.run_lines import run_lines

    if follow:
        from tui.cli.follow import follow_run

        raise typer.Exit(follow_run(run, json=json))
    text = "".join(f"{line}\n" for line in run_lines(run, json=json))
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
    sys.stdout.flush()
