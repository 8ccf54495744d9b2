"""A small run in a process of its own, to be killed and resumed."""

import json
import sys

from engine.data.pairs import Verdict
from engine.errors import UserError
from engine.machine.blas import import_mlx
from engine.runs import archive
from engine.session import Session
from engine.settings.files import from_mapping


def by_mean_alone(q_orders: tuple[float, float], margin: float) -> Verdict:
    """The verdict of a random judge, which favours a position and would tie every pair."""
    q = sum(q_orders) / 2
    return Verdict("first" if q > 0.5 else "second", q, q_orders)


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
