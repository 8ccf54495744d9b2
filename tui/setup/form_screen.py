"""The form: every setting, on its first page or by section, as fields or as YAML, and its undo."""

from collections.abc import Iterable

from textual import on
from textual.binding import Binding
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widget import Widget
from textual.widgets import Input, Static

from engine.settings.schema import Settings
from tui.setup.earlier_forms import EarlierForm, EarlierForms
from tui.setup.form import Form, form_from_text, form_of
from tui.setup.origin import origin
from tui.setup.setting_browser import SettingBrowser
from tui.setup.setting_field import SettingField
from tui.setup.setting_help import about
from tui.setup.setting_search import SettingSearch
from tui.setup.suggestions import Suggestions
from tui.setup.yaml_pane import YamlPane
from tui.shell.base import StudioScreen
from tui.text.safe_text import safe_line
from tui.widgets.row_list import RowList

NO_MATCH = "no setting has these words"
LEAVE = (  # a text that is no settings
    ("edit on", "the text stays as it is, to be mended"),
    ("leave it", "the text is lost; the form has what was valid last"),
)
# A screen puts these after its own keys.
FORM_KEYS = [
    Binding("slash", "search", "search", key_display="/", id="setup.search"),
    Binding("n", "to_match(1)", "next match", show=False, id="setup.next_match"),
    Binding("N", "to_match(-1)", "match before", show=False, id="setup.match_before"),
    Binding("a", "page(False)", "all settings", id="setup.page"),
    Binding("a", "page(True)", "first page", id="setup.page"),
    Binding("u", "undo", "undo", id="setup.undo"),
    Binding("Y", "yaml", "yaml", show=False, id="setup.yaml"),
    Binding("down,j", "to_field(1)", "next setting", show=False, id="setup.next"),
    Binding("up,k", "to_field(-1)", "previous setting", show=False, id="setup.previous"),
    Binding("home,g", "to_edge(1)", "to the first", show=False, id="setup.first"),
    Binding("end,G", "to_edge(-1)", "to the last", show=False, id="setup.last"),
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
]


