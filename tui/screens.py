"""What makes each screen that the app opens. A room is imported only when one goes there."""

from typing import TYPE_CHECKING, Any

from textual.app import App
from textual.screen import Screen

from tui.shell.opening import OpeningScreen

if TYPE_CHECKING:
    from engine.runs.folder import Run
    from engine.settings.schema import Settings
    from tui.archive.chat_screen import ChatScreen
    from tui.archive.detail_screen import RunDetailScreen
    from tui.archive.publish_screen import PublishScreen
    from tui.archive.queue_screen import QueueScreen
    from tui.archive.runs_screen import RunsScreen
    from tui.archive.try_it_screen import TryItScreen
    from tui.guide.screen import GuideScreen
    from tui.judging.screen import JudgeCardScreen
    from tui.review.screen import ReviewScreen
    from tui.run.screen import RunScreen
    from tui.setup.screen import SetupScreen
    from tui.shell.keys_overlay import KeysOverlay
    from tui.shell.palette import Commands, Palette
    from tui.shell.theme_picker import ThemePicker

# -- the first screen of each mode ----------------------------------------------------------------


def setup(settings: "Settings | None", *, start: bool) -> "SetupScreen":
    """The form with these settings; with `start` they are started at once."""
    from tui.setup.screen import SetupScreen

    return SetupScreen(settings, start=start)


def run() -> "RunScreen":
    """The run that trains."""
    from tui.run.screen import RunScreen

    return RunScreen()


def review() -> "ReviewScreen":
    """The pairs that wait for a person."""
    from tui.review.screen import ReviewScreen

    return ReviewScreen()


def runs() -> "RunsScreen":
    """All runs."""
    from tui.archive.runs_screen import RunsScreen

    return RunsScreen()


MODES = {"opening": OpeningScreen, "run": run, "review": review, "runs": runs}  # and setup

# -- over them ------------------------------------------------------------------------------------


def run_detail(name: str) -> "RunDetailScreen":
    """A run from its files."""
    from tui.archive.detail_screen import RunDetailScreen

    return RunDetailScreen(name)


def try_it(run: "Run") -> "TryItScreen":
    """The starting and the trained policy of a run, side by side."""
    from tui.archive.try_it_screen import TryItScreen

    return TryItScreen(run)


def chat(run: "Run") -> "ChatScreen":
    """A chat with the policies of a run."""
    from tui.archive.chat_screen import ChatScreen

    return ChatScreen(run)


def queue() -> "QueueScreen":
    """The runs that wait for their turn."""
    from tui.archive.queue_screen import QueueScreen

    return QueueScreen()


def judge_card(settings: "Settings") -> "JudgeCardScreen":
    """A judge tried on some pairs."""
    from tui.judging.screen import JudgeCardScreen

    return JudgeCardScreen(settings)


async def export(app: App[Any], run: "Run") -> None:
    """The questions before an export, and the export."""
    from tui.archive.export_dialog import export

    await export(app, run)


def publish(run: "Run") -> "PublishScreen":
    """What of a run goes to the model hub, and its way there."""
    from tui.archive.publish_screen import PublishScreen

    return PublishScreen(run)


def guide(topic: str | None) -> "GuideScreen":
    """The guide at a topic."""
    from tui.guide.screen import GuideScreen

    return GuideScreen(topic)


def keys(screen: Screen[Any]) -> "KeysOverlay":
    """All keys of a screen."""
    from tui.shell.keys_overlay import KeysOverlay

    return KeysOverlay(screen)


def themes() -> "ThemePicker":
    """All themes."""
    from tui.shell.theme_picker import ThemePicker

    return ThemePicker()


def palette() -> "Palette":
    """The search over all commands."""
    from tui.shell.palette import Palette

    return Palette(id="--command-palette")


def commands() -> "type[Commands]":
    """What the palette searches in."""
    from tui.shell.palette import Commands

    return Commands
