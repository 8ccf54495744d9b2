"""How what a worker's thread reads comes to be shown."""

from collections.abc import Callable
from typing import ParamSpec

from textual.dom import DOMNode
from textual.widget import Widget
from textual.worker import get_current_worker

from tui.textual_private import is_leaving

P = ParamSpec("P")


def show_from_thread(
    widget: Widget, show: Callable[P, object], *args: P.args, **kwargs: P.kwargs
) -> None:
    """From a worker's thread: have the app's loop call `show(...)`, and wait for it.

    Nothing is called where by the time that the loop comes to it the worker was cancelled, as by a
    newer one in its place, or `widget`, whose parts `show` asks for, is being taken off the screen.
    """
    worker = get_current_worker()
    if worker.is_cancelled:
        return

    def shown() -> None:
        if not worker.is_cancelled and not is_leaving(widget):
            show(*args, **kwargs)

    widget.app.call_from_thread(shown)


def is_reading(node: DOMNode, group: str) -> bool:
    """Whether a thread of this group reads for a screen or the app. On a slow disk that may take
    longer than the time between two looks, and what is begun anew each time never ends."""
    return any(
        each.node is node and each.group == group and not each.is_cancelled and not each.is_finished
        for each in node.workers
    )
