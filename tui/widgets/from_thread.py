"""How what a worker's thread found out comes to be shown."""

from collections.abc import Callable
from typing import ParamSpec

from textual.widget import Widget
from textual.worker import get_current_worker

from tui.textual_private import is_leaving

P = ParamSpec("P")


def show_from_thread(
    widget: Widget, show: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """From a worker's thread: have the app's loop call `show(...)`, and wait for it.

    Nothing is called once the worker was cancelled, nor where `widget`, whose parts `show` asks
    for, is being taken off the screen by the time that the loop comes to it.
    """
    if get_current_worker().is_cancelled:
        return

    def shown() -> None:
        if not is_leaving(widget):
            show(*args, **kwargs)

    widget.app.call_from_thread(shown)
