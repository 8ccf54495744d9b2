"""The commands of `lora-studio runs`: list the runs, show, delete or steer one."""

from pathlib import Path
from typing import cast

import typer

from tui.cli.arguments import Commands, Json, RunName, print_lines
from tui.cli.show_command import show

runs_cli = Commands(help="List the runs; show, delete or steer one.")
runs_cli.command()(show)


@runs_cli.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """All runs, the newest first."""
    if context.invoked_subcommand is None:
        from tui.cli.run_lines import list_lines

        print_lines(list_lines(json=json))


@runs_cli.command()
def delete(run: RunName) -> None:
    """Move a run into the trash beside the runs."""
    from engine.runs.archive import runs_root
    from engine.runs.trash import delete as delete_run

    trash = delete_run(_run_folder(run, runs_root()))
    print_lines([f"{run} is in {trash}; move it back to keep it"])


def _asks(command: str, about: str) -> None:
    """A command for a run that goes on elsewhere: what the app's key of the same name does."""

    @runs_cli.command(name=command, help=about)
    def ask(run: RunName) -> None:
        from engine.runs.archive import open_run
        from engine.runs.remote import Command
        from tui.run.remote_commands import RemoteRequest, wait

        request = RemoteRequest(open_run(run), cast("Command", command))
        print_lines([f"{run}: {wait(request)}"])


for _command, _about in {
    "stop": "End a run that goes on elsewhere, with a checkpoint.",
    "pause": "Hold a run that goes on elsewhere still.",
    "unpause": "Let a paused run go on.",
    "save": "Have a checkpoint written after the step.",
    "evaluate": "Have the win rate measured after the step.",
}.items():
    _asks(_command, _about)


def _run_folder(name: str, root: Path) -> Path:
    """The folder of a run to delete, which may be damaged, by its bare name."""
    from engine.runs.archive import list_runs, open_run

    for summary in list_runs(root):
        if summary.name == name:
            return summary.path
    return open_run(name, root).path  # says what names there are
