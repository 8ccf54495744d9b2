"""Run: what the run that trains now is doing, and what can be asked of it."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Container
from textual.widget import Widget

from engine.errors import RunError, UserError
from engine.events import COMPLETE, Event
from engine.runs.folder import Run
from tui.run.card_grid import CardGrid
from tui.run.header import RunHeader
from tui.run.health_line import HealthLine
from tui.run.log_pane import LogPane
from tui.run.metric_labels import Metric
from tui.run.next_steps import copy_one, newest_weights, next_keys
from tui.run.outcome import Outcome
from tui.run.pair_pane import FIRST_PAIR, PairPane
from tui.run.remote_commands import why_not_evaluated
from tui.run.what_now import Ended, WhatNow
from tui.shell.base import StudioScreen
from tui.state.live_run import LiveRun
from tui.terminal.requirements import LEAST_LINES
from tui.text.fault import setting_at_fault
from tui.text.safe_text import safe_line

if TYPE_CHECKING:
    from engine.session import Session
    from engine.settings.schema import Settings

NO_RUN = "no run is going: start one in Setup (f2) or resume one in Runs (f5)"
ENDED = {
    "finished": "finished",
    "untrained": "learned from no pair",
    "stopped": "was stopped",
    "failed": "failed",
}


class RunScreen(StudioScreen):
    """The live run, or the last one that this program trained."""

    TITLE = "run"
    # Below 22 lines the newest pair is only shown on its own.
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-too-low"), (LEAST_LINES, "-flat"), (22, "-low"), (36, "-tall"),
    ]  # fmt: skip
    CSS = """
    RunScreen RunHeader, RunScreen Outcome, RunScreen CardGrid, RunScreen HealthLine {
        padding: 0 1;
    }
    RunScreen CardGrid { margin: 1 0; }
    RunScreen #below { height: 1fr; layout: vertical; padding: 0 1; }
    RunScreen.-low PairPane { margin: 0 0 1 0; }
    RunScreen.-flat PairPane { display: none; }
    RunScreen.-flat.-large-pair PairPane { display: block; }
    RunScreen.-tall PairPane { height: 2fr; margin: 0 0 1 0; }
    RunScreen.-tall LogPane { height: 3fr; }
    RunScreen.-wide #below { layout: horizontal; }
    RunScreen.-wide PairPane { width: 1fr; height: 1fr; margin: 0 3 0 0; }
    RunScreen.-wide LogPane { width: 1fr; height: 1fr; }
    RunScreen.-what-now WhatNow { display: block; }
    RunScreen.-what-now PairPane { display: none; }
    RunScreen.-what-now.-low CardGrid, RunScreen.-what-now.-low LogPane,
    RunScreen.-what-now.-flat CardGrid, RunScreen.-what-now.-flat LogPane { display: none; }
    RunScreen.-what-now.-low #below, RunScreen.-what-now.-flat #below { margin: 1 0 0 0; }
    RunScreen.-tall WhatNow { height: 2fr; margin: 0 0 1 0; }
    RunScreen.-wide WhatNow { width: 2fr; height: 1fr; margin: 0 3 0 0; }
    RunScreen.-what-now.-large-log LogPane,
    RunScreen.-what-now.-large-pair PairPane { display: block; }
    RunScreen.-large-log WhatNow, RunScreen.-large-pair WhatNow { display: none; }
    RunScreen.-large-log CardGrid, RunScreen.-large-log PairPane,
    RunScreen.-large-pair CardGrid, RunScreen.-large-pair LogPane { display: none; }
    RunScreen.-large-log #below, RunScreen.-large-pair #below { margin: 1 0 0 0; }
    RunScreen.-large-log LogPane, RunScreen.-large-pair PairPane {
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
        Binding("r", "resume", "resume", id="run.review"),
        Binding("C", "chat", "chat", id="run.chat"),
        Binding("a", "try_it", "try it", id="run.try_it"),
        Binding("i", "detail", "details", id="run.detail"),
        Binding("m", "real_model", "real model", id="run.real_model"),
        Binding("b", "by_hand", "label by hand", id="run.by_hand"),
        Binding("o", "settings", "its settings", id="run.settings"),
        Binding("r", "review", "judge pairs", id="run.review"),
        Binding("E", "export", "export", show=False, id="run.export"),
        Binding("T", "train_on", "train on", show=False, id="run.train_on"),
        Binding("y", "copy", "copy", show=False, id="run.copy"),
        Binding("c", "chart", "charts", id="run.chart"),
        Binding("l", "large('log')", "log", id="run.log"),
        Binding("n", "large('pair')", "newest pair", show=False, id="run.pair"),
        Binding("h", "health", "health", show=False, id="run.health"),
        Binding("escape", "large('')", "all parts", show=False, id="run.all"),
    ]

    def __init__(self) -> None:
        super().__init__()
        self._memory = 0
        self._offered = ""  # the state that the offered keys were drawn for

    def body(self) -> Iterable[Widget]:
        """Head, cards, the newest pair and the log, health."""
        yield RunHeader()
        yield Outcome()
        yield CardGrid()
        with Container(id="below"):
            yield WhatNow()
            yield PairPane()
            yield LogPane()
        yield HealthLine()

    def on_mount(self) -> None:
        """Begin at the cards."""
        self.query_one(CardGrid).focus()
        self.run_worker(self._find_memory())

    async def _find_memory(self) -> None:
        from engine.machine.device import device

        self._memory = (await asyncio.to_thread(device)).memory_total
        self.run_changed(())

    # -- drawing ---------------------------------------------------------------------------------

    def run_changed(self, events: Sequence[Event]) -> None:
        """Draw what is new."""
        view, session = self.studio.view, self.studio.session
        stopping = session is not None and session.stopping
        self.query_one(RunHeader).show(view, memory=self._memory, stopping=stopping)
        self.query_one(CardGrid).show(view)
        asks = session is not None and session.settings.asks_person and bool(session.waiting())
        empty = "a pair waits for you: r shows it" if asks else FIRST_PAIR
        self.query_one(PairPane).show(view.newest if view else None, empty)
        self.query_one(LogPane).show(view)
        self.query_one(Outcome).show(view, key="e" if self._can_measure() else "")
        failed = view is not None and view.status in ("failed", "untrained")
        self.query_one(HealthLine).show(view.findings if view else (), steady=not failed)
        asked = f"{session.status} {session.stopping}" if session else ""
        offered = f"{view.status} {view.judge} {asked}" if view else ""
        if offered != self._offered:
            self._offered = offered
            self.refresh_bindings()
            self._show_what_now()

    def _show_what_now(self) -> None:
        """Once the run is over, what one can do with it stands in the place of the newest pair."""
        view, run = self.studio.view, self._trained_run()
        session = self.studio.session
        ended = Ended.of(view, run, session.settings) if view and run and session else None
        began = ended is not None and not self.has_class("-what-now")
        self.set_class(ended is not None, "-what-now")
        self.query_one(WhatNow).show(ended, next_keys(self) if ended else ())
        if began and not (self.has_class("-tall") or self.has_class("-large-log")):
            self.call_after_refresh(self.query_one(WhatNow).focus_text)

    def _trained_run(self) -> Run | None:
        """The run of this screen, where it is over and has learned something."""
        view, session = self.studio.view, self.studio.session
        over = view and session and not session.alive and view.status in ("finished", "stopped")
        return session.run if over and session and session.kept and view and view.step else None

    def shows(self, live: LiveRun) -> bool:
        """It shows the run of this process."""
        return live.here

    def guide_topic(self) -> str | None:
        """The metric under the cursor, or this screen."""
        grid = self.query_one(CardGrid)
        return grid.metric.name if grid.has_focus else self.TITLE

    # -- keys ------------------------------------------------------------------------------------

    def why_not(self, action: str) -> str | None:
        """What the run's state does not allow."""
        view, session = self.studio.view, self.studio.session
        alive = session is not None and session.alive
        match action:
            case "pause" | "unpause" | "stop" | "evaluate" | "save" if not alive:
                return (
                    NO_RUN
                    if view is None
                    else f"the run is over: it {ENDED.get(view.status, view.status)}"
                )
            case "pause" | "unpause" | "stop" if session and session.stopping:
                return "the run is stopping already"
            case "pause" if session and session.status == "paused":
                return "the run is paused already"
            case "unpause" if session and session.status != "paused":
                return "the run is not paused"
            case "evaluate" if session and (why := why_not_evaluated(session.settings)):
                return why
            case "go_on_and_evaluate" if alive or not self._can_measure():
                return "its win rate is measured already" if view and not alive else NO_RUN
            case "resume" if view is None or (not alive and self._resumable() is None):
                how = ENDED.get(view.status, view.status) if view else ""
                return f"the run is over: it {how}" if view else NO_RUN
            case "resume" if alive:
                return "the run is still going"
            case "review" if not (alive and session and session.settings.asks_person):
                return "no person judges this run" if session else NO_RUN
            case "try_it" | "detail" | "chart" if view is None:
                return NO_RUN
            case "settings" if view is None or session is None:
                return NO_RUN
            case "try_it" | "real_model" | "by_hand" | "settings" if alive:
                return "the run is still going"
            case "try_it" | "detail" if session and not session.kept:
                return "nothing was trained, so no run was kept"
            case "chat" | "export" | "train_on" | "copy" if view is None:
                return NO_RUN
            case "chat" | "export" | "train_on" | "copy" if self._trained_run() is None:
                return "the run is still going" if alive else "this run has trained nothing"
        return None

    def action_pause(self) -> None:
        """Hold the run still."""
        if session := self.studio.session:
            session.pause()
            self.say("pausing · p goes on")
            self.refresh_bindings()

    def action_unpause(self) -> None:
        """Let the run go on."""
        if session := self.studio.session:
            session.unpause()
            self.say("it goes on")
            self.refresh_bindings()

    def action_stop(self) -> None:
        """End the run with a checkpoint, after a question."""
        from tui.shell.ask import AskChoice

        session = self.studio.session
        loading = session is not None and session.unbegun
        question = "stop this run?" if loading else "stop this run? It can be resumed later."
        end = "nothing was trained yet" if loading else "write a checkpoint and end"
        choices = (("stop", end), ("go on", f"keep {'loading' if loading else 'training'}"))
        self.app.push_screen(AskChoice(question, choices), self._stop)

    def _stop(self, answer: str | None) -> None:
        if answer == "stop":
            self.studio.stop_run()

    def action_evaluate(self) -> None:
        """Measure the win rate after the current step."""
        if session := self.studio.session:
            session.evaluate_now()
            self.say(f"the win rate is measured {self._when(session)}")

    def _can_measure(self) -> bool:
        """Whether a run that is over has a win rate to be measured by going on with it."""
        view, session = self.studio.view, self.studio.session
        return bool(
            (view and session and session.run and session.kept and view.can_measure)
            and not why_not_evaluated(session.settings)
        )

    def action_go_on_and_evaluate(self) -> None:
        """Resume the run, and measure the win rate before the next step."""
        if (session := self.studio.session) and session.run:
            self._resume(session.run, evaluate=True)

    def _resumable(self) -> Run | None:
        """The run of this screen, where it is over and has steps left."""
        view, session = self.studio.view, self.studio.session
        over = view and session and not session.alive and view.status not in COMPLETE
        return session.run if over and session and session.kept else None

    def action_resume(self) -> None:
        """Go on with the run from its newest checkpoint."""
        if run := self._resumable():
            self._resume(run)

    def _resume(self, run: Run, *, evaluate: bool = False) -> None:
        try:
            self.studio.resume_run(run, evaluate=evaluate)
        except (UserError, RunError) as error:
            self.say_error(error)

    def action_save(self) -> None:
        """Write a checkpoint after the current step."""
        if session := self.studio.session:
            session.save_now()
            self.say(f"a checkpoint is written {self._when(session)}")

    def _when(self, session: "Session") -> str:
        """When the run does what is asked of it between two steps."""
        if session.status == "paused":
            return "once the run goes on: p"
        return "after the current step"

    def action_large(self, part: str) -> None:
        """Give all the room to one part, or, asked again, to all parts."""
        if not part and not (self.has_class("-large-log") or self.has_class("-large-pair")):
            self.query_one(CardGrid).focus()
            self.say("all parts are in sight · q quits")
            return
        part = "" if self.has_class(f"-large-{part}") else part
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

    def action_review(self) -> None:
        """Go to the pairs that wait."""
        self.studio.open_review()

    def action_try_it(self) -> None:
        """Ask the trained policy something."""
        if (session := self.studio.session) and session.run:
            self.studio.open_try_it(session.run)

    def action_chat(self) -> None:
        """Talk with the trained policy."""
        if run := self._trained_run():
            self.studio.open_chat(run)

    def action_export(self) -> None:
        """Write what was trained for other programs."""
        if run := self._trained_run():
            self.studio.open_export(run)

    def action_train_on(self) -> None:
        """Put the run's settings into the form, for a new run from where this one is."""
        if (run := self._trained_run()) and (session := self.studio.session):
            self._open_from(run, session.settings)

    def _open_from(self, run: Run, settings: "Settings") -> None:
        changes = {"run_name": None, "resume_adapter_file": str(newest_weights(run))}
        source = f"{safe_line(run.name, 40)}, from where it is"
        self.studio.open_setup(settings.model_copy(update=changes), source)

    @work
    async def action_copy(self) -> None:
        """Copy the run's folder, or a command line for mlx-lm."""
        if ended := self.query_one(WhatNow).ended:
            await copy_one(self, ended)

    def action_detail(self) -> None:
        """Show the run's pairs, config and files."""
        if (session := self.studio.session) and session.run:
            self.studio.open_run_detail(str(session.run.path))

    def action_settings(self) -> None:
        """Put the run's settings into the form, with the cursor on the one at fault."""
        view, session = self.studio.view, self.studio.session
        if view and session:
            self.studio.open_setup(session.settings, safe_line(view.name, 60))
            if key := setting_at_fault(view.error or ""):
                self.studio.open_setting(key)

    def action_real_model(self) -> None:
        """Put the settings of a real model into the form."""
        from engine.settings.schema import Settings

        self.studio.open_setup(Settings(), "the preset Qwen3-0.6B")

    def action_by_hand(self) -> None:
        """Put a run with a person as its judge into the form: of the starter, or from where the
        run of another model is."""
        from engine.settings.files import preset

        run, session = self._trained_run(), self.studio.session
        if run and session and session.settings.model != "starter":
            changes = {"judge": "human", "batch_size": 1, "steps_per_report": 1}
            self._open_from(run, session.settings.model_copy(update=changes))
        else:
            self.studio.open_setup(preset("starter-human"), "the preset starter-human")
