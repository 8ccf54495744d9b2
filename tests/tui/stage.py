"""Playing a scene in the app without a terminal, and reading what it shows."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from textual.app import App
from textual.pilot import Pilot
from textual.worker import WorkerCancelled

from engine.settings.schema import Settings
from tui.app import StudioApp
from tui.widgets.key_line import KeyLine

Scene = Callable[[StudioApp, Pilot[Any]], Awaitable[None]]
COMPACT, WIDE, STANDARD = (80, 24), (120, 40), (200, 50)
TIMEOUT = 30.0  # seconds that something may take before a scene fails


def play(
    scene: Scene,
    size: tuple[int, int] = COMPACT,
    settings: Settings | None = None,
    **opening: Any,
) -> None:
    """Open the app and run a scene in it; an error in the app fails the test. `opening` is what
    the app is told besides the settings."""

    async def main() -> None:
        app = StudioApp(settings, **opening)
        async with app.run_test(size=size) as pilot:
            await pilot.pause()
            await scene(app, pilot)

    asyncio.run(main())


def shown(app: App[Any]) -> str:
    """The text on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip).rstrip() for strip in strips)


def said(app: StudioApp) -> str:
    """The message in the place of the keys."""
    return "".join(line.message for line in app.screen.query(KeyLine))


async def until(pilot: Pilot[Any], holds: Callable[[], object], patience: float = TIMEOUT) -> None:
    """Wait for something that a thread, a timer or a process brings about."""
    for _ in range(int(patience / 0.02)):
        if holds():
            await pilot.pause()
            return
        await pilot.pause(0.02)
    raise AssertionError(f"still not so after {patience} s\n{shown(pilot.app)}")


async def workers_done(app: App[Any]) -> None:
    """Wait for all workers, also where one takes the place of another meanwhile."""
    while any(not each.is_finished for each in app.workers):
        with contextlib.suppress(WorkerCancelled):
            await app.workers.wait_for_complete()
