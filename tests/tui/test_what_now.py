"""A run that is over: where it is, answers before and after, the next steps, command lines."""

import shlex
from dataclasses import replace
from typing import Any

import pytest
from textual.containers import VerticalScroll
from textual.pilot import Pilot
from textual.widgets import Static

from engine.events import Example
from engine.runs.checkpoints import Best
from engine.runs.folder import ADAPTERS, FUSED, Run
from engine.settings.files import preset
from engine.starter import POLICY
from tests.tui.archive import make_run
from tests.tui.live import LiveSession, a_run, attach, evaluated, started, steps
from tests.tui.stage import COMPACT, STANDARD, play, said, shown, until
from tui.app import StudioApp
from tui.navigator import Navigator
from tui.run.mlx_lm_commands import mlx_lm_commands
from tui.run.what_now import WhatNow

SIZES = [COMPACT, (120, 40), STANDARD]
EXAMPLES = tuple(
    Example(f"prompt {number}?", f"before {number}. {'word ' * 60}", f"after {number}\x1b[31m.")
    for number in range(4)
)


def with_adapters(run: Run) -> Run:
    for name in ("adapters.safetensors", "adapter_config.json"):
        (run.path / ADAPTERS / name).write_text("{}")
    return run


def ended(run: Run, *, measured: bool = True, examples: tuple[Example, ...] = EXAMPLES) -> Any:
    """The session of a run that finished just now."""
    rated = replace(evaluated(40 if measured else 0, 0.71), examples=examples)
    events = [*a_run(), rated] if measured else [started(), rated, *steps("loss", [0.5] * 47)]
    session = LiveSession(events)
    session.run = run
    session.end("finished")
    return session


def watch(scene: Any, size: tuple[int, int] = COMPACT, **how: Any) -> None:
    async def main(app: StudioApp, pilot: Pilot[Any]) -> None:
        session = ended(with_adapters(make_run("polite")), **how)
        attach(app, session)
        await pilot.press("f3")
        await until(pilot, lambda: "kept in" in shown(app))
        await scene(app, pilot, session)

    play(main, size)


def test_what_is_next_is_shown_although_the_thread_outlives_its_last_event() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        session = ended(with_adapters(make_run("polite")))
        session.alive = True
        attach(app, session)
        await pilot.press("f3")
        await until(pilot, lambda: "Finished." in shown(app))
        assert "kept in" not in shown(app)
        session.alive = False
        await until(pilot, lambda: "kept in" in shown(app))

    play(scene, COMPACT)


@pytest.mark.parametrize("size", SIZES)
def test_the_end_shows_what_came_of_it_and_what_is_next(size: tuple[int, int]) -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any], session: Any) -> None:
        # Where a temporary folder has a long name, its command lines leave less room.
        app.screen.query_one(WhatNow).query_one(VerticalScroll).scroll_end(animate=False)
        await until(pilot, lambda: "after 2" in shown(app))
        answers = "\n".join(
            str(part.render()) for part in app.screen.query_one(WhatNow).query(Static)
        )
        text = shown(app) + answers
        assert "71 ±6 %" in text
        assert f"kept in {str(session.run.path)[:50]}" in text
        for number in range(3):
            assert f"prompt {number}?" in text
            assert f"after {number}" in text
        assert "prompt 3?" not in text
        assert "\x1b" not in text
        for words in ("C chat with it", "E export", "P publish", "T train on", "L label by hand"):
            assert words in text.replace("\u00a0", " ")
        assert "mlx_lm.generate --model" in text
        assert "mlx_lm.chat --model" in text

    watch(scene, size)


@pytest.mark.parametrize(
    ("keep", "best", "words"),
    [
        ("best", Best(20, 0.75, 0.6, 1.0), "kept: step 20, the best · in "),
        ("last", Best(20, 0.75, 0.6, 1.0), "kept: step 40, the last · in "),
        ("best", Best(0, 0.5, 0.35, 0.0), "kept: step 40, the last · in "),
        ("best", None, "kept in "),
    ],
)
def test_the_step_that_is_kept_is_told(keep: str, best: Best | None, words: str) -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        run = with_adapters(make_run("polite"))
        with run.checkpoint_folder(40, best) as folder:
            (folder / "weights").write_bytes(b"w")
        session = ended(run)
        session.settings = session.settings.model_copy(update={"keep": keep})
        attach(app, session)
        await pilot.press("f3")
        await until(pilot, lambda: words in shown(app))

    play(scene)


def test_long_answers_are_shown_in_full_on_request() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any], session: Any) -> None:
        assert "enter shows all of it" in shown(app)
        assert shown(app).count("word") < 60
        await pilot.press("enter")
        await until(pilot, lambda: "enter shows less" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "enter shows all of it" in shown(app))

    watch(scene)


@pytest.mark.parametrize("how", [{"measured": False}, {"examples": ()}])
def test_nothing_is_made_up(how: dict[str, Any]) -> None:
    """The answers of step 0 are those of the model against itself."""

    async def scene(app: StudioApp, pilot: Pilot[Any], session: Any) -> None:
        assert "no answers before and after were kept" in shown(app)
        assert "prompt 0?" not in shown(app)

    watch(scene, **how)


def test_the_keys_lead_on(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(Navigator, "open_chat", lambda self, run: opened.append("chat"))
    monkeypatch.setattr(Navigator, "open_export", lambda self, run: opened.append("export"))
    monkeypatch.setattr(Navigator, "open_publish", lambda self, run: opened.append("publish"))
    monkeypatch.setattr(StudioApp, "copy_to_clipboard", lambda self, text: opened.append(text))

    async def scene(app: StudioApp, pilot: Pilot[Any], session: Any) -> None:
        await pilot.press("C", "E", "P")
        assert opened == ["chat", "export", "publish"]
        await pilot.press("y")
        await until(pilot, lambda: "copy what?" in shown(app))
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(opened) == 4)
        assert shlex.split(opened[3])[0] == "mlx_lm.generate"
        assert "copied" in said(app)
        await pilot.press("l")
        await until(pilot, lambda: "kept in" not in shown(app))
        await pilot.press("escape", "T")
        await until(pilot, lambda: "from where it is" in shown(app))

    watch(scene)


def test_a_run_that_goes_on_offers_none_of_it() -> None:
    async def scene(app: StudioApp, pilot: Pilot[Any]) -> None:
        attach(app, LiveSession(a_run()))
        await pilot.press("f3")
        await until(pilot, lambda: "step 40" in shown(app))
        for key in ("C", "E", "T", "y"):
            await pilot.press(key)
            assert said(app) == "the run is still going"
        assert "kept in" not in shown(app)

    play(scene)


def test_command_lines_name_what_the_run_has_left() -> None:
    run, settings = make_run("it"), preset("starter")
    assert mlx_lm_commands(run, settings, "Why?") == []
    with_adapters(run)
    adapters = str(run.path / ADAPTERS)
    generate, chat = map(shlex.split, mlx_lm_commands(run, settings, "it's?"))
    model = ["--model", str(POLICY), "--adapter-path", adapters]
    assert generate == ["mlx_lm.generate", *model, "--prompt", "it's?"]
    assert chat == ["mlx_lm.chat", *model]
    hub = settings.model_copy(update={"model": "owner/name"})
    assert shlex.split(mlx_lm_commands(run, hub, "")[1])[2] == "owner/name"
    (run.path / FUSED).mkdir()
    (run.path / FUSED / "config.json").write_text("{}")
    assert shlex.split(mlx_lm_commands(run, settings, "")[1]) == [
        "mlx_lm.chat",
        "--model",
        str(run.path / FUSED),
    ]
