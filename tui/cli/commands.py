"""The commands of `lora-studio`: what can be done without the app."""

import difflib
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import typer
import typer.main
from typer.core import TyperCommand

from engine.errors import UserError
from tui.cli.chat_command import chat
from tui.cli.mcp_command import mcp
from tui.cli.prompts_command import prompts_cli
from tui.cli.publish_command import publish
from tui.cli.serve_command import serve
from tui.cli.show_command import show

if TYPE_CHECKING:
    from engine.settings.schema import Settings

cli = typer.Typer(
    name="lora-studio",
    help="Fine-tune a language model with Online DPO. Without a command: opens the app; with the "
    "name of a preset, as in `lora-studio starter`: begins at once; with CONFIG.yaml: opens the "
    "app with it in the form, or with --start begins.",
    no_args_is_help=False,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
runs_cli = typer.Typer(help="List the runs; show, delete or steer one.", rich_markup_mode=None)
cli.add_typer(runs_cli, name="runs")

PAIRS, CHECK = "pairs", "check"
OF_RUNS = "of-runs"  # what names of runs stand for after `pairs`
pairs_cli = typer.Typer(help="Write labels as a dataset; look pairs over.", rich_markup_mode=None)
cli.add_typer(pairs_cli, name=PAIRS)
cli.add_typer(prompts_cli, name="prompts")
cli.command()(chat)
cli.command()(mcp)
cli.command()(publish)
cli.command()(serve)
runs_cli.command()(show)

BEGIN = "begin"  # what a preset or a config stands for where a command is expected
START = "--start"

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object a line.")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run.")]
NewName = Annotated[str | None, typer.Option("--run-name", help="Name of the run.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; may be repeated."),
]


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
    of runs after `pairs`."""
    first = arguments[0]
    if first == PAIRS and arguments[1:2] != [CHECK]:
        return [PAIRS, OF_RUNS, *arguments[1:]]
    known = first in typer.main.get_group(cli).commands
    if known or (first.startswith("-") and START not in arguments):
        return list(arguments)
    return [BEGIN, *arguments]


class _NoWord(typer.Context):
    """A command that nobody types: usage lines leave its name out."""

    @property
    def command_path(self) -> str:
        return self.parent.command_path if self.parent else ""


class _Begin(TyperCommand):
    context_class = _NoWord


@cli.command(BEGIN, cls=_Begin, hidden=True)
def begin(
    source: Annotated[str | None, typer.Argument(metavar="starter|CONFIG.yaml")] = None,
    start: Annotated[bool, typer.Option(START, help="Begin, and do not open the form.")] = False,
    overrides: Overrides = None,
    run_name: NewName = None,
) -> None:
    """Train in the app, at once or from the form; without a terminal as `train` does."""
    from engine.settings.checks import check
    from engine.settings.presets import PRESETS
    from tui.run_app import run_app
    from tui.terminal.requirements import refusal

    if source is None:
        raise UserError(f"{START} needs to know what: `lora-studio CONFIG.yaml {START}`")
    _look_for(source)
    settings = settings_of(source, overrides, run_name)
    if not (start or source in PRESETS):
        raise typer.Exit(run_app(settings))
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
    from engine.settings.checks import check
    from tui.cli.training import train as train_now

    check(settings)
    raise typer.Exit(train_now(settings, json=json))


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
        raise typer.Exit(run_app(run=folder, back_to=step))
    if settings.human_judge:
        raise UserError(
            f"a person judges the run {folder.name!r}, which needs the app: "
            f"`lora-studio resume {shlex.quote(run)} --app` goes on with it there"
        )
    from tui.cli.training import train as train_now

    raise typer.Exit(train_now(settings, folder, json=json, back_to=step))


@runs_cli.callback(invoke_without_command=True)
def runs(context: typer.Context, json: Json = False) -> None:
    """All runs, the newest first."""
    if context.invoked_subcommand is None:
        from tui.cli.run_lines import list_lines

        _print_lines(list_lines(json=json))


@runs_cli.command()
def delete(run: RunName) -> None:
    """Move a run into the trash beside the runs."""
    from engine.runs.archive import runs_root
    from engine.runs.trash import delete as delete_run

    trash = delete_run(_run_folder(run, runs_root()))
    _print_lines([f"{run} is in {trash}; move it back to keep it"])


def _asks(command: str, about: str) -> None:
    """A command for a run that goes on elsewhere: what the app's key of the same name does."""

    @runs_cli.command(name=command, help=about)
    def ask(run: RunName) -> None:
        from engine.runs.archive import open_run
        from engine.runs.remote import Command
        from tui.run.remote_commands import RemoteRequest, wait

        request = RemoteRequest(open_run(run), cast("Command", command))
        _print_lines([f"{run}: {wait(request)}"])


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
    _print_lines(lines)


