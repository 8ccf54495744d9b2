"""The command `chat`: what it takes, checked before anything is loaded."""

import signal
import sys
from typing import Annotated

import typer

from engine.errors import UserError
from tui.cli.arguments import RunName, print_note


def chat(
    run: RunName,
    start: Annotated[
        bool, typer.Option("--start", help="The model as it was before the training.")
    ] = False,
    both: Annotated[bool, typer.Option("--both", help="Both, one after the other.")] = False,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System message; else the run's.")
    ] = None,
    temperature: Annotated[
        str | None, typer.Option(metavar="T", help="0: the likeliest token; else the run's.")
    ] = None,
) -> None:
    """Talk with the model that a run trained: a line in is a turn. Works in a pipe."""
    from engine.runs.archive import open_run
    from tui.cli.chat import talk
    from tui.state.conversation import BOTH
    from tui.terminal.exit_status import STOPPED_BY
    from tui.text.temperature import WRONG, temperature_of

    if start and both:
        raise UserError("--start and --both: choose one of them")
    number = None if temperature is None else temperature_of(temperature)
    if temperature is not None and number is None:
        raise UserError(f"--temperature {temperature}: {WRONG}")
    folder = open_run(run)
    for note in folder.known_settings()[1]:
        print_note(note)
    authors = BOTH if both else ("reference",) if start else ("policy",)
    try:
        talk(folder, authors, system=system, temperature=number)
    except KeyboardInterrupt:
        print(file=sys.stderr)
        raise typer.Exit(STOPPED_BY + signal.SIGINT) from None
