"""The review screen in a running app, for tests that answer as a person does."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypeVar

from textual.pilot import Pilot

from engine.data.pairs import Pair
from tests.tui.person import PersonSession, human_settings
from tests.tui.stage import workers_done
from tui.app import StudioApp
from tui.review.screen import ReviewScreen
from tui.state.run_view import RunView
from tui.widgets.key_line import KeyLine


@dataclass
class ReviewTable:
    """The screen, and the session behind it."""

    app: StudioApp
    pilot: Pilot[int]
    session: PersonSession

    @property
    def screen(self) -> ReviewScreen:
        assert isinstance(self.app.screen, ReviewScreen)
        return self.app.screen

    @property
    def said(self) -> str:
        return self.screen.query_one(KeyLine).message

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
            await self.settled()

    async def settled(self) -> None:
        """Until the verdict is on the disk and the next pair on the screen."""
        await self.pilot.pause()
        await workers_done(self.app)
        self.app.drain()
        ids = {each.pair_id for each in self.session.waiting()}
        while ids and isinstance(screen := self.app.screen, ReviewScreen):
            if screen.painted in ids:
                break
            await self.pilot.pause(0.02)
        await self.pilot.pause()

    async def submit(self, *pairs: Pair) -> None:
        self.session.submit(*pairs)
        await self.settled()


AnyTable = TypeVar("AnyTable", bound=ReviewTable)


@contextlib.asynccontextmanager
async def reviewed(
    kind: type[AnyTable], *pairs: Pair, size: tuple[int, int] = (80, 24), **settings: Any
) -> AsyncIterator[AnyTable]:
    """The screen before some pairs, of a run with these settings."""
    chosen = {"run_name": "basil", "self_check_every": 0, **settings}
    session = PersonSession(human_settings(**chosen))
    app = StudioApp()
    async with app.run_test(size=size) as pilot:
        attach(app, session)
        app.switch_mode("review")
        table = kind(app, pilot, session)
        await pilot.pause()
        await table.submit(*pairs)
        yield table


def attach(app: StudioApp, session: PersonSession) -> None:
    """Let the app have a session, as if it had started it."""
    assert session.run is not None
    app.control.session = session  # type: ignore[assignment]
    app.control.view = RunView(session.run.name, settings=session.settings)