@pairs_cli.command(OF_RUNS, cls=_Begin, hidden=True)
def pairs_of_runs(
    runs: Annotated[list[str], typer.Argument(metavar="RUN", help="Names of runs.")],
    to: Annotated[
        str,
        typer.Option(
            "--to", metavar="FILE|DIR", help="FILE.jsonl, .parquet or .csv, or a folder of them."
        ),
    ],
    valid: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE", help="Hold out this share of the prompts, in a file of their own."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Which prompts are held out.")] = 0,
    kind: Annotated[
        str | None,
        typer.Option("--format", metavar="KIND", help="In a folder: jsonl, parquet or csv."),
    ] = None,
    ties: Annotated[
        bool, typer.Option("--ties", help="Ties too: choice is tie, confidence 0.5.")
    ] = False,
    flagged: Annotated[bool, typer.Option("--flagged", help="Flagged pairs too.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there.")] = False,
) -> None:
    """Write the labels of runs as a preference dataset.

    Of several labels on the same two answers the later one holds: that of the run named last.
    `lora-studio pairs check FILE|RUN` looks such pairs over.
    """
    from tui.cli.pairs import write_lines

    lines = write_lines(
        runs,
        to,
        kind=kind,
        valid=valid,
        seed=seed,
        ties=ties,
        flagged=flagged,
        force=force,
    )
    _print_lines(lines)


@pairs_cli.command(CHECK)
def check_pairs(
    source: Annotated[
        str, typer.Argument(metavar="FILE|RUN", help="A preference dataset, or a run.")
    ],
    json: Json = False,
) -> None:
    """Count what is doubtful among pairs: duplicates, conflicts, empty answers and the like."""
    from tui.cli.pairs import check_lines

    _print_lines(check_lines(source, json=json))


@cli.command()
def judge(
    source: Annotated[str, typer.Argument(metavar="starter|CONFIG.yaml")],
    pairs: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FILE.jsonl",
            help="Pairs to judge: prompt, first, second, and perhaps winner (first, second or "
            "tie). Without it the model of the config writes them.",
        ),
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", min=1, max=10_000, help="Pairs that the model writes; else 32."),
    ] = None,
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Try a config's judge on pairs, and say whether it can be trusted."""
    if pairs and count is not None:
        raise UserError("--count is of pairs that the model writes: leave it out, or --pairs")
    settings = settings_of(source, overrides)
    from tui.cli.judge import judge as try_judge

    raise typer.Exit(try_judge(settings, pairs, count, json=json))


@cli.command()
def config(
    preset_name: Annotated[str | None, typer.Argument(metavar="[starter]")] = None,
) -> None:
    """Print a config file with every setting, commented."""
    from engine.settings.files import preset, to_yaml
    from engine.settings.schema import Settings

    sys.stdout.write(to_yaml(preset(preset_name) if preset_name else Settings()))


@cli.command()
def doctor(json: Json = False) -> None:
    """Show what the program finds on this machine."""
    from tui.cli.doctor import lines

    _print_lines(lines(json=json))


def settings_of(
    source: str, overrides: Sequence[str] | None = None, run_name: str | None = None
) -> "Settings":
    """The settings of a preset or a config file with overrides; notes go to standard error."""
    from engine.settings.files import apply_overrides, from_mapping, notes, preset_mapping, read
    from engine.settings.presets import PRESETS

    data = preset_mapping(source) if source in PRESETS else read(Path(source))
    settings = from_mapping(data, source)
    for note in notes(data):
        print(f"note: {note}", file=sys.stderr)
    changes = [*(overrides or []), *([f"run_name={run_name}"] if run_name is not None else [])]
    return from_mapping(apply_overrides(data, changes), source) if changes else settings


def _look_for(source: str) -> None:
    """Raise `UserError` for a word that is no preset and names no file, with what is nearest."""
    from engine.settings.presets import PRESETS

    is_path = os.sep in source or source.endswith((".yaml", ".yml")) or Path(source).exists()
    if source in PRESETS or is_path:
        return
    files = [path.name for path in Path().glob("*.y*ml")]
    known = [name for name, each in typer.main.get_group(cli).commands.items() if not each.hidden]
    near = difflib.get_close_matches(source[:100], [*PRESETS, *known, *files], n=1)
    hint = f"the nearest is {near[0]}" if near else "`lora-studio --help` lists the commands"
    raise UserError(f"there is no command, preset or file {source!r}; {hint}")


def _run_folder(name: str, root: Path) -> Path:
    """The folder of a run to delete, which may be damaged, by its bare name."""
    from engine.runs.archive import list_runs, open_run

    for summary in list_runs(root):
        if summary.name == name:
            return summary.path
    return open_run(name, root).path  # says what names there are


def _print_lines(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.buffer.write(text.encode(sys.stdout.encoding, errors="replace"))
    sys.stdout.flush()
