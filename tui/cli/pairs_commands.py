"""The commands of `lora-studio pairs`: labels of runs as a dataset, and pairs looked over."""

from typing import Annotated

import typer

from tui.cli.arguments import Commands, Json, Unnamed, print_lines

PAIRS, CHECK = "pairs", "check"
OF_RUNS = "of-runs"  # what names of runs stand for after `pairs`
pairs_cli = Commands(help="Write labels as a dataset; look pairs over.")


@pairs_cli.command(OF_RUNS, cls=Unnamed, hidden=True)
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
    seed: Annotated[int, typer.Option(metavar="N", help="Which prompts are held out.")] = 0,
    kind: Annotated[
        str | None,
        typer.Option("--format", metavar="KIND", help="In a folder: jsonl, parquet or csv."),
    ] = None,
    ties: Annotated[
        bool, typer.Option("--ties", help="Ties too: choice is tie, confidence 0.5.")
    ] = False,
    flagged: Annotated[bool, typer.Option("--flagged", help="Flagged pairs too.")] = False,
    retracted: Annotated[
        bool,
        typer.Option("--retracted", help="Labels too that were taken back: retracted is true."),
    ] = False,
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
        retracted=retracted,
        force=force,
    )
    print_lines(lines)


@pairs_cli.command(CHECK)
def check_pairs(
    source: Annotated[
        str, typer.Argument(metavar="FILE|RUN", help="A preference dataset, or a run.")
    ],
    json: Json = False,
) -> None:
    """Count what is doubtful among pairs: duplicates, conflicts, empty answers and the like."""
    from tui.cli.pairs import check_lines

    print_lines(check_lines(source, json=json))
