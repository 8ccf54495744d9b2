"""Setup: the form for every setting, what the run will cost, and its start."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.events import Click
from textual.message import Message
from textual.timer import Timer
from textual.widget import Widget
from textual.widgets import Input, Static, TextArea

from engine import config, durable, hardware
from engine.errors import RunError, UserError
from engine.settings import SECTIONS, Settings
from tui import completions, guide_text, presets
from tui.draft import FIELDS, Draft, draft_of, show
from tui.safe_text import safe_line
from tui.screens.ask import AskChoice, AskText
from tui.screens.base import StudioScreen
from tui.widgets.row_list import RowList
from tui.widgets.safe_editors import LineEditor, TextEditor
from tui.widgets.setting_field import SettingField

if TYPE_CHECKING:
    from tui.cost import Cost

CHANGED = "Changed"  # the section of what differs from the defaults
PATIENCE = 0.3  # seconds without an edit before the cost is worked out anew


class StartLine(Static, can_focus=True):
    """Starts the run, and says in one sentence what that will do."""

    DEFAULT_CSS = """
    StartLine {
        height: 1; padding: 0 1;
        &:focus { background: $accent 30%; text-style: bold; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "press", "start", show=False, id="start.press"),
        Binding("space", "press", "start", show=False, id="start.press_too"),
    ]

    class Pressed(Message):
        """The run shall start."""

    def on_click(self, event: Click) -> None:
        """Start with a click."""
        self.action_press()

    def action_press(self) -> None:
        """Start with a key."""
        self.post_message(self.Pressed())


