"""Setup: the form for every setting, what the run will cost, and its start."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.errors import RunError, UserError
from engine.machine import hub
from engine.runs.durable import StorageError
from engine.settings.schema import Settings
from tui.setup import config_files, presets
from tui.setup.cost_line import CostLine
from tui.setup.earlier_forms import EarlierForm, EarlierForms
from tui.setup.form import Form, form_of
from tui.setup.setting_browser import SettingBrowser
from tui.setup.setting_field import SettingField
from tui.setup.setting_help import about
from tui.setup.setting_search import SettingSearch
from tui.setup.start_line import StartLine, absence
from tui.setup.unfinished_line import UnfinishedLine
from tui.setup.yaml_pane import YamlPane
from tui.shell.ask import AskChoice
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList

if TYPE_CHECKING:
    from tui.state.live_run import LiveRun


class SetupScreen(StudioScreen):
    """The form. `form` is what it holds; every field shows a part of it."""

    TITLE = "setup"
    # From 188 columns on, two sections stand side by side.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(StudioScreen.HORIZONTAL_BREAKPOINTS or ()), (188, "-broad"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    SetupScreen {
        & #title { height: 1; padding: 0 1; }
        & #form { height: 1fr; margin: 1 0 0 0; }
        & YamlPane { display: none; }
        & #help, & #parts { padding: 0 1; color: $foreground; }
        &.-yaml SettingBrowser { display: none; }
        &.-yaml YamlPane { display: block; }
        & #side { height: 5; width: 100%; border-top: solid $faint; }
        & #parts { height: auto; margin-top: 1; display: none; }
        & #help { height: auto; }
        &.-parts #parts { display: block; }
        &.-parts #help { display: none; }
        &.-narrow.-parts #side { height: 14; }
        &.-wide #body, &.-broad #body { layout: horizontal; }
        &.-wide #form, &.-broad #form { width: 1fr; margin: 1 0 0 0; }
        &.-wide #side, &.-broad #side {
            width: 40; height: 1fr; border-top: none; margin-top: 1; padding: 0 0 0 1;
            border-left: solid $faint;
        }
        &.-wide #help, &.-broad #help, &.-wide #parts, &.-broad #parts { padding: 0; }
        &.-wide #sections { width: 18; }
        &.-broad #sections { width: 20; }
        &.-broad #side { width: 44; }
        &.-wide.-parts #side { width: 56; }
        &.-broad #parts, &.-wide.-parts #help, &.-broad.-parts #help { display: block; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("s", "start", "start", id="setup.start"),
        Binding("slash", "search", "search", key_display="/", id="setup.search"),
        Binding("p", "preset", "presets", id="setup.preset"),
        Binding("y", "yaml", "yaml", id="setup.yaml"),
        Binding("m", "parts", "memory", id="setup.parts"),
        Binding("J", "judge", "try judge", id="setup.judge"),
        Binding("o", "load", "load", id="setup.load"),
        Binding("w", "save", "save", id="setup.save"),
        Binding("u", "undo", "undo", id="setup.undo"),
        Binding("r", "resume", "resume", show=False, id="setup.resume"),
        Binding("down,j", "to_field(1)", "next setting", show=False, id="setup.next"),
        Binding("up,k", "to_field(-1)", "previous setting", show=False, id="setup.previous"),
        Binding(
            "right_square_bracket,pagedown",
            "to_section(1)",
            "next section",
            show=False,
            id="setup.next_section",
        ),
        Binding(
            "left_square_bracket,pageup",
            "to_section(-1)",
            "previous section",
            show=False,
            id="setup.previous_section",
        ),
        Binding("escape", "leave", "back", id="setup.leave"),
        Binding("escape", "to_start", "to start", show=False, id="setup.to_start"),
    ]

    def __init__(self, settings: Settings | None = None, *, start: bool = False) -> None:
        """With `start`, what it opens with is started as soon as it is known to fit."""
        super().__init__()
        name, first = presets.first()
        self.form = form_of(settings or first)
        self.source = "the given config" if settings else name
        self._start_from = self.form
        self._starts = start  # by itself, as long as nobody has touched the form
        self._earlier = EarlierForms()
        self._ready = False  # whether the widgets are there
        self._hub: bool | None = None  # whether the hub answers; None until it is known

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Sections, fields, help, cost and start."""
        yield Static(id="title")
        yield SettingSearch(id="search")
        yield Vertical(
            Horizontal(SettingBrowser(self.form), YamlPane(), id="form"),
            VerticalScroll(Static(id="help"), Static(id="parts"), id="side", can_focus=False),
            id="body",
        )
        yield CostLine()
        yield UnfinishedLine()
        yield StartLine()

    @property
    def _search(self) -> SettingSearch:
        return self.query_one(SettingSearch)

    @property
    def _browser(self) -> SettingBrowser:
        return self.query_one(SettingBrowser)

    def on_mount(self) -> None:
        """Open on the first section with the cursor on Start."""
        self._ready = True
        self._browser.show_section()
        self.query_one(StartLine).focus()
        self._show_form()
        self.set_timer(1.0, self._look_for_hub)
        if self._starts and self.form.problems:
            self.call_after_refresh(self.action_start)

    @work(thread=True)
    def _look_for_hub(self) -> None:
        self._hub = hub.hub_reachable()

    def on_screen_resume(self) -> None:
        """What was left unfinished may be another run now."""
        self.query_one(UnfinishedLine).look()

    def show_live(self, live: "LiveRun | None") -> None:
        """Start says what goes on already."""
        super().show_live(live)
        if self._ready:
            self.query_one(StartLine).show_live(live)

    def show(self, settings: Settings, source: str) -> None:
        """Put other settings into the form. `source` says in the title where they come from."""
        self.replace(form_of(settings), source)
        if self._ready:
            if self.has_class("-yaml"):
                self.query_one(YamlPane).show(settings)
            self.query_one(StartLine).focus()

    def replace(self, form: Form, source: str | None = None, *, by: object = None) -> None:
        """Take another form, which comes from `source` unless the form itself made it.

        What the same editor (`by`) does one after the other is undone as one.
        """
        self._earlier.add(EarlierForm(self.form, self.source, self._start_from), by)
        self.form, self._starts = form, False
        if source:
            self.source, self._start_from = source, form
        self._show_form()

    def guide_topic(self) -> str | None:
        """The setting under the cursor."""
        field = self._browser.fields.current
        return field.key if field else self.TITLE

    # -- showing ---------------------------------------------------------------------------------

    def _show_form(self) -> None:
        if not self._ready:  # shown once it is there
            return
        self._browser.show(self.form, searching=self._search.active)
        self._show_title()
        self._show_help()
        self.query_one(CostLine).estimate(self.form.settings)
        self._show_start()

    def _show_title(self) -> None:
        count = len(self.form.changed)
        edited = " · edited" if self.form.settings != self._start_from.settings else ""
        facts = f"{safe_line(self.source, 60)}{edited} · {count} not at their default"
        title = Content.assemble(("setup  ", "bold"), (facts, "$muted"))
        self.query_one("#title", Static).update(title)

    def _show_help(self) -> None:
        field = self._browser.fields.current
        help = about(field.key, self.form) if field else self._help_on_the_whole()
        self.query_one("#help", Static).update(help)

    def _help_on_the_whole(self) -> Content:
        if self.has_class("-yaml"):
            return self.query_one(YamlPane).remark()
        if absent := self.query_one(CostLine).absent:
            ways = presets.ways_out(*absent)
            return Content.assemble((f"{absence(*absent)}.  ", "bold"), safe_line(ways, 600))
        prospect = presets.prospect(self.form.settings)
        return Content.assemble(("enter starts the run.  ", "bold"), prospect)

    def _show_start(self) -> None:
        cost = self.query_one(CostLine)
        self.query_one(StartLine).show(self.form, cost.refusal, cost.absent)

    @on(CostLine.Estimated)
    def _cost_estimated(self) -> None:
        self.query_one("#parts", Static).update(self.query_one(CostLine).parts())
        self._show_help()
        self._show_start()
        if self._starts:
            self.action_start()

    # -- moving ----------------------------------------------------------------------------------

    @on(RowList.Moved, "#sections")
    def _section_moved(self) -> None:
        if not self._search.active:
            self._browser.show_section()

    @on(RowList.Chosen, "#sections")
    def _into_section(self) -> None:
        self._browser.focus_section()

    def on_descendant_focus(self) -> None:
        """The help and the list of sections follow the focus."""
        if field := self._browser.fields.current:
            self._browser.follow(field)
        self._show_help()

    def action_to_field(self, by: int) -> None:
        """To the next or previous setting, and from the last to Start."""
        self._move(self._browser.fields.current, by)

    @on(SettingField.Left)
    def _left_editor(self, event: SettingField.Left) -> None:
        self._move(event.field, event.by)

    def _move(self, field: SettingField | None, by: int) -> None:
        start = self.query_one(StartLine)
        if field is None and self.focused is start and by > 0:
            self.say("this is the last line · up goes to the settings")
        elif target := self._browser.neighbour(field, by):
            target.focus()
        elif by > 0:
            start.focus()
        elif self._search.active:
            self._search.focus()
        else:
            self._browser.sections.focus()

    def action_to_section(self, by: int) -> None:
        """To the next or previous section."""
        if self._search.active:
            self.action_leave()
        if not self._browser.step(by):
            self.say(f"this is the {'last' if by > 0 else 'first'} section")

    # -- editing ---------------------------------------------------------------------------------

    @on(SettingField.Edited)
    def _edited(self, event: SettingField.Edited) -> None:
        if event.text is not None:
            form = self.form.with_text(event.field.key, event.text)
            self.replace(form, by=event.field.editor)
        else:
            self._reset(event.field.key)

    def _reset(self, key: str) -> None:
        """Put a setting back to where the form began, or from there to its default."""
        form = self.form.reset_to(self._start_from, key)
        if key not in self.form.changed and key not in self.form.refused:
            self.say(f"{key} is at its default already")
            return
        self.replace(form)
        if key in form.changed:
            self.say(safe_line(f"{key} is as in {self.source} · again: its default", 200))

    def action_undo(self) -> None:
        """Take back the newest change of the form."""
        if earlier := self._earlier.before(self.form):
            self.form, self.source, self._start_from = earlier
            self._starts = False
            self._show_form()
        else:
            self.say("nothing was changed since the form was opened")

    # -- searching -------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Find settings by name and help text."""
        self._search.display = True
        self.query_one("#title").display = False
        self._search.focus()
        self._show_matches()

    @on(Input.Changed, "#search")
    def _search_changed(self) -> None:
        if self._search.active:
            self._show_matches()

    def _show_matches(self) -> None:
        keys = self._search.matches()
        self._browser.show_settings(keys)
        if not keys:
            self.query_one("#help", Static).update(
                Content.styled("no setting has these words · esc ends the search", "$muted")
            )

    @on(Input.Submitted, "#search")
    def _to_results(self) -> None:
        if not self._browser.fields.focus_first():
            self.say("no setting has these words")

    def action_leave(self) -> None:
        """End the search, or leave the text for the form."""
        if self.has_class("-yaml"):
            self._leave_yaml()
        elif self._search.active:
            field = self._browser.fields.current
            self._search.display = False
            self.query_one("#title").display = True
            if field:  # stay at the setting that was found
                self._browser.open(field.key)
            else:
                self._browser.show_section()
                self._browser.fields.focus_first()
        else:
            self.remove_class("-parts")
        self.refresh_bindings()

    def action_to_start(self) -> None:
        """Put the cursor on Start."""
        if self.focused is self.query_one(StartLine):
            self.say("the cursor is on start already · q quits")
        self.query_one(StartLine).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to leave only while it is open."""
        if action == "leave" and self.is_mounted:
            return self.has_class("-yaml") or self.has_class("-parts") or self._search.active
        return True

    # -- as text ---------------------------------------------------------------------------------

    def action_yaml(self) -> None:
        """Show the same settings as YAML, to be read, copied and edited."""
        if self._search.active:
            self.action_leave()
        self.add_class("-yaml")
        text = self.query_one(YamlPane)
        text.show(self.form.settings)
        text.focus()
        self._show_help()

    @on(YamlPane.Edited)
    def _yaml_edited(self, event: YamlPane.Edited) -> None:
        if not self.has_class("-yaml"):
            return
        if event.settings not in (None, self.form.settings):
            self.replace(form_of(event.settings), by=self.query_one(YamlPane))
        self._show_help()

    def _leave_yaml(self) -> None:
        if error := self.query_one(YamlPane).error:
            self.say(safe_line(f"left out of the form: {error}", 400))
        self.remove_class("-yaml")
        self._browser.fields.focus_first()

    # -- presets, files, start -------------------------------------------------------------------

    @work
    async def action_preset(self) -> None:
        """Choose one of the ready-made settings."""
        name = await self.app.push_screen_wait(
            AskChoice(
                "start from", [(each.name, each.what) for each in presets.all_presets(self._hub)]
            )
        )
        if name:
            self.show(presets.settings_of(name), name)

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
            self.source, self._start_from = file.name, self.form
            self._show_title()
            self.say(safe_line(f"saved: {file}", 300))

    def action_parts(self) -> None:
        """Show memory part by part."""
        if self.has_class("-broad"):
            self.say("memory by part stands on the right")
        else:
            self.toggle_class("-parts")
            self.refresh_bindings()

    @on(StartLine.Pressed)
    def action_start(self) -> None:
        """Start the run, or go to what is wrong."""
        self._starts = False
        if self.form.problems:
            key, reason = next(iter(self.form.problems.items()))
            self.go_to(key)
            self.say(safe_line(f"cannot start: {key} {reason}", 300))
            return
        if absent := self.query_one(CostLine).absent:
            self.say(f"cannot start: {absence(*absent)} · {presets.ways_out(*absent)}", 15)
            self.query_one(CostLine).estimate(self.form.settings)  # it may be there by now
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

    def action_judge(self) -> None:
        """Try the judge on some pairs, or go to what is wrong."""
        if self.form.problems:
            key, reason = next(iter(self.form.problems.items()))
            self.go_to(key)
            self.say(safe_line(f"the judge cannot be tried: {key} {reason}", 300))
        elif self.form.settings.human_judge:
            self.say("judge: a person needs no card; name a model, a server or a function")
        else:
            self.studio.open_judge_card(self.form.settings)

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

    def go_to(self, key: str) -> None:
        """Put the cursor on a setting."""
        if self.has_class("-yaml") or self._search.active:
            self.action_leave()
        self._browser.open(key)
