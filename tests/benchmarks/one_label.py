"""The smallest app that Textual can show, to compare a first frame with."""

from textual.app import App, ComposeResult
from textual.widgets import Label


class OneLabel(App[None]):
    """One label."""

    def compose(self) -> ComposeResult:
        """The label."""
        yield Label("one label")


if __name__ == "__main__":
    OneLabel().run()
