"""How far a pass forward and back through a model is, told from within it, and the way out of it.

A pass over one long prompt takes minutes on a CPU. Who wants to know of it, or to give it up, looks
on between its layers; what the look raises ends the pass.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Literal

Part = Literal["forward", "back"]
Look = Callable[[Part, float], None]  # a part of the pass, and which share of it is done

_look: Look | None = None
_signs = 0


@contextlib.contextmanager
def watched(look: Look) -> Iterator[None]:
    """Have `look` called between the layers of the passes of this context, on any thread. One at a
    time in a process."""
    global _look
    _look = look
    try:
        yield
    finally:
        if _look is look:  # and not that of a pass which began since, on another thread
            _look = None


def signs() -> int:
    """How many signs there were that whatever is computed goes on."""
    return _signs


def sign() -> None:
    """Called where a computation goes on: after a layer, a token, or a part of a batch."""
    global _signs
    _signs += 1


def report(part: Part, share: float) -> None:
    """Called where a share of a part is done."""
    sign()
    if _look is not None:
        _look(part, share)
