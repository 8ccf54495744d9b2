"""`lora-studio rates`: what it prints, and how it ends."""

import json

import pytest

from engine import rate_search
from engine.rate_search import RateSearch, ShortRun
from engine.settings.files import preset
from tui.cli import rates as command
from tui.cli.rates import bar, picture, rates
from tui.terminal.exit_status import DONE, NOTHING_LEARNED

RUNS = (
    ShortRun(0.08, "sound", 10, 0.003, 0.001),
    ShortRun(0.8, "sound", 10, 0.3, 0.25),
    ShortRun(2.5, "far", 10, 0.6, 2.1),
    ShortRun(8.0, "broken", 3, None, 549.0),
)
FOUND = RateSearch(RUNS, 0.8, "the largest rate whose kl stays below", 0.5)


def test_the_picture_has_a_row_a_rate() -> None:
    lines = list(picture(FOUND, 65.0))
    assert all(len(line) <= 100 for line in lines)
    rows = [line for line in lines if line[:8].strip().replace(".", "").isdigit()]
    assert [row.split()[0] for row in rows] == ["0.08", "0.8", "2.5", "8"]
    assert rows[1].endswith("◀ picked")
    assert rows[2].endswith("too far")
    assert rows[3].endswith("broke at 3")
    assert rows[1].count("█") < rows[2].count("█")
    assert "learning_rate: 0.8" in lines


def test_a_bar_is_in_eighths() -> None:
    assert [bar(each).rstrip() for each in (-1, 0, 1 / 160, 0.5, 9)] == [
        "", "", "▏", "█" * 10, "█" * 20,
    ]  # fmt: skip
    assert {len(bar(each / 50)) for each in range(51)} == {20}


def test_json_has_every_run(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(command, "search_rate", lambda *_: FOUND)
    assert rates(preset("starter"), json=True) == DONE
    said = json.loads(capsysbinary.readouterr().out)
    assert (said["picked"], said["kl_limit"], said["updates"]) == (0.8, 0.5, 10)
    assert [run["outcome"] for run in said["runs"]] == ["sound", "sound", "far", "broken"]


def test_where_no_rate_is_picked_the_status_says_so(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    none = RateSearch(RUNS[3:], None, "even 8 goes too far", 0.5)
    monkeypatch.setattr(command, "search_rate", lambda *_: none)
    assert rates(preset("starter"), json=False) == NOTHING_LEARNED
    assert b"no rate is picked: even 8 goes too far" in capsysbinary.readouterr().out


def test_ctrl_c_is_an_end_like_any_other(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rate_search, "_try", interrupted)
    assert rates(preset("starter"), json=False) == 130
    captured = capsysbinary.readouterr()
    assert captured.err == b"stopped: nothing is kept\n"
    assert captured.out == b""
