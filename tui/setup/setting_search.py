"""The line in which settings are looked for by name and help text."""

from tui.setup.form import FIELDS
from tui.text.search import matcher
from tui.widgets.safe_editors import LineEditor


class SettingSearch(LineEditor):
    """There only while somebody searches."""

    DEFAULT_CSS = """
    SettingSearch {
        height: 1; border: none; padding: 0 1 !important; display: none; background: $surface;
    }
    """

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(placeholder="search names and help", compact=True, id=id)

    @property
    def active(self) -> bool:
        """Whether somebody searches."""
        return bool(self.display)

    def matches(self) -> list[str]:
        """The settings with every word that was typed in their name or help."""
        return matching_settings(self.value)


def matching_settings(text: str) -> list[str]:
    """The settings whose name, section or help holds every word of `text`; first that of which it
    is the name."""
    matches = matcher(text)
    keys = [
        key
        for key, each in FIELDS.items()
        if matches(f"{key} {key.replace('_', ' ')} {each.help} {each.section}")
    ]
    return sorted(keys, key=lambda key: key != text.strip())
