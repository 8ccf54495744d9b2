"""The guide: everything has its topic, and every key of its screen."""

import re

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown

from engine.settings.schema import fields
from engine.train import metrics
from tests.tui.stage import STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.guide.screen import GuideScreen
from tui.guide.topics import METRICS, SETTINGS, advice, find, search, topics
from tui.run.metric_labels import ALL

pytestmark = pytest.mark.quick


def titles(chapter: str) -> list[str]:
    return [topic.title for topic in topics() if topic.chapter == chapter]


def test_every_setting_has_advice_in_the_order_of_the_form() -> None:
    assert titles(SETTINGS) == [field.key for field in fields()]
    for field in fields():
        assert advice(field.key)
        assert field.help not in advice(field.key)  # the help stands beside it already


def test_every_metric_is_explained() -> None:
    known = {*metrics.MEANS, *metrics.RATES, *metrics.COUNTS, *ALL, "win_rate"}
    assert sorted(titles(METRICS)) == sorted(known)


def test_every_screen_has_its_topic() -> None:
    from tui.archive.compare_screen import CompareScreen
    from tui.archive.detail_screen import RunDetailScreen
    from tui.archive.runs_screen import RunsScreen
    from tui.archive.try_it_screen import TryItScreen
    from tui.review.screen import ReviewScreen
    from tui.run.screen import RunScreen
    from tui.setup.screen import SetupScreen

    for screen in (
        CompareScreen,
        ReviewScreen,
        RunDetailScreen,
        RunScreen,
        RunsScreen,
        SetupScreen,
        TryItScreen,
    ):
        topic = find(screen.TITLE)
        assert topic, screen.TITLE
        assert topic.chapter == "Screens"


def test_a_setting_comes_before_a_metric_of_its_name() -> None:
    topic = find("learning_rate")
    assert topic
    assert topic.chapter == SETTINGS
    assert find("no such thing") is None


def test_settings_that_are_named_in_the_text_exist() -> None:
    keys = {field.key for field in fields()} | set(ALL) | {"pairs", "question"}
    named = {word for topic in topics() for word in re.findall(r"`([a-z]+_[a-z_]+)`", topic.text)}
    assert named <= keys


def test_search() -> None:
    assert "swap_consistency" in [topic.title for topic in search("position judge order")]
    assert search("beta")[0].title == "beta"
    assert search("xyzzy") == []


async def opened(app: StudioApp, pilot: Pilot[int], topic: str | None = None) -> GuideScreen:
    app.open_guide(topic)
    await until(pilot, lambda: isinstance(app.screen, GuideScreen))
    screen = app.screen
    assert isinstance(screen, GuideScreen)
    await until(pilot, lambda: screen._topic is not None)
    await pilot.pause()
    return screen


@pytest.mark.parametrize("topic", [None, "beta", "kl", "runs", "no such thing"])
def test_it_opens_at_a_topic(topic: str | None) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, topic)
        expected = find(topic) or topics()[0]
        assert screen.topics.current is expected
        words = re.sub(r"[`*]", "", expected.text.split("\n")[0]).split()[:4]
        assert " ".join(words) in " ".join(shown(app).split())

    play(scene, STANDARD)


def test_keys() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, "beta")
        await pilot.press("down")
        await until(pilot, lambda: screen._topic and screen._topic.title == "dpo_cpo_loss_type")
        await pilot.press("tab")
        assert app.focused is screen.query_one("#text")
        await pilot.press("tab")
        assert app.focused is screen.topics
        await pilot.press("enter")
        assert app.focused is screen.query_one("#text")
        await pilot.press("slash", *"swapped", "enter")
        assert len(screen.topics.rows) == len(search("swapped"))
        await pilot.press("down")
        await until(pilot, lambda: screen._topic in search("swapped"))
        await pilot.press("escape")
        assert len(screen.topics.rows) == len(topics())
        assert screen.topics.current is screen._topic
        await pilot.press("space")
        assert "whole topic" in said(app)
        await pilot.press("slash", *"xyzzy")
        assert "no topic has these words" in shown(app)
        await pilot.press("escape", "escape")
        assert app.screen is not screen

    play(scene)


def test_a_long_topic_can_be_read_to_its_end() -> None:
    longest = max(topics(), key=lambda topic: len(topic.text))

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, longest.title)
        await until(pilot, lambda: len(screen.query_one(Markdown).children) > 1)
        text = screen.query_one("#text")
        assert text.max_scroll_y > 0
        for _ in range(10):
            await pilot.press("space")
        assert text.scroll_y == text.max_scroll_y
        last = " ".join(re.sub(r"[`*]", "", longest.text).split()[-3:])
        assert last in " ".join(shown(app).split())
        await pilot.press("backspace")
        assert text.scroll_y < text.max_scroll_y

    play(scene)
