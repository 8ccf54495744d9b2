"""The command `prompts make`: a file of prompts, written by a model."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import RunError, UserError
from tui.cli.arguments import Commands, print_note

prompts_cli = Commands(help="Have a model write prompts to train on.")


@prompts_cli.callback()
def prompts() -> None:
    """Keeps `make` a word of its own, though it is the only command."""


@prompts_cli.command()
def make(
    about: Annotated[str, typer.Option("--about", metavar="TEXT", help="What they are about.")],
    to: Annotated[
        Path, typer.Option("--to", metavar="FILE.jsonl", help="A prompt a line; edit it freely.")
    ],
    count: Annotated[
        int, typer.Option("--count", metavar="N", min=1, max=100_000, help="How many.")
    ] = 100,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            metavar="MODEL",
            help="Hub id, folder or http://HOST/v1; else a run's default.",
        ),
    ] = None,
    server_model: Annotated[
        str | None, typer.Option("--server-model", metavar="NAME", help="Of several on a server.")
    ] = None,
    key_env: Annotated[
        str | None,
        typer.Option("--key-env", metavar="NAME", help="Environment variable with its key."),
    ] = None,
    like: Annotated[
        Path | None,
        typer.Option("--like", metavar="FILE", help="Prompts whose manner to take, in any form."),
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="To a file that is there already.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the chance in it.")] = 0,
) -> None:
    """Write prompts about something, of which no two say the same."""
    from engine.data.chat_messages import clean
    from engine.judges.server_key import key_of
    from engine.machine.blas import import_mlx
    from engine.prompt_maker import SHOWN, make_prompts, writer_of
    from engine.runs.json_lines import to_line
    from engine.settings.judge_names import judge_kind
    from engine.settings.schema import Settings
    from tui.text.format import several

    if not about.strip():
        raise UserError("--about: say what the prompts are about")
    if to.suffix != ".jsonl":
        raise UserError(f"--to {to}: prompts are written as jsonl; name it {to.stem}.jsonl")
    if to.exists() and not add:
        raise UserError(f"{to} is there already: choose another name, or say --add")
    if not to.absolute().parent.is_dir():
        raise UserError(f"--to {to}: there is no folder {to.absolute().parent}")
    was_there = to.exists()
    known = _prompts_of(to) if was_there else []
    manner = _prompts_of(like) if like else []
    settings = Settings(seed=seed)
    name = model or settings.model
    key = key_of(key_env, "--key-env")
    if judge_kind(name) != "server":
        import_mlx()
    writer = writer_of(name, settings, server_model=server_model, key=key, say=print_note)

    def write(text: str, number: int) -> str:
        try:
            return writer(text, number)
        except OSError as error:
            raise RunError(f"--model {name}: it cannot go on: {error}") from error

    so_far, in_terminal = 0, sys.stderr.isatty()  # a count that stays in place is for one alone
    gap = b"\n" if was_there and not to.read_bytes().endswith(b"\n") else b""
    try:
        with to.open("ab") as file:
            for text in make_prompts(
                write,
                clean(about).strip(),
                count,
                like=manner[:SHOWN],
                known=[*known, *manner],
                say=print_note,
            ):
                file.write(gap + to_line({"prompt": text}))
                gap = b""
                file.flush()
                so_far += 1
                if in_terminal:
                    _count(f"\r{so_far:,} of {count:,}")
    except OSError as error:
        raise UserError(f"--to {to}: it cannot be written: {error.strerror}") from error
    finally:
        if so_far and in_terminal:
            _count("", end="\n")
        elif not so_far and not was_there:
            with contextlib.suppress(OSError):
                to.unlink(missing_ok=True)
    if not so_far:
        raise UserError(f"--model {name}: it wrote nothing that can be used; take a larger one")
    print(f"{several(so_far, 'prompt')} written to {to}; train on them with `data: {to}`")


def _prompts_of(file: Path) -> list[str]:
    """The prompts of a file of data."""
    from engine.data.prompts import load_prompts
    from engine.settings.schema import Settings

    prompts = load_prompts(Settings(data=str(file), judge="human"))
    return [prompt.text for prompt in prompts.train]


def _count(text: str, end: str = "") -> None:
    with contextlib.suppress(OSError):  # nobody reads it, but prompts still reach their file
        print(text, end=end, file=sys.stderr, flush=True)