class FormScreen(StudioScreen):
    """A screen with the form. `form` is what it holds; every field shows a part of it.

    What stands below the fields, what else is known of the settings and what is done with them is
    the subject of who builds on it.
    """

    TITLE = "setup"
    # From 188 columns on, two sections stand side by side.
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        *(StudioScreen.HORIZONTAL_BREAKPOINTS or ()), (188, "-broad"),
    ]  # fmt: skip
    DEFAULT_CSS = """
    FormScreen {
        & #title { height: 1; padding: 0 1; }
        & #form { height: 1fr; margin: 1 0 0 0; }
        & YamlPane { display: none; }
        & #help { padding: 0 1; height: auto; color: $foreground; }
        &.-yaml SettingBrowser { display: none; }
        &.-yaml YamlPane { display: block; }
        & #side { height: 5; width: 100%; border-top: solid $faint; }
        &.-wide #body, &.-broad #body { layout: horizontal; }
        &.-wide #form, &.-broad #form { width: 1fr; margin: 1 0 0 0; }
        &.-wide #side, &.-broad #side {
            width: 40; height: 1fr; border-top: none; margin-top: 1; padding: 0 0 0 1;
            border-left: solid $faint;
        }
        &.-wide #help, &.-broad #help { padding: 0; }
        &.-wide #sections { width: 18; }
        &.-broad #sections { width: 20; }
        &.-broad #side { width: 44; }
    }
    """

    def __init__(self, form: Form, source: str) -> None:
        """`source` says in the title where the form comes from."""
        super().__init__()
        self.form = form
        self.origin = origin(form, source)
        self.suggestions = Suggestions()
        self.built = False  # whether the widgets are there
        self._earlier = EarlierForms()

    # -- parts -----------------------------------------------------------------------------------

    def body(self) -> Iterable[Widget]:
        """Title, search, the fields, and what is said beside them."""
        yield Static(id="title")
        yield SettingSearch(id="search")
        yield Vertical(
            Horizontal(
                SettingBrowser(self.form, self.origin, self.suggestions), YamlPane(), id="form"
            ),
            VerticalScroll(*self.side(), id="side", can_focus=False),
            id="body",
        )

    def side(self) -> Iterable[Widget]:
        """What stands beside the fields, or below them where there is no room."""
        yield Static(id="help")

    @property
    def _search(self) -> SettingSearch:
        return self.query_one(SettingSearch)

    @property
    def browser(self) -> SettingBrowser:
        """The fields."""
        return self.query_one(SettingBrowser)

    def begin(self) -> None:
        """Show the first page, once the widgets are there."""
        self.built = True
        self.show_page(first=True)
        self.show_form()

    def show(self, settings: Settings, source: str) -> None:
        """Put other settings into the form. `source` says in the title where they come from."""
        self.replace(form_of(settings), source)
        if self.built and self.has_class("-yaml"):
            self.query_one(YamlPane).show(settings)

    def replace(self, form: Form, source: str | None = None, *, by: object = None) -> None:
        """Take another form, which comes from `source` unless the form itself made it.

        What the same editor (`by`) does one after the other is undone as one.
        """
        self._earlier.add(EarlierForm(self.form, self.origin), by)
        self.form = form
        if source:
            self.origin = origin(form, source)
        self.show_form()

    def findings(self) -> dict[str, str]:
        """Reasons against settings that a look at files gave."""
        return {}

    @property
    def checked_form(self) -> Form:
        """The form with all that is known against it."""
        return self.form.with_findings(self.findings())

    def guide_topic(self) -> str | None:
        """The setting under the cursor."""
        field = self.browser.fields.current
        return field.key if field else self.TITLE

    # -- showing ---------------------------------------------------------------------------------

    def show_form(self) -> None:
        """Show what the form holds now."""
        if self.built:
            self.browser.show(self.checked_form, self.origin, searching=self._search.active)
            self._show_title()
            self.show_help()

    def _show_title(self) -> None:
        edited = self.form.settings != self.origin.start.settings
        words = [safe_line(self.origin.source, 60), *(["edited"] if edited else [])]
        words += [] if self.browser.on_first_page else ["all settings"]
        count = len(self.form.changed)
        words.append(f"{count} not at their default" if count else "all at their defaults")
        title = Content.assemble(("setup  ", "bold"), (" · ".join(words), "$muted"))
        self.query_one("#title", Static).update(title)

    def show_help(self) -> None:
        """Say what the setting under the cursor is, or what the form as a whole."""
        fields = self.browser.fields
        if field := fields.current:
            help = self.help_on(field.key)
        elif self._search.active and not fields.visible_fields():
            help = Content.styled(f"{NO_MATCH} · esc ends the search", "$muted")
        else:
            help = self.help_on_the_whole()
        self.query_one("#help", Static).update(help)

    def help_on(self, key: str) -> Content:
        """What is said of a setting."""
        return about(key, self.checked_form)

    def help_on_the_whole(self) -> Content:
        """What is said while no setting is under the cursor."""
        if not self.has_class("-yaml"):
            return Content("")
        return self.query_one(YamlPane).remark(self.form.refused)

    # -- moving ----------------------------------------------------------------------------------

    def show_page(self, *, first: bool) -> None:
        """Show the first page, or all settings by section."""
        self.set_class(first, "-first-page")
        self.browser.show_page(first=first)
        self._page_changed()

    def _page_changed(self) -> None:
        self.set_class(self.browser.on_first_page, "-first-page")
        self._show_title()
        self.refresh_bindings()

    def action_page(self, first: bool) -> None:
        """To the first page, or to all settings; the cursor stays on its setting."""
        if self._search.active or self.has_class("-yaml"):
            self._leave_part()
        field = self.browser.fields.current
        self.show_page(first=first)
        if field and not (first and field not in self.browser.fields.visible_fields()):
            self.go_to(field.key)
        elif field:
            self.browser.fields.focus_first()

    @on(RowList.Moved, "#sections")
    def _section_moved(self) -> None:
        if not self._search.active:
            self.browser.show_section()

    @on(RowList.Chosen, "#sections")
    def _into_section(self) -> None:
        self.browser.focus_section()

    def on_descendant_focus(self) -> None:
        """The help and the list of sections follow the focus."""
        if field := self.browser.fields.current:
            self.browser.follow(field)
        self.show_help()

    def action_to_field(self, by: int) -> None:
        """To the next or previous setting, and from the last to what is below."""
        self._move(self.browser.fields.current, by)

    def action_to_edge(self, by: int) -> None:
        """To the first setting of those that are listed, or with -1 to the last."""
        if field := self.browser.neighbour(None, by):
            field.focus()

    @on(SettingField.Left)
    def _left_editor(self, event: SettingField.Left) -> None:
        self._move(event.field, event.by)

    def _move(self, field: SettingField | None, by: int) -> None:
        below = field is None and by > 0 and not self._search.has_focus
        target = None if below else self.browser.neighbour(field, by)
        if target:
            target.focus()
        elif by > 0:
            self.leave_downwards()
        elif self._search.active:
            self._search.focus()
        elif self.browser.on_first_page:
            self.say("this is the first setting · a shows all of them")
        else:
            self.browser.sections.focus()

    def leave_downwards(self) -> None:
        """Go to what stands below the fields."""

    def action_to_section(self, by: int) -> None:
        """To the next or previous section."""
        if self._search.active:
            self._leave_part()
        if self.browser.step(by):
            self._page_changed()
        else:
            self.say("this is the last section" if by > 0 else "this is the first page")

    # -- editing ---------------------------------------------------------------------------------

    @on(SettingField.Edited)
    def _edited(self, event: SettingField.Edited) -> None:
        if event.text is not None:
            form = self.form.with_text(event.field.key, event.text)
            self.replace(form, by=event.editor)
        else:
            self._reset(event.field.key)

    def _reset(self, key: str) -> None:
        """Put a setting back to where the form began, or from there towards its default."""
        form = self.origin.reset(self.form, key)
        if form.text(key) == self.form.text(key) and key not in self.form.refused:
            self.say(f"{key} is at its default already")
            return
        self.replace(form)
        if key in form.changed:
            again = self.origin.reset(form, key)
            then = f"as in {self.origin.preset}" if key in again.changed else "its default"
            self.say(f"{key} is as in {self.origin.whose(form, key)} · again: {then}")

    def action_undo(self) -> None:
        """Take back the newest change of the form."""
        if earlier := self._earlier.before(self.form):
            self.form, self.origin = earlier
            self.show_form()
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
        self.browser.show_settings(self._search.matches())
        self.show_help()

    @on(Input.Submitted, "#search")
    def _to_results(self) -> None:
        if not self.browser.fields.focus_first():
            self.say(NO_MATCH)

    def action_to_match(self, by: int) -> None:
        """To the next of the settings that were found, and from the last to the first."""
        if not self._search.active:
            self.say("no setting was looked for: / does that")
            return
        neighbour, field = self.browser.neighbour, self.browser.fields.current
        if target := neighbour(field, by) or neighbour(None, by):
            target.focus()

    def action_leave(self) -> None:
        """End the search, or leave the text for the form: one that is no settings not unasked."""
        if self.has_class("-yaml") and self.query_one(YamlPane).error:
            from tui.shell.ask import AskChoice

            def answered(answer: str | None) -> None:
                if answer == LEAVE[1][0]:
                    self._leave_part()

            self.app.push_screen(AskChoice("the text has a mistake: leave it?", LEAVE), answered)
        else:
            self._leave_part()

    def _leave_part(self) -> None:
        if self.has_class("-yaml"):
            self._leave_yaml()
        elif self._search.active:
            field = self.browser.fields.current
            self._search.display = False
            self.query_one("#title").display = True
            if field:  # stay at the setting that was found
                self._open(field.key)
            else:
                self.browser.show_section()
                self.browser.fields.focus_first()
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """There is something to leave only while it is open, and another page than the one."""
        if action == "leave" and self.built:
            return self.has_class("-yaml") or self._search.active
        if action == "page" and self.built:
            return parameters != (self.browser.on_first_page,)
        return True

    # -- as text ---------------------------------------------------------------------------------

    def action_yaml(self) -> None:
        """Show the same settings as YAML, to be read, copied and edited."""
        if self._search.active:
            self._leave_part()
        self.add_class("-yaml")
        text = self.query_one(YamlPane)
        text.show(self.form.settings)
        text.focus()
        self.show_help()

    @on(YamlPane.Edited)
    def _yaml_edited(self, event: YamlPane.Edited) -> None:
        if not self.has_class("-yaml"):
            return
        if event.settings not in (None, self.form.settings):
            form = form_from_text(event.settings, self.form)
            self.replace(form, by=self.query_one(YamlPane))
        self.show_help()

    def _leave_yaml(self) -> None:
        if error := self.query_one(YamlPane).error:
            self.say(safe_line(f"left out of the form: {error}", 400))
        self.remove_class("-yaml")
        self.browser.fields.focus_first()

    def go_to(self, key: str) -> None:
        """Put the cursor on a setting."""
        if self.has_class("-yaml") or self._search.active:
            self._leave_part()
        self._open(key)

    def _open(self, key: str) -> None:
        self.browser.open(key)
        self._page_changed()
