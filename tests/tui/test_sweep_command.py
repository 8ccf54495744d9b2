"""`lora-studio sweep`: what it trains, in which order, how it ends, and what it prints."""

import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from engine.errors import RunError
from engine.events import RunStatus
from engine.runs import archive, queue
from engine.runs.folder import METRICS, Run
from engine.runs.sweep import Sweep, names, working_on, write_sweep
from engine.settings.files import preset
from engine.settings.schema import Settings
from tui.cli import sweep as sweep_command
from tui.cli import training
from tui.cli.commands import cli
from tui.state.live_run import LiveRun
from tui.terminal.exit_status import DONE, FAILED, NOTHING_LEARNED


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path))
    before = signal.getsignal(signal.SIGHUP)
    yield
    signal.signal(signal.SIGHUP, before)


Ends = list[tuple[RunStatus, int] | type[BaseException]]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Callable[[Ends], list[str]]:
    """Have runs end as they are told to; the names of those that were trained, in order."""

    def made(ends: Ends) -> list[str]:
        order: list[str] = []

        def train(
            settings: Settings, run: Run | None = None, *, json: bool, failures: list[str]
        ) -> int:
            end = ends.pop(0)
            order.append(f"{'again ' if run else ''}{settings.run_name}")
            if isinstance(end, type):
                raise end("the disk is gone")
            run = run or archive.create(settings)
            rate = {"win_rate": settings.beta, "win_rate_low": 0.1, "win_rate_high": 0.9}
            run.append(METRICS, [{"step": 1, "split": "valid", **rate}])
            run.update(status=end[0])
            return end[1]

        monkeypatch.setattr(training, "train", train)
        return order

    return made


def run(*words: str) -> Any:
    return CliRunner().invoke(cli, ["sweep", *words])


GRID = ("starter", "--set", "beta=0.2,0.9,0.4", "--name", "three")


def test_runs_are_trained_in_their_order_and_ranked(
    trained: Callable[[Ends], list[str]],
) -> None:
    order = trained([("finished", DONE)] * 3)
    done = run(*GRID)
    assert done.exit_code == DONE
    assert order == ["three-01-beta=0.2", "three-02-beta=0.9", "three-03-beta=0.4"]
    assert "sweep three: run 1 of 3, beta 0.2\n" in done.output
    assert "run 3 of 3, beta 0.4 · about" in done.output
    rows = [line for line in done.output.splitlines() if "%  10.0% to 90.0%" in line]
    assert [row.split()[1] for row in rows] == ["beta=0.9", "beta=0.4", "beta=0.2"]


def test_a_stop_ends_the_sweep_which_goes_on_by_its_name(
    trained: Callable[[Ends], list[str]],
) -> None:
    trained([("finished", DONE), ("stopped", 130)])
    stopped = run(*GRID)
    assert stopped.exit_code == 130
    assert "stopped; `lora-studio sweep three` goes on with it" in stopped.output
    order = trained([("finished", DONE)] * 2)
    shown = run("three", "--show")
    assert "2 of 3 runs left" in shown.output
    assert "three-03-beta=0.4  not begun" in shown.output
    assert order == []
    assert run("three").exit_code == DONE
    assert order == ["again three-02-beta=0.9", "three-03-beta=0.4"]
    assert run("three").exit_code == DONE  # nothing is left


def test_what_fails_does_not_keep_the_others_from_running(
    trained: Callable[[Ends], list[str]],
) -> None:
    order = trained([RunError, ("stopped", NOTHING_LEARNED), ("untrained", NOTHING_LEARNED)])
    done = run(*GRID)
    assert len(order) == 3
    assert done.exit_code == FAILED
    assert "three-01-beta=0.2: the disk is gone" in done.stderr
    assert "2 runs did not finish: three-01-beta=0.2, three-02-beta=0.9" in done.stderr


