"""Keys are taken one at a time: the next waits until the one before has done what it does.

A key travels from the focused widget up to the app before its binding is looked up, and focus
moves in its own time. Without this, of keys that arrive in one piece (typed fast, pasted, held up
by a slow line) the later ones go to where the focus was: `/beta` and enter would not search.
"""

import math
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from textual.app import App
from textual.events import Event
from textual.message import Message
from textual.message_pump import MessagePump
from textual.timer import Timer

TIMEOUT = 0.25  # seconds that a key may take before the next one goes ahead anyway


class KeyHandled(Message):
    """Follows the key of that number through the widgets, and reaches the app right behind it; then
    once more, as `acted`, behind what the key's binding had the focused widget tell its screen."""

    def __init__(self, number: int, *, acted: bool = False) -> None:
        super().__init__()
        self.number = number
        self.acted = acted


class KeyOrder:
    """Gives events of the keyboard to `forward`, each once the one before is done with."""

    def __init__(self, app: App[Any], forward: Callable[[Event], Awaitable[None]]) -> None:
        self._app = app
        self._forward = forward
        self._waiting: deque[Event] = deque()
        self._number = 0  # of the newest that held up the others
        self._busy = False  # whether it still does
        self.pressed = math.inf  # when the key arrived that is at work; inf: none is
        self._limit: Timer | None = None

    async def take(self, event: Event) -> None:
        """Forward an event now or later."""
        if self._busy:
            self._waiting.append(event)
        elif self._app.screen.is_mounted:
            await self._begin(event)
        else:  # it has no cursor yet
            self._take_hold()
            self._waiting.append(event)
            self._let_go(self._number)

    def reached_app(self, message: KeyHandled) -> None:
        """The key was handled; what it asked of the screen in front, and of the app, comes next."""
        followed = KeyHandled(message.number, acted=True)
        if message.acted or not self._target.post_message(followed):
            self._let_go(message.number)

    @property
    def _target(self) -> MessagePump:
        """What a key goes to."""
        return self._app.focused or self._app.screen

    async def _begin(self, event: Event) -> None:
        self._take_hold()
        self.pressed = event.time
        target = self._target
        await self._forward(event)
        target.post_message(KeyHandled(self._number))  # lost where the key closed the screen

    def _take_hold(self) -> None:
        self._busy = True
        self._number += 1
        self._limit = self._app.set_timer(TIMEOUT, partial(self._go_on, self._number))

    def _let_go(self, number: int) -> None:
        goes_on = partial(self._go_on, number)
        self._app.call_later(lambda: self._app.screen.call_later(self._app.call_later, goes_on))

    async def _go_on(self, number: int) -> None:
        if not self._busy or number != self._number:
            return
        self._busy = False
        self.pressed = math.inf
        if self._limit:
            self._limit.stop()
        if self._waiting:
            await self._begin(self._waiting.popleft())
