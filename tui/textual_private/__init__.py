"""The private names of Textual that this program uses, each with the reason.

Nothing outside this folder uses one, so that Textual's next version is this folder's work.
"""

import contextlib
from collections.abc import Callable
from typing import Any

from rich.text import Text
from textual import _time
from textual.app import App
from textual.binding import BindingsMap
from textual.driver import Driver
from textual.screen import Screen
from textual.widget import AwaitMount, Widget


def now() -> float:
    """The clock by which Textual dates a key, to compare with when something was drawn."""
    return _time.get_time()


def driver_of(app: App[int]) -> Driver | None:
    """What draws on the terminal: it leaves the terminal and comes back, and takes sequences."""
    return app._driver


def descriptor_of(driver: Driver) -> int:
    """The descriptor that a driver of a terminal reads keys from; its public type has none."""
    return int(getattr(driver, "fileno", 0))


def write(app: App[int], sequence: str) -> None:
    """Write a control sequence between two frames; nothing where there is no terminal."""
    if app._driver and not app.is_headless:
        app._driver.write(sequence)


def call_soon(app: App[int], what: Callable[[], object]) -> None:
    """Have the app's loop do something; a signal's handler may not do it itself, and
    `call_from_thread` waits."""
    if app._loop is not None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            app._loop.call_soon_threadsafe(what)


def is_leaving(widget: Widget) -> bool:
    """Whether a widget is being taken away, by itself or with the app; its parts go before it
    does, and `is_mounted` stays true."""
    return widget._pruning or not widget.is_running or not widget.app.is_running


def bindings_in_front(screen: Screen[Any]) -> list[BindingsMap]:
    """The keys of the focused part and of what lies around it, those that can do nothing now
    included, which `active_bindings` leaves out."""
    return [bindings for _, bindings in screen._modal_binding_chain]


class AppBase(App[int], inherit_bindings=False):
    """An app that says in a line how it broke; Textual prints a page of source and variables."""

    def defect_line(self, error: Exception | None) -> str:
        """Called once something has broken: the line to print when the terminal is given back."""
        raise NotImplementedError

    def set_clipboard(self, text: str) -> None:
        """What a paste of the program's own gives; Textual's way writes its sequence as well."""
        self._clipboard = text

    def _get_screen(self, screen: Screen[Any] | str) -> tuple[Screen[Any], AwaitMount]:
        """A new screen gets its styles as its parts are mounted. Without this all styles are read
        twice more where it is the first of a mode, a tenth of a second each time."""
        instance, mount = super()._get_screen(screen)
        if instance._css_update_count < 0:
            instance._css_update_count = self._css_update_count
        return instance, mount

    def watch_theme(self) -> None:
        """Draw nothing until all styles are the new theme's.

        Text takes its colours as soon as a theme is set, what lies behind it once the style sheet
        is read again; between the two, ink would be drawn on a ground of the other theme.
        """
        if not self.is_running:
            return
        frames = contextlib.ExitStack()
        frames.enter_context(self.batch_update())

        def draw() -> None:
            for screen in self.screen_stack:
                screen._refresh_layout()
            frames.close()
            front, behind = self.screen, self._background_screens
            whole = front._compositor.render_update(full=True, screen_stack=behind)
            self._display(front, whole)

        self.call_next(draw)  # behind what reads the style sheet, which was called for before

    def _handle_exception(self, error: Exception) -> None:
        """What breaks in a screen while the app closes is no news to anybody."""
        if not self._exit:
            super()._handle_exception(error)

    async def _shutdown(self) -> None:
        """Mark the app as closing, however its end was brought about."""
        self._exit = True
        await super()._shutdown()

    def _fatal_error(self) -> None:
        self._exit_renderables.append(Text(self.defect_line(self._exception)))
        self._close_messages_no_wait()
