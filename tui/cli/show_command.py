"""The command `runs show`: a run as it is, and with --follow as it goes on."""

from typing import Annotated

import typer

from tui.cli.arguments import Json, RunName, print_lines


def show(
    run: RunName,
    follow: Annotated[
        bool, typer.Option("--follow", help="Then what happens, until the run ends.")
    ] = False,
    json: Json = False,
) -> None:
    """What a run was, how it went, and where it is."""
    from tui.cli.run_lines import run_lines

    if follow:
        from tui.cli.follow import follow_run

        raise typer.Exit(follow_run(run, json=json))
    print_lines(run_lines(run, json=json))