def test_the_queue_is_read_again_before_each_run(
    trained: Callable[[Ends], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1, 2):
        queue.add_settings(preset("starter").model_copy(update={"seed": seed}))
    order = trained([("finished", DONE)] * 3)
    others = iter([a_live_run("basil"), a_live_run("basil"), None, None, None])

    def look() -> LiveRun | None:
        if not order:  # the first run waits for basil's end, and meanwhile another is dropped
            queue.drop(["starter-q1"])
        return next(others)

    monkeypatch.setattr(sweep_command, "live_elsewhere", look)
    monkeypatch.setattr(sweep_command, "POLL_SECONDS", 0)
    done = run("queue")
    assert done.exit_code == DONE
    assert order == ["starter-q2", "starter-q3"]
    assert done.output.count("waits until basil is over") == 1
    assert all(cell.over for cell in queue.read_queue().cells)
    queue.drop(order)
    assert "nothing is in the queue" in run("queue").output


def test_a_queue_that_nothing_was_ever_in_is_empty() -> None:
    for words in (("queue",), ("queue", "--show")):
        done = run(*words)
        assert (done.exit_code, done.output) == (DONE, "nothing is in the queue\n")


def test_why_a_run_of_the_queue_failed_is_kept(trained: Callable[[Ends], list[str]]) -> None:
    queue.add_settings(preset("starter"))
    trained([RunError, ("finished", DONE)])
    assert run("queue").exit_code == FAILED
    [cell] = queue.read_queue().cells
    assert cell.error == "the disk is gone"
    assert run("queue").exit_code == DONE
    [cell] = queue.read_queue().cells
    assert (cell.error, cell.over) == ("", True)


def test_a_run_of_another_version_keeps_no_other_from_running(
    trained: Callable[[Ends], list[str]],
) -> None:
    for _ in range(2):
        queue.add_settings(preset("starter"))
    old, new = queue.read_queue().cells
    write_sweep(Sweep("queue", {}, [replace(old, settings=old.settings | {"warp": 1}), new]))
    order = trained([("finished", DONE)])
    done = run("queue")
    assert done.exit_code == FAILED
    assert "there is no setting 'warp'" in done.stderr
    assert order == ["starter-q2"]


def a_live_run(name: str) -> LiveRun:
    return LiveRun(name, None, False, False, False, 1, 2, None, None, 0)


def test_another_process_that_works_on_it_is_named(
    trained: Callable[[Ends], list[str]],
) -> None:
    trained([("finished", DONE), KeyboardInterrupt])
    run(*GRID)
    with working_on("three"):
        failed = run("three")
    assert "trains the runs of the sweep 'three' already" in str(failed.exception)


def test_ctrl_c_between_two_runs_is_a_stop(trained: Callable[[Ends], list[str]]) -> None:
    trained([("finished", DONE), KeyboardInterrupt])
    assert run(*GRID).exit_code == 130


def test_json_is_an_object_a_line(trained: Callable[[Ends], list[str]]) -> None:
    trained([("finished", DONE)] * 4)
    done = run("starter", "--set", "beta=0.2,0.9", "--set", "seed=0,1", "--json")
    lines = [json.loads(line) for line in done.output.splitlines()]
    assert [line["event"] for line in lines] == ["sweep"] * 4 + ["place"] * 2
    assert [line["changes"] for line in lines[-2:]] == [{"beta": "0.9"}, {"beta": "0.2"}]
    assert len(lines[-1]["runs"]) == 2


def test_a_sweep_that_has_begun_takes_no_other_settings(
    trained: Callable[[Ends], list[str]],
) -> None:
    trained([("finished", DONE)] * 3)
    run(*GRID, "--name", "first")
    again = run("first", "--set", "beta=1,2")
    assert "the sweep 'first' has begun" in str(again.exception)
    assert "leave --set out" in str(again.exception)


def test_looking_at_a_grid_keeps_nothing() -> None:
    shown = run(*GRID, "--show")
    assert shown.exit_code == 0
    assert shown.output.count("not begun") == 3
    assert "goes on" not in shown.output
    assert "3 runs, none begun: the same without --show begins" in shown.output
    assert names() == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("nothing",), "there is no sweep 'nothing'; there are none"),
        (("starter",), "a sweep needs a setting with several values"),
        (("nothing", "--name", "a"), "--name is for a new sweep"),
    ],
)
def test_bad_words_are_told(words: tuple[str, ...], told: str) -> None:
    failed = run(*words)
    assert told in str(failed.exception)
