"""Run detail: a run from its files, as metrics, pairs, config and log."""

import contextlib
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from textual import on, work
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import ContentSwitcher, Static

from engine.errors import UserError
from engine.events import COMPLETE, Choice
from engine.runs.archive import open_run
from engine.runs.folder import METRICS, PAIRS, UNDECIDED, Run
from engine.runs.relabel import settle_if_free
from tui.archive.config_text import config_content
from tui.archive.pair_browser import PairBrowser
from tui.archive.pair_table import FILTERS
from tui.archive.run_actions import copy_path, go_back, resume
from tui.run.card_grid import CardGrid
from tui.run.header import RunHeader
from tui.run.health_line import HealthLine
from tui.run.log_pane import LogPane
from tui.run.metric_labels import CARDS, MORE
from tui.run.outcome import Outcome
from tui.run.remote_commands import why_not_evaluated
from tui.run.watched import WatchedScreen
from tui.shell.ask import AskChoice
from tui.state.run_from_files import RunFromFiles
from tui.text.fault import setting_at_fault
from tui.text.format import size
from tui.text.safe_text import safe_line
from tui.text.unreadable import unreadable
from tui.widgets.from_thread import is_reading, show_from_thread

SECONDS = 1.0  # between two looks at a run that somebody trains
PARTS = ("metrics", "pairs", "config", "log")


