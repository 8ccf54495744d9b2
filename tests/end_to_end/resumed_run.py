"""A small run in a process of its own, to be killed and resumed."""

import json
import sys
from typing import Any

from engine.data.pairs import Verdict, verdict_of
from engine.errors import UserError
from engine.machine.blas import import_mlx
from engine.runs import archive
from engine.session import Session
from engine.settings.files import from_mapping


def by_mean_alone(l1: float, l2: float, **_: Any) -> Verdict:
    """The verdict of a random judge, which is never sure and would tie every pair."""
    return verdict_of(l1, l2, margin=0.0, ties="margin")


def main(values: str) -> None:
    """Start the run that the settings name, or resume it; print how it ended."""
    import_mlx()
    from engine.judges import llm

    llm.LEAST_MASS = 0.0
    llm.verdict_of = by_mean_alone
    settings = from_mapping(json.loads(values), "the test")
    assert settings.run_name
    try:
        run = archive.open_run(settings.run_name)
    except UserError:
        run = None
    session = Session(settings, run)
    session.start()
    session.join()
    print(session.status, session.error, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
