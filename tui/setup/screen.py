"""Setup: the form, what its data holds, what the run will cost, and its start."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Static

from engine.errors import RunError, UserError
from engine.machine import hub
from engine.runs.durable import StorageError
from engine.settings.schema import Settings
from tui.setup import config_files, presets
from tui.setup.cost_line import CostLine, Wanted
from tui.setup.data_pane import DATA, DataPane
from tui.setup.form import Form, form_of
from tui.setup.form_screen import FORM_KEYS, FormScreen
from tui.setup.queueing import add_to_queue
from tui.setup.start_line import StartLine, absence
from tui.setup.unfinished_line import UnfinishedLine
from tui.shell.ask import AskChoice
from tui.text.safe_text import safe_line
from tui.widgets.from_thread import show_from_thread

if TYPE_CHECKING:
    from tui.setup.suggestions import Earlier
    from tui.state.live_run import LiveRun


class SetupScreen(FormScreen):
    """The form and, below it, the start of a run with what it holds."""

    DEFAULT_CSS = """
    SetupScreen {
        & #parts, & DataPane { padding: 0 1; height: auto; margin-top: 1; display: none; }
        &.-wide #parts, &.-broad #parts, &.-wide DataPane, &.-broad DataPane { padding: 0; }
        &.-parts #parts, &.-data DataPane { display: block; }
        &.-narrow.-parts #side, &.-narrow.-data #side { height: 14; }
        &.-narrow.-parts #help, &.-narrow.-data #help { display: none; }
        &.-narrow #parts, &.-narrow DataPane { margin-top: 0; }
        &.-wide.-first-page DataPane, &.-broad.-first-page DataPane { display: block; }
        &.-wide.-parts #side { width: 56; }
        &.-wide.-parts.-first-page DataPane { display: none; }
        &.-broad #parts { display: block; }
        &.-broad.-first-page #side { width: 72; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("s", "start", "start", id="setup.start"),
        Binding("O", "preset", "presets", id="setup.preset"),
        *FORM_KEYS,
        Binding("D", "data", "data", id="setup.data"),
        Binding("J", "judge", "judge", id="setup.judge"),
        Binding("i", "parts", "memory", id="setup.parts"),
        Binding("o", "load", "load", show=False, id="setup.load"),
        Binding("w", "save", "save", show=False, id="setup.save"),
        Binding("r", "resume", "resume", show=False, id="setup.resume"),
        Binding("plus", "queue", "add to the queue", show=False, key_display="+", id="setup.queue"),
        Binding("Q", "open_queue", "queue", show=False, id="setup.open_queue"),
        Binding("escape", "close", "back", id="setup.close"),
        Binding("escape", "to_start", "to start", show=False, id="setup.to_start"),
    ]

    def __init__(self, settings: Settings | None = None, *, start: bool = False) -> None:
        """With `start`, what it opens with is started as soon as it is known to fit."""
        name, first = presets.first()
        super().__init__(form_of(settings or first), "the given config" if settings else name)
        self._starts = start  # by itself, as long as nobody has touched the form
        self._hub: bool | None = None  # whether the hub answers; None until it is known

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """The form, cost and start."""
        yield from super().body()
        yield CostLine()
        yield UnfinishedLine()
        yield StartLine()

    def side(self) -> Iterable[Widget]:
        """Help, the data and memory by part."""
        yield from super().side()
        yield DataPane(id="data")
        yield Static(id="parts")

    @property
    def _data(self) -> DataPane:
        return self.query_one(DataPane)

    def on_mount(self) -> None:
        """Open on the first page with the cursor on Start."""
        self.begin()
        self.query_one(StartLine).focus()
        self.set_timer(1.0, self._look_for_hub)
        self.set_timer(1.0, self._look_for_earlier)
        if self._starts and self.form.problems:
            self.call_after_refresh(self.action_start)

    @work(thread=True)
    def _look_for_hub(self) -> None:
        self._hub = hub.hub_reachable()

    @work(thread=True, exclusive=True, group="earlier")
    def _look_for_earlier(self) -> None:
        from tui.setup.earlier_values import earlier_values

        show_from_thread(self, self._take_earlier, earlier_values())

    def _take_earlier(self, values: "Mapping[str, Sequence[Earlier]]") -> None:
        self.suggestions.runs = values
        self.refresh_bindings()

    def on_screen_resume(self) -> None:
        """What was left unfinished may be another run now."""
        self.query_one(UnfinishedLine).look()

    def show_live(self, live: "LiveRun | None") -> None:
        """Start says what goes on already."""
        super().show_live(live)
        if self.built:
            control = self.studio.control
            lingering = control.name if control.lingers else ""
            if self.query_one(StartLine).show_live(live, lingering):
                self.show_help()

    def show(self, settings: Settings, source: str) -> None:
        """Put other settings into the form."""
        super().show(settings, source)
        if self.built:
            self.query_one(StartLine).focus()

    def replace(self, form: Form, source: str | None = None, *, by: object = None) -> None:
        """Take another form: nothing is started by itself any more."""
        self._starts = False
        super().replace(form, source, by=by)

    def findings(self) -> dict[str, str]:
        """What the files say against the names of models and data."""
        known = (self.query_one(CostLine).misnamed, self._data.finding)
        return dict(each for each in known if each)

    # -- showing ---------------------------------------------------------------------------------

    def show_form(self) -> None:
        """Show what the form holds now, and look anew at its data and its cost."""
        if not self.built:
            return
        self._data.read(self.form.settings)
        self._estimate()
        self._show_start()  # first, since the help tells what it does
        super().show_form()

    def _estimate(self) -> None:
        self.query_one(CostLine).estimate(self._wanted())

    def _wanted(self) -> Wanted:
        data = self._data
        reading = data.reading and data.longest is None
        return Wanted(self.form.settings, data.longest, data.prompts, reading)

    def help_on(self, key: str) -> Content:
        """What is said of a setting; of one of the data, also what the data holds."""
        help = super().help_on(key)
        if key not in DATA or self._data.display:
            return help
        return Content.assemble(self._data.facts(), "\n", help)

    def help_on_the_whole(self) -> Content:
        """What a start will do, or why there can be none."""
        if self.has_class("-yaml"):
            return super().help_on_the_whole()
        if absent := self.query_one(CostLine).absent:
            ways = presets.ways_out(*absent)
            return Content.assemble((f"{absence(*absent)}.  ", "bold"), safe_line(ways, 600))
        prospect = presets.prospect(self.form.settings)
        enter = self.query_one(StartLine).what_enter_does()
        return Content.assemble((f"{enter}  ", "bold"), prospect)

    def _show_start(self) -> None:
        cost = self.query_one(CostLine)
        self.query_one(StartLine).show(self.checked_form, cost.refusal, cost.absent)

    @on(CostLine.Estimated)
    def _cost_estimated(self) -> None:
        cost = self.query_one(CostLine)
        self.query_one("#parts", Static).update(cost.parts())
        self._show_findings()
        if self._starts and not self._data.reading and cost.is_of(self._wanted()):
            self.action_start()

    @on(DataPane.Read)
    def _data_read(self) -> None:
        if (preview := self._data.preview) and preview.columns:
            self.suggestions.columns = preview.columns
        if not self._data.reading:
            self._estimate()
        self._show_findings()

    def _show_findings(self) -> None:
        self._show_start()
        FormScreen.show_form(self)

    # -- keys ------------------------------------------------------------------------------------

    def leave_downwards(self) -> None:
        """From the last setting to Start."""
        start = self.query_one(StartLine)
        if self.focused is start:
            self.say("this is the last line · up goes to the settings")
        start.focus()

    def action_to_start(self) -> None:
        """Put the cursor on Start."""
        if self.focused is self.query_one(StartLine):
            self.say("the cursor is on start already · q quits")
        self.query_one(StartLine).focus()

    def action_close(self) -> None:
        """Close what was opened beside the form."""
        self.remove_class("-parts", "-data")
        self.show_help()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to close only while it is open."""
        if action == "close":
            return self.has_class("-parts") or self.has_class("-data")
        return super().check_action(action, parameters)

    def action_data(self) -> None:
        """Show what the data holds."""
        if not self.has_class("-narrow") and self.browser.on_first_page:
            self.remove_class("-parts")
            self.say("what the data holds stands on the right")
        else:
            self._open_beside("-data")

    def action_parts(self) -> None:
        """Show memory part by part."""
        if self.has_class("-broad"):
            self.say("memory by part stands on the right")
        else:
            self._open_beside("-parts")

    def _open_beside(self, part: str) -> None:
        self.toggle_class(part)
        self.remove_class("-data" if part == "-parts" else "-parts")
        self.show_help()
        self.refresh_bindings()

    # -- presets, files, start -------------------------------------------------------------------

    @work
    async def action_preset(self) -> None:
        """Choose one of the ready-made settings."""
        name = await self.app.push_screen_wait(
            AskChoice(
                "start from", [(each.name, each.what) for each in presets.all_presets(self._hub)]
            )
        )
        if not name:
            return
        try:
            self.show(presets.settings_of(name), name)
        except UserError as error:  # what was started last may be of a newer version
            self.say_error(error)

    @work
    async def action_load(self) -> None:
        """Load a config file."""
        if loaded := await config_files.load(self):
            settings, name, notes = loaded
            self.show(settings, name)
            if notes:
                self.say(safe_line(" · ".join(notes), 600), 15)

    @work
    async def action_save(self) -> None:
        """Save the settings as a commented config file."""
        if self.form.refused:
            self.say("mend what is marked ! first: a file holds only settings that are valid")
            return
        try:
            file = await config_files.save(self, self.form.settings)
        except StorageError as error:
            self.say_error(error)
            return
        if file:
            self.origin = replace(self.origin, source=file.name, start=self.form)
            self.show_form()
            self.say(safe_line(f"saved: {file}", 300))

    @on(StartLine.Pressed)
    def action_start(self) -> None:
        """Start the run, or go to what is wrong."""
        self._starts = False
        if problems := self.checked_form.problems:
            key, reason = next(iter(problems.items()))
            self.go_to(key)
            self.say(safe_line(f"cannot start: {key} {reason}", 300))
            return
        if absent := self.query_one(CostLine).absent:
            self.say(f"cannot start: {absence(*absent)} · {presets.ways_out(*absent)}", 15)
            self._estimate()  # it may be there by now
            return
        if refusal := self.query_one(CostLine).refusal:
            self.say(safe_line(f"cannot start: {refusal}", 400), 15)
            return
        try:
            self.studio.start_run(self.form.settings)
        except (UserError, RunError) as error:
            self.say(safe_line(f"cannot start: {error}", 400), 15)
        else:
            presets.remember(self.form.settings)

    @work
    async def action_queue(self) -> None:
        """Add the settings to the queue, or go to what is wrong."""
        if problems := self.checked_form.problems:
            key, reason = next(iter(problems.items()))
            self.go_to(key)
            self.say(safe_line(f"cannot be queued: {key} {reason}", 300))
        else:
            await add_to_queue(self, self.form.settings)

    def action_open_queue(self) -> None:
        """Show the runs that wait for their turn."""
        self.studio.navigator.open_queue()

    def action_judge(self) -> None:
        """Try the judge on some pairs, or go to what is wrong."""
        if self.form.problems:
            key, reason = next(iter(self.form.problems.items()))
            self.go_to(key)
            self.say(safe_line(f"the judge cannot be tried: {key} {reason}", 300))
        elif self.form.settings.human_judge:
            self.say("judge: a person needs no card; name a model, a server or a function")
        else:
            self.studio.navigator.open_judge_card(self.form.settings)

    def action_resume(self) -> None:
        """Go on with the run that was left unfinished."""
        run = self.query_one(UnfinishedLine).run
        if run is None:
            self.say("no run was left unfinished · f5 lists the runs")
            return
        try:
            self.studio.resume_run(run)
        except (UserError, RunError) as error:
            self.say_error(error)
