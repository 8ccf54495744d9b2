"""One setting in the form: its name, value and mark, and the editor that fits its type.

A field is a single line until somebody edits it. What is typed is told to the screen, which keeps
the settings and shows each field what became of it.
"""

from dataclasses import dataclass

from textual import events, on
from textual.binding import Binding
from textual.content import Content
from textual.message import Message
from textual.widget import Widget
from textual.widgets import Input, OptionList, TextArea

from engine.settings.fields import Setting
from tui.setup.form import Form
from tui.setup.setting_line import NAME_WIDTH, empty_words, setting_line
from tui.setup.suggestions import Suggestions
from tui.text.safe_text import safe_line
from tui.widgets.offers import Offers
from tui.widgets.safe_editors import LineEditor, TextEditor

EDITOR_LINES = 8
EARLIER_WIDTH = 60  # cells of a value of an earlier run in the list of them
KEEP = (
    ("keep", "leave the editor with the text as it is now"),
    ("drop", "back to the text before"),
)


class SettingField(Widget, can_focus=True):
    """A setting; `suggestions` offer values for its text."""

    DEFAULT_CSS = """
    SettingField {
        height: 1; width: 1fr;
        &:focus, &:focus-within { background: $accent 22%; }
        & > Input {
            margin-left: 31; width: 1fr; height: 1; padding: 0; border: none;
            background: $background; color: $foreground;
        }
        & > TextArea {
            margin: 1 0 0 2; height: 8; border: none; padding: 0 1;
            background: $background; color: $foreground;
            &:focus { border: none; }
        }
        & > OptionList {
            overlay: screen; constrain: none inside; offset: 30 0;
            width: auto; min-width: 24; max-width: 48; height: auto; max-height: 8;
            border: none; padding: 0; background: $surface;
            &:focus { border: none; }
        }
    }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("enter", "edit", "edit", id="field.edit"),
        Binding("space", "edit", "edit", show=False, id="field.edit_too"),
        Binding("left", "step(-1)", "previous choice", show=False, id="field.previous"),
        Binding("right", "step(1)", "next choice", show=False, id="field.next"),
        Binding("h", "earlier", "earlier ones", id="field.earlier"),
        Binding("delete,backspace", "reset", "reset", key_display="del", id="field.reset"),
        Binding("tab", "done", "done", id="field.done"),
        Binding("escape", "cancel", "as it was", id="field.cancel"),
    ]

    @dataclass
    class Edited(Message):
        """A text was typed or chosen, in an editor if one was open; None asks for the default."""

        field: "SettingField"
        text: str | None
        editor: LineEditor | TextEditor | None = None  # which may be closed by now

        @property
        def control(self) -> "SettingField":
            return self.field

    @dataclass
    class Left(Message):
        """An editor was left towards the field `by` places further; 0 stays."""

        field: "SettingField"
        by: int

    def __init__(self, setting: Setting, form: Form, suggestions: Suggestions) -> None:
        super().__init__(id=f"field-{setting.key.replace('.', '-')}")
        self.setting = setting
        self._form = form
        self._suggestions = suggestions
        self._first_text = ""  # the text when the editor was opened
        self._screen_text = ""  # the editor's text as the screen knows it
        self._opened_text = ""  # of the editor of several lines
        self.editor: LineEditor | TextEditor | None = None  # while the field is being edited
        self._options: OptionList | None = None  # the choices, or offers for the text
        self._lines = 0
        self._height()

    @property
    def key(self) -> str:
        """The setting's dotted key."""
        return self.setting.key

    # -- what it shows ---------------------------------------------------------------------------

    def show(self, form: Form) -> None:
        """Show the setting as it is in a form."""
        self._form = form
        self._height()
        self.refresh()

    def render(self) -> Content:
        """Marks, name, value and a remark; below, what is wrong with the value."""
        width = self.size.width
        line = setting_line(self.setting, self._form, width, focused=self.has_focus_within)
        reason = self._form.problems.get(self.key)
        if not reason:
            return line
        below = "\n" * (1 + EDITOR_LINES * isinstance(self.editor, TextEditor))
        indent = 3 if self.setting.kind == "multiline" else NAME_WIDTH
        text = Content.styled(safe_line(reason, 400), "$bad").truncate(
            max(1, width - indent), ellipsis=True
        )
        return Content.assemble(line, below, " " * indent, text)

    def _height(self) -> None:
        lines = 1 + (self.key in self._form.problems)
        lines += EDITOR_LINES * isinstance(self.editor, TextEditor)
        if lines != self._lines:
            self._lines = self.styles.height = lines

    def on_focus(self) -> None:
        """Draw the mark of the focus."""
        self.refresh()

    def on_blur(self) -> None:
        """Take the mark of the focus away."""
        self.refresh()

    # -- editing ---------------------------------------------------------------------------------

    async def action_edit(self) -> None:
        """Toggle, offer the choices, or open an editor."""
        kind = self.setting.kind
        if kind == "switch":
            self._send("off" if self._form.text(self.key) == "on" else "on")
        elif kind == "choice":
            await self._show_choices()
        else:
            await self.edit(self._form.text(self.key))

    async def edit(self, text: str, *, select: bool = True) -> None:
        """Open the editor with a text in it; without `select`, as if it had just been typed."""
        self._first_text = self._form.text(self.key)
        if self.setting.kind == "multiline":
            self.editor = TextEditor(text, soft_wrap=True, highlight_cursor_line=False)
            self._screen_text = self._opened_text = self.editor.text
        else:
            self.editor = LineEditor(text, compact=True, select_on_focus=select)
            self._screen_text = self.editor.value
        await self.mount(self.editor)
        self._height()
        self.editor.focus()
        if self._suggestions.completes(self.key):
            self._options = Offers()
            await self.mount(self._options)
            self._offer("")
        if not select and isinstance(self.editor, LineEditor):
            self.editor.cursor_position = len(text)
            self._send(text)

    async def close(self, *, keep: bool = True) -> None:
        """Put away what is open; without `keep`, as if nothing had been typed."""
        if self.editor and not keep:
            self._send(self._first_text)
        had_focus = self.has_focus_within
        self.editor = self._options = None
        await self.remove_children()
        self._height()
        self.refresh()
        if had_focus:
            self.focus()

    def action_step(self, by: int) -> None:
        """Take the next or the previous choice."""
        choices = self._choices()
        if self.setting.kind == "switch":
            self._send("on" if by > 0 else "off")
        elif self.setting.kind == "choice":
            at = choices.index(self._form.text(self.key))
            self._send(choices[(at + by) % len(choices)])

    def action_reset(self) -> None:
        """Back to where the form began, and from there to the default."""
        self.post_message(self.Edited(self, None))

    def action_earlier(self) -> None:
        """Choose one of the values that earlier runs had."""
        from tui.shell.ask import AskChoice

        values = self._suggestions.earlier(self.key)
        lines = [
            (f"{number}", f"{safe_line(each.value, EARLIER_WIDTH)}   {safe_line(each.run, 30)}")
            for number, each in enumerate(values, 1)
        ]

        def chosen(number: str | None) -> None:
            if number:
                self._send(values[int(number) - 1].value)

        self.app.push_screen(AskChoice(f"{self.key} of earlier runs", lines), chosen)

    @property
    def _open(self) -> bool:
        return self.editor is not None or self._options is not None

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Escape is the field's while something is open, the other keys while nothing is."""
        if action == "cancel":
            return self._open
        if action == "earlier":
            return not self._open and bool(self._suggestions.earlier(self.key))
        if action == "done":
            return isinstance(self.editor, TextEditor)
        return not (self._open and action in ("edit", "step", "reset"))

    async def action_done(self) -> None:
        """Leave the editor of several lines with what is in it."""
        await self.close()

    async def action_cancel(self) -> None:
        """Leave the list of choices, or the editor as if nothing had been typed; a text of several
        lines that was changed is not thrown away unasked."""
        if isinstance(self.editor, TextEditor) and self.editor.text != self._opened_text:
            from tui.shell.ask import AskChoice

            self.app.push_screen(AskChoice(f"keep the changed {self.key}?", KEEP), self._leave)
        else:
            await self.close(keep=False)

    async def _leave(self, answer: str | None) -> None:
        if answer:
            await self.close(keep=answer == "keep")

    def check_consume_key(self, key: str, character: str | None) -> bool:
        """A digit on a number begins to edit it."""
        number = self.setting.kind in ("integer", "number")
        return number and not self._open and _begins_a_number(character)

    async def on_key(self, event: events.Key) -> None:
        """A digit on a number begins to edit; the arrows leave a line or move in its offers."""
        if not self._open:
            if self.check_consume_key(event.key, event.character):
                event.stop()
                await self.edit(event.character or "", select=False)
        elif isinstance(self.editor, LineEditor) and event.key in ("up", "down"):
            event.stop()
            by = 1 if event.key == "down" else -1
            if isinstance(self._options, Offers) and self._options.texts:
                self._options.move(by)
            else:
                await self.close()
                self.post_message(self.Left(self, by))
        elif event.key == "tab" and isinstance(self._options, Offers) and self._options.suggestion:
            event.stop()
            event.prevent_default()
            await self._take(self._options.suggestion)

    @on(Input.Changed)
    def _line_changed(self, event: Input.Changed) -> None:
        event.stop()
        if event.input is self.editor and event.value != self._screen_text:
            self._screen_text = event.value
            self._send(event.value)
            self._offer(event.value)

    @on(TextArea.Changed)
    def _text_changed(self, event: TextArea.Changed) -> None:
        event.stop()
        if event.text_area is self.editor and event.text_area.text != self._screen_text:
            self._screen_text = event.text_area.text
            self._send(self._screen_text)

    @on(Input.Submitted)
    async def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        if isinstance(self._options, Offers) and self._options.selection:
            await self._take(self._options.selection)
        else:
            await self.close()

    async def on_descendant_blur(self, event: events.DescendantBlur) -> None:
        """Whoever goes elsewhere in the app closes the editor; what is typed stays."""
        self.refresh()
        if self._open and self.app.focused and not self.has_focus_within:
            await self.close()

    # -- choices and offers ----------------------------------------------------------------------

    def _choices(self) -> list[str]:
        return ["", *self.setting.choices] if self.setting.optional else [*self.setting.choices]

    async def _show_choices(self) -> None:
        choices = self._choices()
        words = [Content(word or empty_words(self.setting)) for word in choices]
        self._options = OptionList(*words, markup=False)
        await self.mount(self._options)
        self._options.highlighted = choices.index(self._form.text(self.key))
        self._options.focus()

    def _offer(self, text: str) -> None:
        """List what the text may become, below the editor."""
        if isinstance(self._options, Offers):
            offers = self._suggestions.offers(self.key, text)
            self._options.offer([each for each in offers if each != text])

    async def _take(self, text: str) -> None:
        """Put an offered text into the editor; a folder stays open for what is in it."""
        if isinstance(self.editor, LineEditor):
            self.editor.value = text
            self.editor.cursor_position = len(text)
            if not text.endswith("/"):
                self._send(text)
                await self.close()

    @on(OptionList.OptionSelected)
    async def _picked(self, event: OptionList.OptionSelected) -> None:
        event.stop()
        if isinstance(self._options, Offers):
            await self._take(self._options.texts[event.option_index])
        else:
            self._send(self._choices()[event.option_index])
            await self.close()

    def _send(self, text: str) -> None:
        self.post_message(self.Edited(self, text, self.editor))


def _begins_a_number(character: str | None) -> bool:
    return bool(character) and character in "0123456789.-"
