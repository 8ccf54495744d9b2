"""Run: what the run that trains now is doing, and what can be asked of it."""

import asyncio
from collections.abc import Callable, Iterable, Sequence

from textual import on
from textual.binding import Binding
from textual.containers import Container, Vertical
from textual.widget import Widget

from engine.events import Event
from tui.run.card_grid import CardGrid
from tui.run.header import RunHeader
from tui.run.health_line import HealthLine
from tui.run.log_pane import LogPane
from tui.run.metric_chart import MetricChart
from tui.run.metric_labels import Metric
from tui.run.next_steps import next_keys
from tui.run.outcome import Outcome
from tui.run.pair_list import PairList
from tui.run.pair_pane import FIRST_PAIR, PairPane
from tui.run.steering import SteeringScreen
from tui.run.what_now import Ended, WhatNow
from tui.shell.base import StudioScreen
from tui.state.live_run import LiveRun
from tui.terminal.requirements import LEAST_LINES
from tui.widgets.row_list import RowList
from tui.widgets.section_title import SectionTitle

NOTHING = "nothing was drawn"
NEXT_PART = 0.03  # seconds from the frame of one part to that of the next
OTHERS = 19  # lines that all but the cards take where the newest pair is below them


class RunScreen(SteeringScreen):
    """The live run, or the last one that this program trained."""

    TITLE = "run"
    # Below 22 lines the newest pair is only shown on its own.
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-too-low"), (LEAST_LINES, "-flat"), (22, "-low"), (36, "-tall"),
    ]  # fmt: skip
    # From 160 columns on, a tall screen has the chart of a metric and the last pairs too.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(StudioScreen.HORIZONTAL_BREAKPOINTS or ()), (160, "-broad"),
    ]  # fmt: skip
    CSS = """
    RunScreen RunHeader, RunScreen Outcome, RunScreen HealthLine { padding: 0 1; }
    RunScreen #parts { height: 1fr; layout: vertical; padding: 0 1; }
    RunScreen CardGrid { margin: 1 0; }
    RunScreen #below { height: 1fr; layout: vertical; }
    RunScreen #pairs { height: 4; }
    RunScreen PairPane { height: 1fr; }
    RunScreen PairList, RunScreen MetricChart, RunScreen #pairs-title { display: none; }
    RunScreen.-low #pairs { margin: 0 0 1 0; }
    RunScreen.-flat #pairs { display: none; }
    RunScreen.-flat.-large-pair #pairs { display: block; }
    RunScreen.-tall #pairs, RunScreen.-tall WhatNow { height: 2fr; margin: 0 0 1 0; }
    RunScreen.-tall LogPane { height: 3fr; }

    RunScreen.-wide #below, RunScreen.-broad #below { layout: horizontal; }
    RunScreen.-wide #pairs, RunScreen.-wide LogPane,
    RunScreen.-broad #pairs, RunScreen.-broad LogPane { width: 1fr; height: 1fr; }
    RunScreen.-wide #pairs, RunScreen.-broad #pairs { margin: 0 3 0 0; }
    RunScreen.-wide WhatNow, RunScreen.-broad WhatNow {
        width: 2fr; height: 1fr; margin: 0 3 0 0;
    }

    RunScreen.-broad.-tall #parts { layout: horizontal; margin: 1 0 0 0; }
    RunScreen.-broad.-tall CardGrid { width: 50; margin: 0 2 0 0; }
    RunScreen.-broad.-tall #below {
        layout: grid; grid-size: 2; grid-columns: 1fr 72; grid-rows: 5fr 3fr; grid-gutter: 0 2;
    }
    RunScreen.-what-now.-broad.-tall #below { grid-columns: 1fr 1fr; grid-rows: 3fr 1fr; }
    RunScreen.-broad.-tall LogPane { column-span: 2; }
    RunScreen.-broad.-tall MetricChart, RunScreen.-broad.-tall PairList,
    RunScreen.-broad.-tall #pairs-title { display: block; }
    RunScreen.-broad.-tall MetricChart, RunScreen.-broad.-tall #pairs,
    RunScreen.-broad.-tall WhatNow { width: 1fr; height: 1fr; margin: 0 0 1 0; }

    RunScreen.-what-now WhatNow { display: block; }
    RunScreen.-what-now #pairs { display: none; }
    RunScreen.-what-now.-low CardGrid, RunScreen.-what-now.-low LogPane,
    RunScreen.-what-now.-flat CardGrid, RunScreen.-what-now.-flat LogPane { display: none; }
    RunScreen.-what-now.-low #below, RunScreen.-what-now.-flat #below { margin: 1 0 0 0; }
    RunScreen.-what-now.-large-log LogPane,
    RunScreen.-what-now.-large-pair #pairs { display: block; }

    RunScreen.-large-log WhatNow, RunScreen.-large-pair WhatNow,
    RunScreen.-large-log CardGrid, RunScreen.-large-log #pairs,
    RunScreen.-large-pair CardGrid, RunScreen.-large-pair LogPane,
    RunScreen.-large-log MetricChart, RunScreen.-large-pair MetricChart {
        display: none !important;
    }
    RunScreen.-large-log #below, RunScreen.-large-pair #below {
        layout: vertical; margin: 1 0 0 0;
    }
    RunScreen.-large-log LogPane, RunScreen.-large-pair #pairs {
        width: 1fr; height: 1fr; margin: 0;
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("p", "pause", "pause", id="run.pause"),
        Binding("p", "unpause", "go on", id="run.pause"),
        Binding("s", "stop", "stop", id="run.stop"),
        Binding("e", "evaluate", "evaluate", id="run.evaluate"),
        Binding("e", "go_on_and_evaluate", "go on and evaluate", id="run.evaluate"),
        Binding("w", "save", "save now", show=False, id="run.save"),
        Binding("r", "resume", "resume", id="run.resume"),
        Binding("C", "chat", "chat", id="run.chat"),
        Binding("B", "try_it", "try it", id="run.try_it"),
        Binding("i", "detail", "details", id="run.detail"),
        Binding("O", "real_model", "real model", id="run.real_model"),
        Binding("L", "by_hand", "label by hand", id="run.by_hand"),
        Binding("o", "settings", "its settings", id="run.settings"),
        Binding("L", "review", "label pairs", id="run.review"),
        Binding("E", "export", "export", show=False, id="run.export"),
        Binding("P", "publish", "publish", show=False, id="run.publish"),
        Binding("T", "train_on", "train on", show=False, id="run.train_on"),
        Binding("y", "copy", "copy", show=False, id="run.copy"),
        Binding("c", "chart", "charts", id="run.chart"),
        Binding("l", "large('log')", "log", id="run.log"),
        Binding("A", "large('pair')", "newest pair", show=False, id="run.pair"),
        Binding("H", "health", "health", show=False, id="run.health"),
        Binding("escape", "large('')", "all parts", show=False, id="run.all"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._memory = 0
        self._offered = NOTHING  # the state that the offered keys were drawn for
        self._due: list[Callable[[], None]] = []  # the parts of which a frame is to come

    def body(self) -> Iterable[Widget]:
        """Head, cards, the newest pair and the log, health."""
        yield RunHeader()
        yield Outcome()
        with Container(id="parts"):
            yield CardGrid(others=OTHERS)
            with Container(id="below"):
                yield MetricChart()
                yield WhatNow()
                with Vertical(id="pairs"):
                    yield SectionTitle("last pairs", id="pairs-title")
                    yield PairList()
                    yield PairPane()
                yield LogPane()
        yield HealthLine()

    def on_mount(self) -> None:
        """Begin at the cards."""
        self.query_one(CardGrid).focus()
        self.run_worker(self._find_memory())

    def on_resize(self) -> None:
        """Parts for which there is room now are drawn."""
        if self.ready:
            self.call_after_refresh(self.run_changed, ())

    async def _find_memory(self) -> None:
        from engine.machine.device import device

        self._memory = (await asyncio.to_thread(device)).memory_total
        self.run_changed(())

    # -- drawing ---------------------------------------------------------------------------------

    def run_changed(self, events: Sequence[Event]) -> None:
        """Draw what is new. While the run goes on, each part gets a frame of its own, so that a key
        never waits for more than one of them."""
        parts = (self._show_numbers, self._show_pairs, self._show_chart, self._show_log)
        session = self.studio.session
        if session is None or not session.alive or self._offered == NOTHING:
            self._due.clear()
            for part in parts:
                part()
            return
        waiting = bool(self._due)
        self._due += [part for part in parts if part not in self._due]
        if not waiting:
            self.call_after_refresh(self._show_next)

    def _show_next(self) -> None:
        if not self.is_current:  # drawn anew when it comes to the front
            self._due.clear()
        if self._due:
            self._due.pop(0)()
        if self._due:
            self.call_after_refresh(self.set_timer, NEXT_PART, self._show_next)

    def _show_numbers(self) -> None:
        view, session = self.studio.view, self.studio.session
        stopping = session is not None and session.stopping
        self.query_one(RunHeader).show(view, memory=self._memory, stopping=stopping)
        self.query_one(CardGrid).show(view)
        self.query_one(Outcome).show(view, key="e" if self.can_measure() else "")
        steady = view is not None and view.status not in ("failed", "untrained")
        self.query_one(HealthLine).show(view.findings if view else (), steady=steady)
        exports = self.studio.control.export_commands
        asked = f"{session.status} {session.alive} {session.stopping} {exports}" if session else ""
        offered = f"{view.status} {view.judge} {asked}" if view else ""
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()
            self._show_what_now()

    def _show_log(self) -> None:
        self.query_one(LogPane).show(self.studio.view)

    @on(CardGrid.Moved)
    def _show_chart(self) -> None:
        """Beside the cards, the chart is of the one under the cursor."""
        self.query_one(MetricChart).show(self.studio.view, self.query_one(CardGrid).metric)

    @on(RowList.Moved)
    def _show_pairs(self) -> None:
        """The newest pair, or the one under the cursor where the last ones are listed."""
        view, session, list_ = self.studio.view, self.studio.session, self.query_one(PairList)
        asks = session is not None and session.settings.asks_person and bool(session.waiting())
        empty = FIRST_PAIR if view and view.live else "no pair was judged yet"
        empty = "a pair waits for you: L shows it" if asks else empty
        list_.show_pairs(tuple(view.pairs) if view else ())
        pair = list_.current if list_.display else view.newest if view else None
        self.query_one(PairPane).show(pair, empty)

    def _show_what_now(self) -> None:
        """Once the run is over, what one can do with it stands in the place of the newest pair."""
        view, run = self.studio.view, self.trained_run()
        session = self.studio.session
        ended = None
        if view and run and session:
            exported = self.studio.control.export_commands.get(run.path, {})
            ended = Ended.of(view, run, session.settings, exported)
        began = ended is not None and not self.has_class("-what-now")
        self.set_class(ended is not None, "-what-now")
        self.query_one(WhatNow).show(ended, next_keys(self) if ended else ())
        if began and not (self.has_class("-tall") or self.has_class("-large-log")):
            self.call_after_refresh(self.query_one(WhatNow).focus_text)

    def shows(self, live: LiveRun) -> bool:
        """It shows the run of this process."""
        return live.here

    def guide_topic(self) -> str | None:
        """The metric under the cursor, or this screen."""
        grid = self.query_one(CardGrid)
        return grid.metric.label if grid.has_focus else self.TITLE

    # -- keys ------------------------------------------------------------------------------------

    def action_large(self, part: str) -> None:
        """Give all the room to one part, or, asked again, to all parts."""
        if not part and not (self.has_class("-large-log") or self.has_class("-large-pair")):
            self.query_one(CardGrid).focus()
            self.say("all parts are in sight · q quits")
            return
        pairs = self.query_one(PairList)
        large = self.has_class(f"-large-{part}")
        if part == "pair" and pairs.display and not (pairs.has_focus or large):
            pairs.focus()  # they are in sight; asked again, the one under the cursor has the room
            return
        part = "" if large else part
        for each in ("log", "pair"):
            self.set_class(each == part, f"-large-{each}")
        if part == "log":
            self.query_one(LogPane).rows.focus()
        elif part == "pair":
            self.query_one(PairPane).focus_text()
        else:
            self.query_one(CardGrid).focus()

    def action_health(self) -> None:
        """Say what the health line means."""
        from tui.run.health_screen import HealthOverlay

        view = self.studio.view
        self.app.push_screen(
            HealthOverlay(view.findings, view.suites) if view else HealthOverlay(())
        )

    def action_chart(self) -> None:
        """Open the chart of the card under the cursor."""
        self._open_chart(self.query_one(CardGrid).metric)

    @on(CardGrid.Opened)
    def _opened(self, event: CardGrid.Opened) -> None:
        self._open_chart(event.metric)

    def _open_chart(self, metric: Metric) -> None:
        from tui.run.chart_screen import ChartScreen

        if view := self.studio.view:
            self.app.push_screen(ChartScreen(view, metric.name))
