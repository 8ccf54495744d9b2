"""What the other ranks are told where rank 0 cannot begin: they wait for it without a link yet."""

import contextlib
from collections.abc import Iterator

from engine.distributed.group import Group, SumTimeout
from engine.errors import RunError, UserError
from engine.machine.launch import Place, place
from engine.secrets import hide
from engine.train.ranks.shares import HEADER, header

REFUSED = "refused"  # names the reason in the header that rank 0 spreads
REFUSAL_SECONDS = 30.0  # that the others get to come and hear it


@contextlib.contextmanager
def refusals_told() -> Iterator[None]:
    """Until the ranks are linked: where rank 0 cannot begin, the others hear why."""
    try:
        yield
    except (UserError, RunError) as error:
        if here := place():
            refuse(here, str(error))
        raise


def refuse(here: Place, reason: str) -> None:
    """Tell the other ranks why the run cannot begin, if they come to hear it."""
    group = Group(here)
    with contextlib.suppress(TimeoutError, SumTimeout, RuntimeError):
        group.start(lambda: None, REFUSAL_SECONDS)
        group.spread(refusal(reason), HEADER, lambda: None)


def refusal(reason: str) -> bytes:
    """The header of rank 0 where it refuses; of a long reason only the beginning."""
    reason = hide(reason)
    while len(data := header({REFUSED: reason})) > HEADER:
        reason = reason[: len(reason) * 3 // 4]
    return data