class SetupScreen(StudioScreen):
    """The form. `draft` is what it holds; every field shows a part of it."""

    TITLE = "setup"
    DEFAULT_CSS = """
    SetupScreen {
        & #title { height: 1; padding: 0 1; }
        & #search { height: 1; border: none; padding: 0 1; display: none; background: $surface; }
        & #form { height: 1fr; margin: 1 0 0 0; }
        & #sections { width: 19; height: 1fr; }
        & #fields { width: 1fr; height: 1fr; padding: 0 1 0 0; }
        & #yaml {
            width: 1fr; height: 1fr; border: none; padding: 0 1; display: none;
            background: $background;
            &:focus { border: none; }
        }
        & #help, & #parts { padding: 0 1; color: $foreground; }
        & #cost { height: auto; max-height: 2; padding: 0 1; color: $muted; }
        &.-yaml #fields, &.-yaml #sections { display: none; }
        &.-yaml #yaml { display: block; }
        & #side { height: 5; width: 100%; border-top: solid $faint; }
        & #parts { height: auto; margin-top: 1; display: none; }
        & #help { height: auto; }
        &.-parts #parts { display: block; }
        &.-parts #help { display: none; }
        &.-narrow.-parts #side { height: 14; }
        &.-wide #body { layout: horizontal; }
        &.-wide #form { width: 1fr; margin: 1 2 0 0; }
        &.-wide #side {
            width: 56; height: 1fr; border-top: none; margin-top: 1; padding: 0 1;
            border-left: solid $faint;
        }
        &.-wide #parts, &.-wide.-parts #help { display: block; }
        &.-wide #sections { width: 22; }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("s", "start", "start", id="setup.start"),
        Binding("slash", "search", "search", key_display="/", id="setup.search"),
        Binding("p", "preset", "presets", id="setup.preset"),
        Binding("y", "yaml", "yaml", id="setup.yaml"),
        Binding("m", "parts", "memory", id="setup.parts"),
        Binding("o", "load", "load", id="setup.load"),
        Binding("w", "save", "save", id="setup.save"),
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

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__()
        name, first = presets.first()
        self.draft = draft_of(settings or first)
        self.source = "the given config" if settings else name
        self._start_from = self.draft
        self._cost: Cost | None = None
        self._cost_error = ""
        self._timer: Timer | None = None
        self._yaml_error = ""
        self._ready = False  # whether the widgets are there
        self._hub: bool | None = None  # whether the hub answers; None until it is known

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Sections, fields, help, cost and start."""
        yield Static(id="title")
        yield LineEditor(placeholder="search names and help", compact=True, id="search")
        yield Vertical(
            Horizontal(
                RowList(self._section_line, [*SECTIONS, CHANGED], id="sections"),
                Fields(id="fields"),
                TextEditor(id="yaml", soft_wrap=False, show_line_numbers=True),
                id="form",
            ),
            VerticalScroll(Static(id="help"), Static(id="parts"), id="side", can_focus=False),
            id="body",
        )
        yield Static(id="cost")
        yield StartLine()

    def on_mount(self) -> None:
        """Open on the first section with the cursor on Start."""
        self._ready = True
        self._show_section()
        self.query_one(StartLine).focus()
        self._show_draft()
        self.set_timer(1.0, self._look_for_hub)

    @work(thread=True)
    def _look_for_hub(self) -> None:
        self._hub = hardware.hub_reachable()

    def show(self, settings: Settings, source: str) -> None:
        """Put other settings into the form. `source` says in the title where they come from."""
        self.replace(draft_of(settings), source)
        if self._ready:
            if self.has_class("-yaml"):
                self.query_one("#yaml", TextArea).text = config.to_yaml(settings, commented=False)
            self.query_one(StartLine).focus()

    def replace(self, draft: Draft, source: str | None = None) -> None:
        """Take another draft, which comes from `source` unless the form itself made it."""
        self.draft = draft
        if source:
            self.source, self._start_from = source, draft
        self._show_draft()

    def guide_topic(self) -> str | None:
        """The setting under the cursor."""
        field = self._field()
        return field.key if field else self.TITLE

    # -- showing ---------------------------------------------------------------------------------

    def _show_draft(self) -> None:
        if not self._ready:  # shown once it is there
            return
        if self._section() == CHANGED and not self._searching():
            self._show_section()
        else:
            for field in self.query_one(Fields).shown():
                field.show(self.draft)
        self.query_one("#sections", RowList).redraw()
        self._show_title()
        self._show_help()
        self._show_start()
        self._cost_later()

    def _show_title(self) -> None:
        count = len(self.draft.changed)
        edited = " · edited" if self.draft.settings != self._start_from.settings else ""
        said = f"{safe_line(self.source, 60)}{edited} · {count} not at their default"
        self.query_one("#title", Static).update(
            Content.assemble(("setup  ", "bold"), (said, "$muted"))
        )

    def _section_line(self, section: str, width: int) -> Content:
        keys = [key for key, each in FIELDS.items() if each.section == section]
        wrong = sum(key in self.draft.problems for key in keys)
        count = len(self.draft.changed) if section == CHANGED else 0
        mark = Content.styled("!" if wrong else " ", "$bad")
        tail = f" {count}" if count else ""
        return Content.assemble(mark, section, (tail, "$muted"))

    def _show_help(self) -> None:
        field = self._field()
        help = _help(field.key, self.draft) if field else self._help_on_the_whole()
        self.query_one("#help", Static).update(help)

    def _help_on_the_whole(self) -> Content:
        if self.has_class("-yaml"):
            words = (
                safe_line(self._yaml_error, 400)
                or "the same settings as text; what is valid is in the form"
            )
            return Content.styled(words, "$bad" if self._yaml_error else "$muted")
        return Content.assemble(
            ("enter starts the run.  ", "bold"), presets.prospect(self.draft.settings)
        )

    def _show_start(self) -> None:
        if self.draft.problems:
            key, reason = next(iter(self.draft.problems.items()))
            text = Content.assemble(("! cannot start  ", "$bad"), safe_line(f"{key} {reason}", 300))
        elif self._refused():
            text = Content.assemble(("! will not fit  ", "$bad"), safe_line(self._refused(), 400))
        else:
            words = safe_line(presets.describe(self.draft.settings), 200)
            text = Content.assemble(("▶ start  ", "$accent"), (words, "$muted"))
        self.query_one(StartLine).update(text)

    def _refused(self) -> str:
        return self._cost_error or (self._cost.refusal or "" if self._cost else "")

    # -- the cost --------------------------------------------------------------------------------

    def _cost_later(self) -> None:
        if self._timer:
            self._timer.stop()
        self._timer = self.set_timer(PATIENCE, self._work_out_cost)
        if self._cost:
            self._show_cost()

    @work(thread=True, exclusive=True, group="cost")
    def _work_out_cost(self) -> None:
        """Ask the files first, which is quick, and the hub only for what is not here."""
        from tui.cost import cost

        settings = self.draft.settings
        for ask_hub in (False, True):
            try:
                found, error = cost(settings, ask_hub=ask_hub), ""
            except (UserError, RunError, OSError) as wrong:
                found, error = None, str(wrong)
            self.app.call_from_thread(self._cost_found, settings, found, error)
            if found is None or found.plan.download is not None:
                return

    def _cost_found(self, settings: Settings, found: "Cost | None", error: str) -> None:
        if settings == self.draft.settings and self.query("#cost"):  # gone when the app closes
            self._cost, self._cost_error = found, error
            self._show_cost()
            self._show_start()

    def _show_cost(self) -> None:
        from tui.cost import sentence, table

        self.query_one("#cost", Static).update(sentence(self.draft.settings, self._cost))
        if self._cost:
            rows = [
                Content.assemble((f"{name:<12}", "$muted"), f"{size:>9}  ", (remark, "$faint"))
                for name, size, remark in table(self._cost)
            ]
            self.query_one("#parts", Static).update(Content("\n").join(rows))

    # -- moving ----------------------------------------------------------------------------------

    def _section(self) -> str:
        return self.query_one("#sections", RowList).current or SECTIONS[0]

    def _field(self) -> SettingField | None:
        focused = self.focused
        while focused is not None and not isinstance(focused, SettingField):
            focused = focused.parent if isinstance(focused.parent, Widget) else None
        return focused

    def _searching(self) -> bool:
        return bool(self.query_one("#search", Input).display)

    def _show_section(self) -> None:
        section = self._section()
        if section == CHANGED:
            keys = list(self.draft.changed)
        else:
            keys = [key for key, each in FIELDS.items() if each.section == section]
        self.query_one(Fields).show(keys, self.draft)

    @on(RowList.Moved, "#sections")
    def _section_chosen(self) -> None:
        if not self._searching():
            self._show_section()

    @on(RowList.Chosen, "#sections")
    def _into_section(self) -> None:
        self.query_one(Fields).focus_first()

    def on_descendant_focus(self) -> None:
        """The help follows the focus."""
        self._show_help()

    def action_to_field(self, by: int) -> None:
        """To the next or previous setting, and from the last to Start."""
        self._move(self._field(), by)

    @on(SettingField.Left)
    def _left_editor(self, event: SettingField.Left) -> None:
        self._move(event.field, event.by)

    def _move(self, field: SettingField | None, by: int) -> None:
        fields = self.query_one(Fields).shown()
        start = self.query_one(StartLine)
        at = fields.index(field) + by if field in fields else (0 if by > 0 else len(fields) - 1)
        if field is None and self.focused is start and by > 0:
            self.say("this is the last line · up goes to the settings")
        elif 0 <= at < len(fields):
            fields[at].focus()
        elif at >= len(fields):
            start.focus()
        elif self._searching():
            self.query_one("#search", Input).focus()
        else:
            self.query_one("#sections", RowList).focus()

    def action_to_section(self, by: int) -> None:
        """To the next or previous section."""
        if self._searching():
            self.action_leave()
        sections = self.query_one("#sections", RowList)
        if not 0 <= sections.cursor + by < len(sections.rows):
            self.say(f"this is the {'last' if by > 0 else 'first'} section")
            return
        in_fields = self._field() is not None
        sections.cursor += by
        self._show_section()
        if in_fields:
            self.query_one(Fields).focus_first()

    # -- editing ---------------------------------------------------------------------------------

    @on(SettingField.Edited)
    def _edited(self, event: SettingField.Edited) -> None:
        key = event.field.key
        if event.text is not None:
            self.replace(self.draft.typed(key, event.text))
        elif key in self.draft.changed or key in self.draft.refused:
            self.replace(self.draft.reset(key))
        else:
            self.say(f"{key} is at its default already")

    # -- searching -------------------------------------------------------------------------------

    def action_search(self) -> None:
        """Find settings by name and help text."""
        line = self.query_one("#search", Input)
        line.display = True
        self.query_one("#title").display = False
        line.focus()
        self._search(line.value)

    @on(Input.Changed, "#search")
    def _search_changed(self, event: Input.Changed) -> None:
        if self._searching():
            self._search(event.value)

    def _search(self, text: str) -> None:
        keys = list(FIELDS) if not text.strip() else found(text)
        self.query_one(Fields).show(keys, self.draft)
        if not keys:
            self.query_one("#help", Static).update(
                Content.styled("no setting has these words · esc ends the search", "$muted")
            )

    @on(Input.Submitted, "#search")
    def _to_results(self) -> None:
        if not self.query_one(Fields).focus_first():
            self.say("no setting has these words")

    def action_leave(self) -> None:
        """End the search, or leave the text for the form."""
        if self.has_class("-yaml"):
            self._leave_yaml()
        elif self._searching():
            field = self._field()
            self.query_one("#search", Input).display = False
            self.query_one("#title").display = True
            if field:  # stay at the setting that was found
                sections = self.query_one("#sections", RowList)
                sections.cursor = SECTIONS.index(FIELDS[field.key].section)
            self._show_section()
            self.query_one(Fields).focus_first(field.key if field else None)
        else:
            self.remove_class("-parts")
        self.refresh_bindings()

    def action_to_start(self) -> None:
        """Put the cursor on Start."""
        self.query_one(StartLine).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to leave only while it is open."""
        if action == "leave" and self.is_mounted:
            return self.has_class("-yaml") or self.has_class("-parts") or self._searching()
        return True

    # -- as text ---------------------------------------------------------------------------------

    def action_yaml(self) -> None:
        """Show the same settings as YAML, to be read, copied and edited."""
        if self._searching():
            self.action_leave()
        self.add_class("-yaml")
        text = self.query_one("#yaml", TextArea)
        text.text = config.to_yaml(self.draft.settings, commented=False)
        self._yaml_error = ""
        text.focus()
        self._show_help()

    @on(TextArea.Changed, "#yaml")
    def _yaml_changed(self, event: TextArea.Changed) -> None:
        from engine.yaml_text import parse_yaml

        if not self.has_class("-yaml"):
            return
        self._yaml_error = ""
        try:
            data = parse_yaml(event.text_area.text, "the text")
            if not isinstance(data or {}, dict):
                raise UserError("the text holds no settings: write one `key: value` a line")
            settings = config.from_mapping(data or {}, "the text")
        except UserError as error:
            self._yaml_error = str(error)
            self._show_help()
            return
        if settings != self.draft.settings:
            self.replace(draft_of(settings))
        self._show_help()

    def _leave_yaml(self) -> None:
        if self._yaml_error:
            self.say(safe_line(f"left out of the form: {self._yaml_error}", 400))
        self.remove_class("-yaml")
        self._yaml_error = ""
        self.query_one(Fields).focus_first()

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
            self.show(presets.settings(name), name)

    @work
    async def action_load(self) -> None:
        """Load a config file."""
        path = await self.app.push_screen_wait(
            AskText("load which config?", check=_cannot_load, complete=completions.paths)
        )
        if path:
            data = config.read(completions.expanded(path))
            self.show(config.from_mapping(data, path), Path(path).name)
            if notes := config.notes(data):
                self.say(safe_line(" · ".join(notes), 600), 15)

    @work
    async def action_save(self) -> None:
        """Save the settings as a commented config file."""
        if self.draft.refused:
            self.say("mend what is marked ! first: a file holds only settings that are valid")
            return
        path = await self.app.push_screen_wait(
            AskText("save as?", "my.yaml", check=_doubt_saving, complete=completions.paths)
        )
        if path:
            file = completions.expanded(path)
            try:
                durable.write_file(file, config.to_yaml(self.draft.settings))
            except durable.StorageError as error:
                self.say(safe_line(str(error), 400), 15)
                return
            self.source, self._start_from = file.name, self.draft
            self._show_title()
            self.say(safe_line(f"saved: {file}", 300))

    def action_parts(self) -> None:
        """Show memory part by part."""
        if self.has_class("-wide"):
            self.say("memory by part stands on the right")
        else:
            self.toggle_class("-parts")
            self.refresh_bindings()

    @on(StartLine.Pressed)
    def action_start(self) -> None:
        """Start the run, or go to what is wrong."""
        if self.draft.problems:
            key, reason = next(iter(self.draft.problems.items()))
            self._go_to(key)
            self.say(safe_line(f"cannot start: {key} {reason}", 300))
            return
        if self._refused():
            self.say(safe_line(f"cannot start: {self._refused()}", 400), 15)
            return
        try:
            self.studio.start_run(self.draft.settings)
        except (UserError, RunError) as error:
            self.say(safe_line(f"cannot start: {error}", 400), 15)
        else:
            presets.remember(self.draft.settings)

    def _go_to(self, key: str) -> None:
        if self.has_class("-yaml") or self._searching():
            self.action_leave()
        sections = self.query_one("#sections", RowList)
        sections.cursor = SECTIONS.index(FIELDS[key].section)
        self._show_section()
        self.query_one(Fields).focus_first(key)


class Fields(VerticalScroll, can_focus=False, inherit_bindings=False):
    """The fields of a section or of a search. Each is made when it is first shown."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._shown: list[SettingField] = []
        self._made: dict[str, SettingField] = {}

    def show(self, keys: Iterable[str], draft: Draft) -> None:
        """Show these settings and no others."""
        wanted, there = set(keys), self._made
        for field in self._shown:
            field.display = field.key in wanted
        for key in wanted & there.keys():
            there[key].display = True
            there[key].show(draft)
        order = list(FIELDS)
        for key in (key for key in order if key in wanted and key not in there):
            new = SettingField(FIELDS[key], draft, completions.for_setting(key))
            later = [there[each] for each in order[order.index(key) :] if each in there]
            self.mount(new, before=later[0] if later else None)
            there[key] = new
        before, self._shown = self._shown, [there[key] for key in order if key in wanted]
        if self._shown != before:
            self.scroll_home(animate=False)

    def shown(self) -> list[SettingField]:
        """The fields that are there to move among."""
        return self._shown

    def focus_first(self, key: str | None = None) -> bool:
        """Put the cursor on a setting, or else the first; whether there is one."""
        fields = self.shown()
        for field in [each for each in fields if each.key == key] or fields[:1]:
            field.focus()
            return True
        return False


