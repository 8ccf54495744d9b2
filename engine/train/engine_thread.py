"""The engine's thread: what it does before and after a run.

Importing this is light. MLX is imported, and lives, on the thread that calls `work`.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.control import Control
from engine.data.template_renderer import RENDERER
from engine.events import Event
from engine.machine.blas import import_mlx
from engine.runs.folder import Run
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.judges.human import HumanJudge

NICENESS = 10  # of the engine's threads


def work(
    settings: Settings,
    run: Run,
    control: Control,
    emit: Callable[[Event], None],
    on_person: "Callable[[HumanJudge], None]" = lambda judge: None,
    back_to: int | None = None,
) -> bool:
    """`assemble.train`, and then let go of what MLX keeps for this thread; whether it finished."""
    RENDERER.begin()  # which takes as long as it takes to import MLX
    import_mlx()
    import mlx.core as mx

    from engine.train import assemble

    try:
        return assemble.train(settings, run, control, emit, on_person, back_to).finished
    finally:
        leave_thread()
        mx.clear_cache()


def step_back() -> None:
    """Let this thread, and those that compute for it, give way to the screen's (on Linux, where
    a thread has a priority of its own)."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def leave_thread() -> None:
    """Let go of what MLX holds for this thread; call it last on a thread that used MLX.

    MLX 0.32 starts threads of its own for each thread's streams, and aborts the process at its
    end if they are still there.
    """
    import mlx.core as mx

    if hasattr(mx, "clear_streams"):
        with contextlib.suppress(RuntimeError):  # of a GPU: this thread has no stream left
            mx.synchronize()
        mx.clear_streams()
