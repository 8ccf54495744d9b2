"""The commands of `lora-studio`: what can be done without the app."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from engine.errors import UserError

if TYPE_CHECKING:
    from engine.settings import Settings

cli = typer.Typer(
    name="lora-studio",
    help="Fine-tune a language model with Online DPO. Without a command: opens the app.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_cli = typer.Typer(help="List the runs; show, delete or steer one.", rich_markup_mode=None)
cli.add_typer(runs_cli, name="runs")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]


@cli.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        print(f"lora-studio {version_of('lora-studio')}")
    elif context.invoked_subcommand is None:
        from tui.terminal import run_app

        raise typer.Exit(run_app())


@cli.command()
def train(
    source: Annotated[str, typer.Argument(metavar="starter|CONFIG.yaml")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
    ] = None,
    run_name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    json: Json = False,
) -> None:
    """Train without the app; Ctrl+C saves a checkpoint."""
    from engine.contradictions import check
    from tui.training import train as train_now

    named = [f"run_name={run_name}"] if run_name is not None else []
    settings = settings_of(source, [*(overrides or []), *named])
    check(settings)
    raise typer.Exit(train_now(settings, json=json))


@cli.command()
def resume(run: RunName, json: Json = False) -> None:
    """Go on with a run exactly where it was."""
    from engine.runs import open_run
    from tui.training import train as train_now

    found = open_run(run)
    if found.state().get("status") == "finished":
        raise UserError(f"the run {found.name!r} is finished; train a new one from its config.yaml")
    raise typer.Exit(train_now(found.settings(), found, json=json))


@runs_cli.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """All runs, the newest first."""
    if context.invoked_subcommand is None:
        from tui.archive_lines import list_lines

        _print_lines(list_lines(json=json))


@runs_cli.command()
def show(run: RunName, json: Json = False) -> None:
    """What a run was, how it went, and where it is."""
    from tui.archive_lines import run_lines

    _print_lines(run_lines(run, json=json))


@runs_cli.command()
def delete(run: RunName) -> None:
    """Move a run into the trash beside the runs."""
    from engine.runs import delete as delete_run
    from engine.runs import runs_root

    place = delete_run(_run_folder(run, runs_root()))
    _print_lines([f"{run} is in {place}; move it back to keep it"])


def _asks(command: str, about: str) -> None:
    """A command for a run that goes on elsewhere: what the app's key of the same name does."""

    @runs_cli.command(name=command, help=about)
    def ask(run: RunName) -> None:
        from engine.mailbox import Command
        from engine.runs import open_run
        from tui.asked import Asked, wait

        asked = Asked(open_run(run), cast("Command", command))
        _print_lines([f"{run}: {wait(asked)}"])


for _command, _about in {
    "stop": "End a run that goes on elsewhere, with a checkpoint.",
    "pause": "Hold a run that goes on elsewhere still.",
    "unpause": "Let a paused run go on.",
    "save": "Have a checkpoint written after the step.",
    "evaluate": "Have the win rate measured after the step.",
}.items():
    _asks(_command, _about)


@cli.command()
def export(
    run: RunName,
    to: Annotated[Path, typer.Option("--to", metavar="DIR", help="Folder to write.")],
    fuse: Annotated[
        bool, typer.Option("--fuse", help="Write the whole model, with the adapters part of it.")
    ] = False,
) -> None:
    """Write a run's adapters or the fused model."""
    from engine.hardware import import_mlx
    from engine.runs import open_run

    found = open_run(run)
    import_mlx()
    from engine.export import export as export_run

    said: list[str] = []
    export_run(found, to, fuse=fuse, say=said.append)
    _print_lines([*said, f"written to {to}"])


@cli.command()
def config(
    preset_name: Annotated[str | None, typer.Argument(metavar="[starter]")] = None,
) -> None:
    """Print a config file with every setting, commented."""
    from engine.config import preset, to_yaml
    from engine.settings import Settings

    sys.stdout.write(to_yaml(preset(preset_name) if preset_name else Settings()))


@cli.command()
def doctor(json: Json = False) -> None:
    """Show what the program finds on this machine."""
    from tui.doctor import lines

    _print_lines(lines(json=json))


def settings_of(source: str, overrides: list[str]) -> "Settings":
    """The settings of a preset or a config file with overrides; notes go to standard error."""
    from engine.config import apply_overrides, from_mapping, notes, preset_mapping, read
    from engine.starter.presets import PRESETS

    data: dict[str, Any] = preset_mapping(source) if source in PRESETS else read(Path(source))
    settings = from_mapping(data, source)
    for note in notes(data):
        print(f"note: {note}", file=sys.stderr)
    return from_mapping(apply_overrides(data, overrides), source) if overrides else settings


def _run_folder(name: str, root: Path) -> Path:
    """The folder of a run to delete, which may be damaged, by its bare name."""
    from engine.runs import list_runs, open_run

    for summary in list_runs(root):
        if summary.name == name:
            return summary.path
    return open_run(name, root).path  # says what names there are


def _print_lines(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
    sys.stdout.flush()
