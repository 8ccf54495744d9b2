"""When an app under test has done all that it was asked to.

Textual takes its app for idle when the process has not used the processor for a moment, which a
process that waits for a busy machine has not either. Here it is idle when nothing is left to do.
"""

import asyncio
import time
from itertools import chain

from textual._context import active_app
from textual.app import App

QUIET_ROUNDS = 3  # rounds of the loop in which nothing was to be done
PATIENCE = 10.0  # seconds, after which an app that is never idle is left to the test


async def wait_for_idle(*_: float) -> None:
    """Wait until no message, callback or drawing of the app is left to be seen to. Threads, timers
    and processes are not waited for."""
    app = active_app.get()
    end = time.monotonic() + PATIENCE
    quiet = 0
    while quiet < QUIET_ROUNDS and time.monotonic() < end:
        await asyncio.sleep(0)
        quiet = 0 if _is_busy(app) else quiet + 1


def _is_busy(app: App[object]) -> bool:
    if not app._running or not app.screen_stack:
        return False
    screen = app.screen
    waits = screen._scroll_required or screen._repaint_required or screen._recompose_required
    if waits or screen._layout_required or screen._dirty_widgets or screen._callbacks:
        screen._on_timer_update()  # as the screen's own timer does 60 times a second
        return True
    if getattr(asyncio.get_running_loop(), "_ready", ()):
        return True
    parts = chain.from_iterable(each.walk_children(with_self=True) for each in app.screen_stack)
    return any(
        each._next_callbacks or not each._message_queue.empty() for each in chain([app], parts)
    )
