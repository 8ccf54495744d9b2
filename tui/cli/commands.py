"""The commands of `lora-studio`: what can be done without the app."""

import difflib
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
import typer.main

from engine.errors import UserError
from tui.cli.arguments import (
    Commands,
    Json,
    NewName,
    Overrides,
    RunName,
    Unnamed,
    is_config,
    print_lines,
    settings_of,
)
from tui.cli.chat_command import chat
from tui.cli.export_command import export
from tui.cli.mcp_command import mcp
from tui.cli.pairs_commands import CHECK, OF_RUNS, PAIRS, pairs_cli
from tui.cli.prompts_command import prompts_cli
from tui.cli.publish_command import publish
from tui.cli.runs_commands import runs_cli
from tui.cli.serve_command import serve
from tui.cli.trial_commands import judge, rates, sweep

if TYPE_CHECKING:
    from engine.settings.schema import Settings

cli = Commands(
    name="lora-studio",
    help="Fine-tune a language model with Online DPO. Without a command: opens the app; with the "
    "name of a preset, as in `lora-studio starter`: begins at once; with CONFIG.yaml: opens the "
    "app with it in the form, or with --start begins.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cli.add_typer(runs_cli, name="runs")
cli.add_typer(pairs_cli, name=PAIRS)
cli.add_typer(prompts_cli, name="prompts")

BEGIN = "begin"  # what a preset or a config stands for where a command is expected
START = "--start"


@cli.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        print(f"lora-studio {version_of('lora-studio')}")
    elif context.invoked_subcommand is None:
        from tui.run_app import run_app

        raise typer.Exit(run_app())


def full(arguments: Sequence[str]) -> list[str]:
    """The arguments with the command that a preset, a config or `--start` stands for, and names
    of runs after `pairs`.

    Raises:
        UserError: the first is none of these.
    """
    first = arguments[0]
    if first == PAIRS and arguments[1:2] != [CHECK]:
        return [PAIRS, OF_RUNS, *arguments[1:]]
    known = first in typer.main.get_group(cli).commands
    if known or (first.startswith("-") and START not in arguments):
        return list(arguments)
    if not first.startswith("-"):
        _look_for(first)  # before what follows is complained about
    return [BEGIN, *arguments]


@cli.command(BEGIN, cls=Unnamed, hidden=True)
def begin(
    source: Annotated[str | None, typer.Argument(metavar="starter|CONFIG.yaml")] = None,
    start: Annotated[bool, typer.Option(START, help="Begin, and do not open the form.")] = False,
    overrides: Overrides = None,
    run_name: NewName = None,
) -> None:
    """Train in the app, at once or from the form; without a terminal as `train` does."""
    from engine.settings.checks import check
    from engine.settings.presets import PRESETS
    from tui.cli.rank import refusals_told
    from tui.run_app import run_app
    from tui.terminal.requirements import refusal

    if source is None:
        raise UserError(f"{START} needs to know what: `lora-studio CONFIG.yaml {START}`")
    _look_for(source)
    settings = settings_of(source, overrides, run_name)
    if not (start or source in PRESETS):
        raise typer.Exit(run_app(settings))
    _work_if_not_first(settings)
    with refusals_told():
        reason = refusal()
        if reason is None:
            raise typer.Exit(run_app(settings, start=True))
        if settings.human_judge:
            raise UserError(f"{reason}, and a person as the judge needs the app")
        check(settings)
        print(f"{reason}; training without it, as `lora-studio train` does", file=sys.stderr)
        _train(settings, json=False)


@cli.command()
def train(
    source: Annotated[str, typer.Argument(metavar="starter|CONFIG.yaml")],
    overrides: Overrides = None,
    run_name: NewName = None,
    json: Json = False,
) -> None:
    """Train without the app; Ctrl+C saves a checkpoint."""
    _train(settings_of(source, overrides, run_name), json=json)


def _train(settings: "Settings", *, json: bool) -> NoReturn:
    from engine.plan.judging import judging_cost
    from engine.settings.checks import check
    from tui.cli.rank import refusals_told
    from tui.cli.training import train as train_now

    check(settings)
    _work_if_not_first(settings)
    if not json and (cost := judging_cost(settings)):
        print(cost, flush=True)
    with refusals_told():
        raise typer.Exit(train_now(settings, json=json))


def _work_if_not_first(settings: "Settings | None" = None) -> None:
    """On ranks other than 0 do what rank 0 asks, and never return. Without settings by its own."""
    from engine.machine.launch import place

    here = place()
    if here and here.rank:
        from tui.cli.rank import work

        work(here, settings)


@cli.command()
def resume(
    run: RunName,
    app: Annotated[
        bool, typer.Option("--app", help="In the app, as a run that a person judges has to.")
    ] = False,
    step: Annotated[
        int | None,
        typer.Option("--step", metavar="N", min=0, help="From the checkpoint of this step."),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Even from before the best, whose checkpoint goes.")
    ] = False,
    json: Json = False,
) -> None:
    """Go on with a run exactly where it was, or from an earlier checkpoint.

    With --step the run becomes what it was then: later checkpoints and pairs go, but for a
    person's labels, which count again where the same pair comes up.
    """
    from tui.cli.rank import refusals_told

    _work_if_not_first()
    with refusals_told():
        raise typer.Exit(_resume(run, app=app, step=step, force=force, json=json))


def _resume(run: str, *, app: bool, step: int | None, force: bool, json: bool) -> int:
    from engine.events import COMPLETE
    from engine.runs.archive import open_run
    from engine.runs.folder import LOCK
    from engine.runs.go_back import check as check_step
    from engine.runs.lock import RunBusy

    folder = open_run(run)
    if step is not None:
        check_step(folder, step, force=force)
    elif force:
        raise UserError("--force is for --step, which goes back to an earlier checkpoint")
    elif (status := folder.state().get("status")) in COMPLETE:
        raise UserError(
            f"the run {folder.name!r} is {status}; train a new one from its config.yaml, or go "
            "back to an earlier checkpoint with --step"
        )
    settings = folder.settings()
    if app and json:
        raise UserError("--json is for a run without the app: leave it out, or --app")
    if app:
        from tui.run_app import run_app

        if holder := folder.holder():
            raise RunBusy(folder.name, holder, folder.path / LOCK)
        return run_app(run=folder, back_to=step)
    if settings.human_judge:
        raise UserError(
            f"a person judges the run {folder.name!r}, which needs the app: "
            f"`lora-studio resume {shlex.quote(run)} --app` goes on with it there"
        )
    from tui.cli.training import train as train_now

    return train_now(settings, folder, json=json, back_to=step)


for _command in (judge, rates, sweep, chat, export, publish, serve, mcp):
    cli.command()(_command)


@cli.command()
def config(
    preset_name: Annotated[str | None, typer.Argument(metavar="starter")] = None,
) -> None:
    """Print a config file with every setting, commented."""
    from engine.settings.files import preset, to_yaml
    from engine.settings.schema import Settings

    sys.stdout.write(to_yaml(preset(preset_name) if preset_name else Settings()))


@cli.command()
def doctor(json: Json = False) -> None:
    """Show what the program finds on this machine."""
    from tui.cli.doctor import lines

    print_lines(lines(json=json))


def _look_for(source: str) -> None:
    """Raise `UserError` for a word that is no preset and names no file, with what is nearest."""
    from engine.settings.presets import PRESETS

    if is_config(source):
        return
    files = [path.name for path in Path().glob("*.y*ml")]
    known = [name for name, each in typer.main.get_group(cli).commands.items() if not each.hidden]
    near = difflib.get_close_matches(source[:100], [*PRESETS, *known, *files], n=1)
    hint = f"the nearest is {near[0]}" if near else "`lora-studio --help` lists the commands"
    raise UserError(f"there is no command, preset or file {source!r}; {hint}")