class RunDetailScreen(WatchedScreen):
    """A saved run, or one that another process trains."""

    TITLE = "run detail"
    LOOKS_BACK = True
    DEFAULT_CSS = """
    RunDetailScreen {
        & > * { padding: 0 1; }
        & HealthLine { display: none; }
        & Outcome { margin: 0 0 1 0; }
        & #parts { height: 1; margin: 1 0 0 0; }
        & ContentSwitcher { height: 1fr; margin: 1 0 0 0; }
        & #metrics, & #config { height: 1fr; }
        &.-wide PairBrowser { layout: horizontal; }
        &.-wide #left { width: 1fr; height: 1fr; }
        &.-wide #right { width: 1fr; height: 1fr; margin: 0 0 0 3; }
        &.-wide PairPane { margin: 0; }
        &.-narrow #left { height: 2fr; }
        &.-narrow #right { height: 3fr; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("c", "part('metrics')", "metrics", id="detail.metrics"),
        Binding("A", "part('pairs')", "pairs", id="detail.pairs"),
        Binding("Y", "part('config')", "config", id="detail.config"),
        Binding("l", "part('log')", "log", id="detail.log"),
        Binding("1", "label('first')", "first", id="detail.first"),
        Binding("2", "label('second')", "second", id="detail.second"),
        Binding("t", "label('tie')", "tie", show=False, id="detail.tie"),
        Binding("b", "label('both_bad')", "both bad", show=False, id="detail.both_bad"),
        Binding("f", "flag", "flag", show=False, id="detail.flag"),
        Binding("v", "filter", "filter", id="detail.filter"),
        Binding("slash", "find", "find", key_display="/", show=False, id="detail.find"),
        Binding("H", "health", "health", show=False, id="detail.health"),
        Binding("o", "open", "config in the form", show=False, id="detail.open"),
        Binding("R", "go_back", "resume from a checkpoint", show=False, id="detail.go_back"),
        Binding("B", "try_it", "try it", show=False, id="detail.try_it"),
        Binding("C", "chat", "chat", show=False, id="detail.chat"),
        Binding("P", "publish", "publish", show=False, id="detail.publish"),
        Binding("y", "copy", "copy its path", show=False, id="detail.copy"),
        Binding("tab", "next_part", "next part", show=False, id="detail.next"),
        Binding("escape", "back", "back", id="detail.back"),
    ]

    def __init__(self, name: str | Path) -> None:
        """`name` is a run's name, or the path of its folder."""
        super().__init__()
        self.run: Run = open_run(name)
        self.pairs = PairBrowser(self.run, id="pairs")
        self._source: RunFromFiles | None = None  # once its files were read

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Head, health where something is wrong, the names of the parts, the part in sight."""
        yield RunHeader((safe_line(self.run.name), f"reading its files, {self._to_read()} …"))
        yield HealthLine()
        yield Static(id="parts")
        with ContentSwitcher(initial="metrics"):
            cards = CardGrid(metrics=(*CARDS, *MORE))
            yield VerticalScroll(Outcome(), cards, id="metrics", can_focus=False)
            yield self.pairs
            yield VerticalScroll(Static(id="settings"), id="config")
            yield LogPane(id="log")

    def on_mount(self) -> None:
        """Read the files."""
        self._show_parts()
        self.query_one(CardGrid).focus()
        self._read()
        self.set_interval(SECONDS, self._read_again)

    def on_screen_resume(self) -> None:
        """What was written while another screen was in front shows at once."""
        if self._source and not is_reading(self, "read"):
            self._read()

    def _to_read(self) -> str:
        """How much the files are that are read before anything is shown."""
        sizes = []
        for file in (METRICS, PAIRS, UNDECIDED):
            with contextlib.suppress(OSError):
                sizes.append((self.run.path / file).stat().st_size)
        return size(sum(sizes))

    def _read_again(self) -> None:
        if not self.is_current or self._source is None or is_reading(self, "read"):
            return
        if self._source.view.live or self.holder:
            self._read()

    @work(thread=True, group="read")
    def _read(self) -> None:
        """Take in what is new in the run's files."""
        source = self._source
        try:
            if source is None:
                settle_if_free(self.run)
                source = RunFromFiles(self.run)
            else:
                source.read()
            show_from_thread(self, self._show_run, source)
            if self.pairs.table.read() or not self.pairs.was_read:
                show_from_thread(self, self.pairs.take)
        except UserError as error:
            show_from_thread(self, self._show_fault, error)
        except OSError as error:
            show_from_thread(self, self._show_fault, unreadable(error))

    def _show_fault(self, error: UserError) -> None:
        if self._source is None:
            self.query_one(RunHeader).instead = (safe_line(self.run.name), "it cannot be read")
        self.pairs.show_unreadable()
        self.say_error(error)

    def _show_run(self, source: RunFromFiles) -> None:
        first, self._source = self._source is None, source
        source.take()
        self.pairs.awaited = source.view.live
        self.query_one(RunHeader).show(source.view)
        health = self.query_one(HealthLine)
        health.show(source.view.findings)
        health.display = bool(source.view.findings)
        self.query_one(Outcome).show(source.view, key="e" if self._can_measure() else "")
        self.query_one(CardGrid).show(source.view)
        self.query_one(LogPane).show(source.view)
        self._show_parts()
        self.refresh_bindings()  # what can be done with it differs with how it ended
        if first:
            self._show_config()

    # -- showing ---------------------------------------------------------------------------------

    @property
    def part(self) -> str:
        """The part in sight."""
        return self.query_one(ContentSwitcher).current or PARTS[0]

    def _show_parts(self) -> None:
        words: list[tuple[str, str] | str] = []
        for part in PARTS:
            style = "$accent bold" if part == self.part else "$muted"
            words += [(part, style), "   "]
        self.query_one("#parts", Static).update(Content.assemble(*words))

    def _show_config(self) -> None:
        try:
            settings, notes = self.run.known_settings()
        except UserError as error:
            self.query_one("#settings", Static).update(Content.styled(str(error), "$bad"))
            return
        self.query_one("#settings", Static).update(config_content(settings, notes))

    def on_descendant_focus(self) -> None:
        """The list of pairs shows whether it has the keys."""
        super().on_descendant_focus()
        self.pairs.focus_changed()

    # -- going about -----------------------------------------------------------------------------

    def action_part(self, part: str) -> None:
        """Show a part."""
        if part == self.part and not self.pairs.has_class("-large"):
            self.say(f"this is {part} already")
        self.query_one(ContentSwitcher).current = part
        self.pairs.remove_class("-large")
        self._show_parts()
        target: dict[str, Widget] = {
            "metrics": self.query_one(CardGrid),
            "pairs": self.pairs.list,
            "config": self.query_one("#config"),
            "log": self.query_one(LogPane).rows,
        }
        target[part].focus()
        if part == "log":  # laid out for no width while it was out of sight
            self.call_after_refresh(self.query_one(LogPane).rows.rebuild)

    def action_next_part(self) -> None:
        """Show the next part."""
        self.action_part(PARTS[(PARTS.index(self.part) + 1) % len(PARTS)])

    async def action_back(self) -> None:
        """End the search or the large view, then leave."""
        if not self.pairs.step_back():
            await self.app.run_action("back")

    @on(CardGrid.Opened)
    def _open_chart(self, event: CardGrid.Opened) -> None:
        from tui.run.chart_screen import ChartScreen

        if self._source:
            self.app.push_screen(ChartScreen(self._source.view, event.metric.name))
        else:
            how = "are still being" if is_reading(self, "read") else "cannot be"
            self.say(f"the run's files {how} read")

    def why_not(self, action: str) -> str | None:
        """Keys about pairs are there with the pairs only."""
        if action == "go_on_and_evaluate" and not self._can_measure():
            return "its win rate is measured already"
        status = self._source.view.status if self._source else ""
        if action == "resume" and status in COMPLETE:
            return f"this run is {status}; o opens its config for a new one"
        about_pairs = action in ("label", "flag", "filter", "find")
        if about_pairs and not (self.is_mounted and self.part == "pairs"):
            return "that is for a pair: A shows them"
        return super().why_not(action)

    # -- pairs -----------------------------------------------------------------------------------

    @work
    async def action_filter(self) -> None:
        """Choose which pairs to show."""
        counts = self.pairs.table.counts()
        name = await self.app.push_screen_wait(
            AskChoice("show which pairs?", [(each.name, f"{count:,}") for each, count in counts])
        )
        if name:
            self.pairs.show_those(next(each for each in FILTERS if each.name == name))

    def action_find(self) -> None:
        """Show only the pairs that hold some words."""
        self.pairs.find()

    def action_label(self, choice: Choice) -> None:
        """Give the pair under the cursor another verdict."""
        self.pairs.label(choice)

    def action_flag(self) -> None:
        """Flag the pair under the cursor, or take its flag away."""
        self.pairs.flag()

    @on(PairBrowser.Said)
    def _said_of_pairs(self, event: PairBrowser.Said) -> None:
        if isinstance(event.words, Exception):
            self.say_error(event.words)
        else:
            self.say(event.words)

    # -- the run ---------------------------------------------------------------------------------

    def action_health(self) -> None:
        """Say what the health line means."""
        from tui.run.health_screen import HealthOverlay

        view = self._source.view if self._source else None
        self.app.push_screen(
            HealthOverlay(view.findings, view.suites) if view else HealthOverlay(())
        )

    def action_open(self) -> None:
        """Open the run's settings in the form."""
        try:
            self.studio.navigator.open_setup(self.run.settings(), self.run.name)
        except UserError as error:
            self.say_error(error)
            return
        fault = self._source.view.error if self._source else ""
        if key := setting_at_fault(fault or ""):
            self.studio.navigator.open_setting(key)

    def action_resume(self) -> None:
        """Go on with the run from its newest checkpoint."""
        status = self._source.view.status if self._source else ""
        resume(self, self.run, status, config_key="o")

    @work(exclusive=True, group="asked")
    async def action_go_back(self) -> None:
        """Go on with the run from an earlier checkpoint."""
        await go_back(self, self.run)

    def _can_measure(self) -> bool:
        """Whether the run has a win rate to be measured by going on with it."""
        may = self._source and not self.holder and self._source.view.can_measure
        return bool(may and self._evaluates)

    @cached_property
    def _evaluates(self) -> bool:
        """Whether its settings, which do not change, have a win rate measured. It is asked for
        each time that the keys are drawn."""
        try:
            return not why_not_evaluated(self.run.settings())
        except UserError:
            return False

    def action_go_on_and_evaluate(self) -> None:
        """Resume the run, and measure the win rate before the next step."""
        status = self._source.view.status if self._source else ""
        resume(self, self.run, status, config_key="o", evaluate=True)

    def action_try_it(self) -> None:
        """Ask the starting and the trained policy."""
        self.studio.navigator.open_try_it(self.run)

    def action_chat(self) -> None:
        """Talk with the starting and the trained policy."""
        self.studio.navigator.open_chat(self.run)

    def action_publish(self) -> None:
        """Send what it left to the model hub."""
        self.studio.navigator.open_publish(self.run)

    def action_copy(self) -> None:
        """Copy the path of the run's folder."""
        copy_path(self, self.run.path)
