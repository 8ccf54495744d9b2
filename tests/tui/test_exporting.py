"""Exporting beside the app: what is left when the app ends meanwhile."""

import asyncio
from pathlib import Path

import pytest
from textual.pilot import Pilot

from engine.runs.durable import making_of
from tests.tui.archive import make_run
from tests.tui.live import attach
from tests.tui.stage import play, said, shown, until
from tests.tui.test_what_now import ended, with_adapters
from tui.app import StudioApp
from tui.archive import exporting

# What the command prints of a GGUF file, after a note on standard error.
PRINTED = """\
note: of step 40, the last
written to {to}
to run it:
  llama-cli -m '{to}/model.gguf'
  ollama create polite -f {to}/Modelfile && ollama run polite
"""


def test_an_export_that_is_broken_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "out"
    unfinished = making_of(to, private=False)
    slow = tmp_path / "slow"
    slow.write_text(
        f"#!/bin/sh\nmkdir {unfinished}; echo half > {unfinished}/half; exec sleep 60\n"
    )
    slow.chmod(0o755)
    monkeypatch.setattr(exporting.sys, "executable", str(slow))

    async def broken_off() -> None:
        export = asyncio.ensure_future(
            exporting.export(tmp_path, "adapters", to, lambda line: None)
        )
        while not (unfinished / "half").exists():
            await asyncio.sleep(0.02)
        export.cancel()
        with pytest.raises(asyncio.CancelledError):
            await export

    asyncio.run(broken_off())
    assert list(tmp_path.iterdir()) == [slow]


def test_nor_does_one_that_is_broken_off_while_its_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to = tmp_path / "out"
    unfinished = making_of(to, private=False)

    async def begins(*words: str, **how: object) -> None:
        unfinished.mkdir()
        await asyncio.sleep(60)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", begins)

    async def broken_off() -> None:
        export = asyncio.ensure_future(exporting.export(tmp_path, "peft", to, lambda line: None))
        while not unfinished.exists():
            await asyncio.sleep(0.02)
        export.cancel()
        with pytest.raises(asyncio.CancelledError):
            await export

    asyncio.run(broken_off())
    assert list(tmp_path.iterdir()) == []


def exports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, status: int = 0, before: str = ":"
) -> None:
    """Have the command do nothing but print a text."""
    (tmp_path / "text").write_text(text)
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{before}; cat {tmp_path / 'text'}; exit {status}\n")
    program.chmod(0o755)
    monkeypatch.setattr(exporting.sys, "executable", str(program))


def test_what_runs_an_export_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def export() -> exporting.Exported:
        to = tmp_path / "out"
        return asyncio.run(exporting.export(tmp_path, "gguf", to, lambda line: None))

    exports(tmp_path, monkeypatch, PRINTED.format(to="out"))
    done = export()
    assert done.sentence == f"exported to {tmp_path / 'out'}; of step 40, the last"
    assert done.commands == (
        "llama-cli -m 'out/model.gguf'",
        "ollama create polite -f out/Modelfile && ollama run polite",
    )
    exports(tmp_path, monkeypatch, "lora-studio: the disk is full\n", status=1)
    assert export() == exporting.Exported("not exported: the disk is full")


def test_after_an_export_the_run_has_the_lines_of_its_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[str] = []
    monkeypatch.setattr(StudioApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    monkeypatch.chdir(tmp_path)

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, ended(with_adapters(make_run("polite"))))
        await pilot.press("f3")
        await until(pilot, lambda: "kept in" in shown(app))
        assert "ollama" not in shown(app)
        exports(tmp_path, monkeypatch, PRINTED.format(to="out"))
        await pilot.press("E")
        await until(pilot, lambda: "export polite" in shown(app))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "into which folder?" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: "ollama create polite" in shown(app))
        assert "exported to" in said(app)
        assert "llama-cli -m 'out/model.gguf'" in shown(app)
        assert "mlx_lm.generate --model" in shown(app)
        await pilot.press("y")
        await until(pilot, lambda: "copy what?" in shown(app))
        await pilot.press("end", "enter")
        await until(pilot, lambda: bool(copied))
        assert copied == ["ollama create polite -f out/Modelfile && ollama run polite"]

    play(scene)


def test_one_export_at_a_time_and_who_quits_is_asked_about_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    go_on = tmp_path / "go on"

    async def scene(app: StudioApp, pilot: Pilot[int]) -> None:
        attach(app, ended(with_adapters(make_run("polite"))))
        await pilot.press("f3")
        await until(pilot, lambda: "kept in" in shown(app))
        waits = f"while ! test -e '{go_on}'; do sleep 0.05; done"
        exports(tmp_path, monkeypatch, PRINTED.format(to="out"), before=waits)
        await pilot.press("E")
        await until(pilot, lambda: "export polite" in shown(app))
        await pilot.press("end", "enter")
        await until(pilot, lambda: "into which folder?" in shown(app))
        await pilot.press("enter")
        await until(pilot, lambda: app.control.exporting)
        await pilot.press("E")
        await until(pilot, lambda: "the next can begin" in said(app))
        await pilot.press("q")
        await until(pilot, lambda: "an export is being written." in shown(app))
        await pilot.press("escape", "q")
        await until(pilot, lambda: "as soon as it is written" in shown(app))
        await pilot.press("enter")
        assert not app._exit
        go_on.touch()
        await until(pilot, lambda: app._exit)
        assert app.control.waited_for_export  # so that the last line tells what came of it
        assert app.control.exported.startswith("exported to")

    play(scene)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("new", ""),
        ("new/below", ""),
        (" ", "name of a new folder"),
        ("full", "something in it"),
        ("full/file", "something in it"),
        ("full/file/below", "is a file, and no folder"),
    ],
)
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    text = str(tmp_path / name) if name.strip() else name
    assert why in (exporting.refused(text) or "")
    assert bool(exporting.refused(text)) == bool(why)
