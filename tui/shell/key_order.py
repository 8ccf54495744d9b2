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
    """Follows the key of that number from widget to widget, so that the app gets it once the key
    was handled. Then it is sent again, as `acted`, behind the messages that the key's binding
    sent, so that the app gets it once those were handled too."""

    def __init__(self, number: int, *, acted: bool = False) -> None:
        super().__init__()
        self.number = number
        self.acted = acted


class KeyOrder:
    """Passes keyboard events to `forward`, each after the one before it was handled."""

    def __init__(self, app: App[Any], forward: Callable[[Event], Awaitable[None]]) -> None:
        self._app = app
        self._forward = forward
        self._waiting: deque[Event] = deque()
        self._number = 0  # of the newest key that others had to wait for
        self._busy = False  # whether they still wait for it
        self.pressed = math.inf  # when the key that is being handled arrived; inf: none is
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
