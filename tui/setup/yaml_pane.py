"""The settings of the form as YAML, to be read, copied and edited."""

from collections.abc import Mapping

from textual import on
from textual.content import Content
from textual.message import Message
from textual.widgets import TextArea

from engine.errors import UserError
from engine.settings import files
from engine.settings.schema import Settings
from tui.setup.form import Refused
from tui.text.safe_text import safe_line
from tui.widgets.safe_editors import TextEditor

LEFT_OUT = "not in this text, since it is no value"


class YamlPane(TextEditor):
    """An editor of settings; `error` is why its text is none, and empty where it is."""

    DEFAULT_CSS = """
    YamlPane {
        width: 1fr; height: 1fr; border: none; padding: 0 1; background: $background;
        &:focus { border: none; }
        & .text-area--gutter, & .text-area--cursor-gutter { color: $muted; }
    }
    """

    class Edited(Message):
        """The text was changed. `settings` are what it says; None: there is an error."""

        def __init__(self, settings: Settings | None) -> None:
            super().__init__()
            self.settings = settings

    def __init__(self) -> None:
        super().__init__(soft_wrap=False, show_line_numbers=True)
        self.error = ""

    def show(self, settings: Settings) -> None:
        """Put settings into the editor."""
        self.error = ""
        self.text = files.to_yaml(settings, commented=False)

    def remark(self, refused: Mapping[str, Refused]) -> Content:
        """What is wrong with the text, or what it is; what the form has `refused` is not in it."""
        if self.error:
            return Content.styled(safe_line(self.error, 400), "$bad")
        if refused:
            texts = " · ".join(f"{key}: {each.text}" for key, each in refused.items())
            return Content.styled(safe_line(f"{LEFT_OUT}: {texts}", 400), "$bad")
        return Content.styled("the same settings as text; what is valid is in the form", "$muted")

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        settings, self.error = None, ""
        try:
            settings = _settings(self.text)
        except UserError as error:
            self.error = str(error)
        self.post_message(self.Edited(settings))


def _settings(text: str) -> Settings:
    from engine.settings.yaml_text import parse_yaml

    data = parse_yaml(text, "the text")
    if not isinstance(data or {}, dict):
        raise UserError("the text holds no settings: write one `key: value` a line")
    return files.from_mapping(data or {}, "the text")
