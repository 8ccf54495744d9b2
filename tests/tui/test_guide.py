"""The guide: everything has its topic, and every key of its screen."""

import json
import re
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Markdown

from engine.settings.schema import fields
from engine.train import metrics
from tests.tui.live import LiveSession, a_run, attach
from tests.tui.stage import STANDARD, WIDE, play, said, shown, until
from tui.app import StudioApp
from tui.guide.screen import GuideScreen
from tui.guide.topics import METRICS, SETTINGS, Topic, advice, find, first, search, topics
from tui.run.card_grid import CardGrid
from tui.run.metric_labels import ALL
from tui.widgets.sparkline import BLOCKS, sparkline

pytestmark = pytest.mark.quick


# What runs measured whose course the guide shows, by the word that begins its line.
RUNS: dict[str, dict[str, list[float]]] = json.loads(
    Path(__file__).with_name("guide_runs.json").read_text(encoding="utf-8")
)
COLUMNS = 16


def of_chapter(chapter: str) -> list[Topic]:
    return [each for each in topics() if each.chapter == chapter and not each.heads_chapter]


def titles(chapter: str) -> list[str]:
    return [topic.title for topic in of_chapter(chapter)]


def test_every_setting_has_advice_in_the_order_of_the_form() -> None:
    assert titles(SETTINGS) == [field.key for field in fields()]
    for field in fields():
        assert advice(field.key)
        assert field.help not in advice(field.key)  # the help stands beside it already


def test_every_metric_is_explained() -> None:
    known = {*metrics.MEANS, *metrics.RATES, *metrics.COUNTS, *ALL, "win_rate"}
    assert [topic.name for topic in of_chapter(METRICS)] == list(ALL)
    assert set(ALL) == known


def test_a_metric_has_the_name_that_its_card_has() -> None:
    for topic in of_chapter(METRICS):
        assert topic.title == ALL[topic.name].label
        assert find(topic.title) is topic
        assert topic in search(topic.title)
        assert topic in search(topic.name)
    inside = (
        set(ALL) - {metric.label for metric in ALL.values()} - {field.key for field in fields()}
    )
    for topic in topics():
        assert inside.isdisjoint(re.findall(r"[a-z]+(?:_[a-z]+)+", topic.text)), topic.title


def test_of_each_metric_it_is_said_what_is_normal() -> None:
    for topic in of_chapter(METRICS):
        assert topic.text.count("**Normal:** ") == 1, topic.title
        assert len(topic.text.partition("**Normal:** ")[2].partition("```")[0]) > 20, topic.title


def pictures(topic: Topic) -> list[str]:
    fenced = re.findall(r"```\n(.*?)\n```", topic.text, re.DOTALL)
    return fenced[0].split("\n") if len(fenced) == 1 else []


def test_each_metric_has_a_small_picture_of_what_was_measured() -> None:
    introduction = next(each.text for each in topics() if each.title == METRICS)
    for topic in of_chapter(METRICS):
        metric, expected = ALL[topic.name], []
        for run, series in RUNS.items():
            if values := series.get(topic.name):
                drawn = sparkline(values, COLUMNS, least=metric.least_span)[0]
                numbers = f"{metric.show(values[0])} to {metric.show(values[-1])} {metric.unit}"
                expected.append(f"{run:<8}{drawn:<{COLUMNS}}  {numbers}".rstrip())
                assert f"*{run}*" in introduction
        if expected:
            assert pictures(topic) == expected
        else:
            [sketch] = pictures(topic)
            assert re.fullmatch(rf"sketch  [{BLOCKS.strip()}]{{6,}}", sketch), topic.title


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
        topic = find(screen.TITLE or "")
        assert topic, screen.TITLE
        assert topic.chapter == "Screens"


def test_a_setting_comes_before_a_metric_of_its_name() -> None:
    topic = find("learning_rate")
    assert topic
    assert topic.chapter == SETTINGS
    assert find("learn rate") in of_chapter(METRICS)
    assert find("no such thing") is None


def test_the_card_under_the_cursor_opens_its_topic() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, LiveSession(a_run()))
        await pilot.press("f3")
        await until(pilot, lambda: app.focused is app.screen.query_one(CardGrid))
        for name in ("swap_consistency", "learning_rate"):
            grid = app.screen.query_one(CardGrid)
            while grid.metric.name != name:
                await pilot.press("right")
            await pilot.press("f1")
            await until(pilot, lambda: isinstance(app.screen, GuideScreen) and app.screen.ready)
            assert isinstance(app.screen, GuideScreen)
            topic = app.screen.topics.current
            assert topic
            assert topic.title == ALL[name].label
            await until(pilot, lambda: f"{name} in metrics.jsonl" in shown(app))  # noqa: B023
            await pilot.press("escape")
            await until(pilot, lambda: not isinstance(app.screen, GuideScreen))

    play(scene, WIDE)


def test_the_guide_does_not_lie_over_itself() -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        await pilot.press("f1", "f1")
        await until(pilot, lambda: "the guide already" in said(app))
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(app.screen, GuideScreen))

    play(scene)


def test_chapters_have_headings_that_tell_what_is_below() -> None:
    headings = [topic for topic in topics() if topic.heads_chapter]
    assert [topic.title for topic in headings][-2:] == [METRICS, SETTINGS]
    assert all(topic.text for topic in headings)
    assert {topic.chapter for topic in topics()} == {topic.title for topic in headings}

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, "loss")
        await pilot.press("up")
        await until(pilot, lambda: screen._topic and screen._topic.heads_chapter)
        lines = [line[:40].rstrip() for line in shown(app).split("\n")]
        assert lines[lines.index("  loss") - 1] == METRICS
        await until(pilot, lambda: "under the names that its cards" in " ".join(shown(app).split()))

    play(scene, STANDARD)


def test_settings_that_are_named_in_the_text_exist() -> None:
    keys = {field.key for field in fields()} | set(ALL) | {"pairs", "question"}
    named = {word for topic in topics() for word in re.findall(r"`([a-z]+_[a-z_]+)`", topic.text)}
    assert named <= keys


def test_search() -> None:
    assert "judge agree" in [topic.title for topic in search("position judge order")]
    assert search("judge agree")[0].name == "swap_consistency"
    assert search("swap_consistency")[0].title == "judge agree"
    assert search("beta")[0].title == "beta"
    assert search("xyzzy") == []


async def opened(app: StudioApp, pilot: Pilot[int], topic: str | None = None) -> GuideScreen:
    app.navigator.open_guide(topic)
    await until(pilot, lambda: isinstance(app.screen, GuideScreen))
    screen = app.screen
    assert isinstance(screen, GuideScreen)
    await until(pilot, lambda: screen._topic is not None)
    await pilot.pause()
    return screen


@pytest.mark.parametrize("topic", [None, "beta", "kl", "judge agree", "runs", "no such thing"])
def test_it_opens_at_a_topic(topic: str | None) -> None:
    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        screen = await opened(app, pilot, topic)
        expected = (topic and find(topic)) or first()
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
        found = screen.topics.cursor
        await pilot.press("N", "N")
        assert screen.topics.cursor == (found - 2) % len(search("swapped"))
        await pilot.press("n", "n")
        assert screen.topics.cursor == found
        await pilot.press("escape")
        assert len(screen.topics.rows) == len(topics())
        await until(pilot, lambda: screen.topics.current is screen._topic)
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
