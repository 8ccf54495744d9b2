"""Commands that try something out: a judge on pairs, learning rates, a grid of settings."""

from pathlib import Path
from typing import Annotated

import typer

from engine.errors import UserError
from tui.cli.arguments import (
    Json,
    Overrides,
    is_config,
    mapping_of,
    print_lines,
    settings_of,
)


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
        typer.Option(
            "--count", metavar="N", min=1, max=10_000, help="Pairs that the model writes; else 32."
        ),
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


def rates(
    source: Annotated[str, typer.Argument(metavar="starter|CONFIG.yaml")],
    overrides: Overrides = None,
    json: Json = False,
) -> None:
    """Search the learning rate: up to eight short runs, margin and kl against the rate.

    Nothing is kept. The search begins at the config's learning_rate.
    """
    from engine.settings.checks import check
    from tui.cli.rates import rates as search

    settings = settings_of(source, overrides)
    check(settings)
    raise typer.Exit(search(settings, json=json))


def sweep(
    source: Annotated[str, typer.Argument(metavar="starter|CONFIG.yaml|SWEEP")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE,VALUE", help="A setting and its values; may be repeated."
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the sweep.")
    ] = None,
    show: Annotated[
        bool, typer.Option("--show", help="Train nothing: what came of it so far, or would.")
    ] = False,
    json: Json = False,
) -> None:
    """Train a grid of runs one after the other, and rank them by win rate.

    The name of a sweep that was begun goes on with it. Ctrl+C stops with a checkpoint.
    """
    from engine.runs.sweep import open_sweep, plan_sweep, write_sweep
    from tui.cli import sweep as sweeping

    if not overrides and (sweeping.is_sweep(source) or not is_config(source)):
        if name is not None:
            raise UserError("--name is for a new sweep, which needs --set")
        plan = open_sweep(source)
    else:
        if sweeping.is_sweep(source):
            raise UserError(
                f"the sweep '{source}' has begun, with the settings that it was given: leave --set "
                "out to go on with it"
            )
        plan = plan_sweep(mapping_of(source), source, overrides or [], name)
        if not show:
            write_sweep(plan)
    if show:
        print_lines(sweeping.results(plan, json=json))
    else:
        raise typer.Exit(sweeping.sweep(plan, json=json))
