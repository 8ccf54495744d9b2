"""The queue: what is added to it, in which order it stands, and what leaves it."""

import os
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.events import RunStatus
from engine.runs import archive, queue, sweep
from engine.runs.folder import Run
from engine.runs.sweep import Sweep, plan_sweep, settings_of, write_sweep
from engine.settings.files import preset
from engine.settings.schema import Settings


def starter(**changes: Any) -> Settings:
    return Settings.model_validate(preset("starter").model_dump() | changes)


def grid(*words: str, name: str = "grid") -> Sweep:
    made = plan_sweep(starter().model_dump(mode="json"), "the test", words, name)
    write_sweep(made)
    return made


def order() -> list[str]:
    return [cell.run for cell in queue.read_queue().cells]


def trained(name: str, status: RunStatus = "finished") -> Run:
    """The run of a cell of the queue, as if it had been trained."""
    cell = next(each for each in queue.read_queue().cells if each.run == name)
    run = archive.create(settings_of(cell))
    assert run.name == name
    run.update(status=status, step=3)
    return run


def test_settings_become_runs_with_names_of_their_own() -> None:
    assert queue.read_queue() == Sweep("queue", {}, [])
    archive.create(starter(run_name="polite-q1"))
    added = [queue.add_settings(starter(run_name=name)).run for name in (None, None, "polite")]
    assert added == order() == ["starter-q1", "starter-q2", "polite-q2"]
    assert settings_of(queue.read_queue().cells[2]).run_name == "polite-q2"
    archive.create(starter(run_name="starter"))  # by hand, which leaves the queue alone
    assert len(queue.read_queue().left()) == 3


def test_runs_of_a_sweep_are_added_once_and_ranked_apart() -> None:
    one, other = grid("beta=0.5,1.0"), grid("beta=0.5,1.0", name="other")
    assert (queue.add_sweep(one), queue.add_sweep(one), queue.add_sweep(other)) == (2, 0, 2)
    assert [cell.sweep for cell in queue.read_queue().cells] == ["grid"] * 2 + ["other"] * 2
    queue.add_settings(starter())
    assert [place.changes for place in sweep.ranking(queue.read_queue())] == [
        {"sweep": "grid", "beta": "0.5"},
        {"sweep": "grid", "beta": "1.0"},
        {"sweep": "other", "beta": "0.5"},
        {"sweep": "other", "beta": "1.0"},
        {"run_name": "starter-q1"},
    ]


def test_a_run_with_steps_left_goes_on_in_the_queue() -> None:
    run = archive.create(starter(run_name="half"))
    run.update(status="stopped")
    queue.add_run(run)
    assert queue.read_queue().run_of(queue.read_queue().cells[0]) is not None
    with pytest.raises(UserError, match="'half' is in the queue already"):
        queue.add_run(run)
    run.update(status="finished")
    with pytest.raises(UserError, match="'half' has no steps left"):
        queue.add_run(run)


def test_a_run_that_lies_elsewhere_is_refused(tmp_path: Path) -> None:
    run = archive.create(starter(run_name="moved", output_root=str(tmp_path / "one")))
    os.rename(tmp_path / "one", tmp_path / "two")
    with pytest.raises(UserError, match="'moved' is not where its settings say"):
        queue.add_run(Run(tmp_path / "two" / "runs" / run.name))


def test_a_person_cannot_judge_in_a_queue() -> None:
    with pytest.raises(UserError, match="a person cannot judge in a queue"):
        queue.add_settings(starter(judge="human"))
    with pytest.raises(UserError, match="that is the queue of the app"):
        grid("beta=0.5,1.0", name="queue")
    assert order() == []


def test_runs_that_wait_change_places_with_each_other_alone() -> None:
    queue.add_sweep(grid("seed=0,1,2,3"))
    first, second, third, fourth = order()
    trained(second)
    queue.move(third, -1)
    assert order() == [third, second, first, fourth]
    with pytest.raises(UserError, match="is first of those that wait"):
        queue.move(third, -1)
    with pytest.raises(UserError, match="is last of those that wait"):
        queue.move(fourth, 1)
    with pytest.raises(UserError, match="does not wait"):
        queue.move(second, 1)
    assert order() == [third, second, first, fourth]


def test_what_trains_stays_and_all_else_can_be_dropped() -> None:
    queue.add_sweep(grid("seed=0,1"))
    first, second = order()
    run = trained(first, "running")
    with run.lock(), pytest.raises(UserError, match="trains now: stop the queue first"):
        queue.drop([first])
    queue.drop([second])
    assert order() == [first]
    queue.drop([first])  # nobody holds it any more
    assert order() == []
    assert run.path.is_dir()


def test_a_run_that_is_over_is_not_trained_again_once_it_is_deleted() -> None:
    queue.add_sweep(grid("seed=0,1"))
    first, second = order()
    run = trained(first)
    queue.settle(first)
    os.rename(run.path, run.path.with_name("renamed"))
    assert [cell.run for cell in queue.read_queue().left()] == [second]


def test_a_run_that_is_damaged_harms_no_other() -> None:
    queue.add_sweep(grid("seed=0,1"))
    first, second = order()
    (trained(first).path / "run.json").write_text("{")
    assert [cell.run for cell in queue.read_queue().left()] == [first, second]
    queue.move(second, -1)
    queue.drop([first])
    assert order() == [second]


def test_one_process_at_a_time_works_on_a_sweep() -> None:
    made = grid("seed=0,1")
    assert sweep.worker_of(made.name) is None
    with sweep.working_on(made.name):
        worker = sweep.worker_of(made.name)
        assert worker
        assert worker.pid == os.getpid()
        with (
            pytest.raises(UserError, match=f"process {os.getpid()} trains the runs of .* already"),
            sweep.working_on(made.name),
        ):
            pass
    assert sweep.worker_of(made.name) is None


def test_a_queue_that_is_damaged_is_told_and_left() -> None:
    queue.add_settings(starter())
    file = sweep.file_of("queue")
    file.write_text("{}")
    with pytest.raises(UserError, match="the sweep 'queue' is damaged"):
        queue.add_settings(starter())
    assert file.read_text() == "{}"