def found(text: str) -> list[str]:
    """The settings whose name or help holds every word of `text`."""
    words = text.lower().split()
    return [
        key
        for key, each in FIELDS.items()
        if all(
            w in f"{key} {key.replace('_', ' ')} {each.help} {each.section}".lower() for w in words
        )
    ]


def _help(key: str, draft: Draft) -> Content:
    """All about one setting: what it does, what it may be, what it is at."""
    each = FIELDS[key]
    facts = [fact for fact in (each.unit, each.bounds) if fact]
    if each.kind != "multiline":
        facts.append(f"default {safe_line(show(each.default), 60) or 'empty'}")
    lines = [Content.assemble((key, "bold"), ("  " + " · ".join(facts), "$muted"))]
    if reason := draft.problems.get(key):
        lines.append(Content.styled(safe_line(reason, 400), "$bad"))
    if idle := draft.no_effect.get(key):
        lines.append(Content.styled(f"no effect now: {idle}", "$warning"))
    danger = ("dangerous  ", "$bad") if each.dangerous else ""
    lines.append(Content.assemble(danger, each.help))
    if advice := guide_text.advice(key):
        lines.append(Content.styled(advice, "$muted"))
    return Content("\n").join(lines)


def _cannot_load(path: str) -> str | None:
    try:
        config.load(completions.expanded(path))
    except UserError as error:
        return str(error)
    return None


def _doubt_saving(path: str) -> str | None:
    file = completions.expanded(path)
    if not path.strip() or file.is_dir():
        return "give the name of a file"
    if not file.parent.is_dir():
        return f"there is no folder {file.parent}"
    return f"{file.name} is there already: replace it?" if file.exists() else None
