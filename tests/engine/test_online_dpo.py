"""The loop: what is sampled, judged, reported and evaluated when, stopped and resumed."""

import math
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.compute import headway
from engine.compute.sampling import Interrupted
from engine.data.order import total_steps
from engine.data.pairs import Verdict
from engine.events import Evaluated, Report, Split, StepDone
from engine.judges import llm
from engine.runs import archive
from engine.runs.folder import LOG
from engine.session import Session
from engine.settings.schema import Settings
from engine.train import update
from engine.train.metrics import COUNTS, MEANS, RATES
from engine.train.upkeep import Upkeep
from tests.engine.small_models import run_settings, settings, write_prompts, write_run_files
from tests.timing import TIMING


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_files(tmp_path_factory.mktemp("files"))


@pytest.fixture
def chosen(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a run whose random judge decides by the mean of both orders alone."""
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)

    def make(**values: Any) -> Settings:
        small = {
            "iters": 8,
            "batch_size": 3,
            "eval_prompts": 6,
            "steps_per_eval": 4,
            "steps_per_report": 2,
            "save_every": 3,
        }
        return run_settings(files, **{**small, **values})

    return make


Choose = Callable[..., Settings]


def train(chosen: Settings, stop_at: int | None = None, run: Any = None) -> Session:
    """Train to the end, or until a stop is asked for as a step is done."""
    session = Session(chosen, run)
    session.start()
    while session.alive:
        for event in session.drain() if stop_at is not None else []:
            if isinstance(event, StepDone) and event.step >= (stop_at or 0):
                session.stop()
        time.sleep(0.002)
    session.join()
    assert session.error is None
    return session


def folder_of(session: Session) -> archive.Run:
    assert session.run is not None
    return session.run


def lines(run: archive.Run) -> list[list[dict[str, Any]]]:
    """What a run wrote of its training: everything but the time it took."""
    return [
        [{k: v for k, v in line.items() if k not in TIMING} for line in run.read(file)]
        for file in ("metrics.jsonl", "pairs.jsonl", "undecided.jsonl")
    ]


def test_a_run_reports_evaluates_and_saves_when_due(chosen: Choose) -> None:
    session = train(chosen(iters=7, test=True, test_batches=1, keep="last"))
    run = folder_of(session)
    metrics = list(run.read("metrics.jsonl"))
    said = [(line["step"], line.get("split", "report")) for line in metrics]
    assert said == [
        (0, "valid"),
        (2, "report"),
        (4, "report"),
        (4, "valid"),
        (6, "report"),
        (7, "report"),
        (7, "valid"),
        (7, "test"),
    ]
    for line in metrics:
        if "split" in line:
            assert 0 <= line["win_rate_low"] <= line["win_rate"] <= line["win_rate_high"] <= 1
            assert line["prompts"] == (3 if line["split"] == "test" else 6)
        else:
            assert set(line) >= {*MEANS, *RATES, *COUNTS, "step", "peak_memory_gb", "seconds"}
    *_, before, last = [int(each.name) for each in run.checkpoints()]  # and that of the best
    assert (before, last) == (6, 7)
    state = run.state()
    assert (state["status"], state["step"], state["total_steps"]) == ("finished", 7, 7)
    events = session.drain()
    assert [e.step for e in events if isinstance(e, StepDone)] == list(range(1, 8))
    assert [e.step for e in events if isinstance(e, Report)] == [2, 4, 6, 7]
    assert [e.step for e in events if isinstance(e, Evaluated)] == [0, 4, 7, 7]


def test_a_judge_that_never_answers_gives_no_win_rate(
    chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llm, "verdict_of", lambda *_, **__: Verdict("invalid"))
    session = Session(chosen(iters=2, eval_prompts=3, val_batches=1))
    session.start()
    session.join()
    run = folder_of(session)
    evaluations = [line for line in run.read("metrics.jsonl") if "split" in line]
    assert [(line["step"], line["win_rate"]) for line in evaluations] == [(0, None), (2, None)]
    assert "win_rate" not in run.state()
    log = (run.path / LOG).read_text()
    assert "step 2: no win rate, the judge gave no valid verdict on 3 prompts" in log
    assert not [e for e in session.drain() if isinstance(e, Evaluated)]


def test_an_evaluation_is_answered_where_no_prompts_are_held_out(chosen: Choose) -> None:
    session = Session(chosen(iters=2, steps_per_eval=-1))
    session.evaluate_now()
    session.start()
    session.join()
    run = folder_of(session)
    evaluations = [line for line in run.read("metrics.jsonl") if "split" in line]
    assert [(line["step"], line["win_rate"]) for line in evaluations] == [(0, None)]
    assert "no win rate, this run has no prompts to evaluate on" in (run.path / LOG).read_text()


def test_reports_are_means_of_their_own_steps(chosen: Choose) -> None:
    session = train(chosen(iters=6, steps_per_report=3, steps_per_eval=-1))
    steps = [event.metrics for event in session.drain() if isinstance(event, StepDone)]
    reports = list(folder_of(session).read("metrics.jsonl"))
    for report, own in zip(reports, (steps[:3], steps[3:]), strict=True):
        for name in ("loss", "margin", "accuracy", "kl"):
            weights = [step["trained_pairs"] for step in own]
            total = sum(step[name] * w for step, w in zip(own, weights, strict=True) if w)
            assert report[name] == pytest.approx(total / sum(weights), abs=1e-9)
        for name in ("grad_norm", "eos_rate", "completion_tokens"):
            values = [step[name] for step in own if name in step]
            assert report[name] == pytest.approx(sum(values) / len(values))
        assert report["trained_pairs"] == sum(step["trained_pairs"] for step in own)
        for name in ("accuracy", "tie_rate", "swap_consistency", "eos_rate"):
            assert 0 <= report[name] <= 1
    assert steps[0]["margin"] == 0
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    run = folder_of(session)
    judged = [line for file in ("pairs.jsonl", "undecided.jsonl") for line in run.read(file)]
    assert run.state()["pairs"] == len(judged)


def test_every_prompt_is_drawn_once_an_epoch(chosen: Choose) -> None:
    """24 prompts are left to train on: 8 steps of 3 are one epoch, 16 are two."""
    run = folder_of(train(chosen(epochs=2, steps_per_eval=-1)))
    assert run.state()["total_steps"] == 16
    drawn = [
        (line["step"], line["prompt"])
        for file in ("pairs.jsonl", "undecided.jsonl")
        for line in run.read(file)
    ]
    assert len(drawn) == 48
    for epoch in (range(1, 9), range(9, 17)):
        assert max(Counter(prompt for step, prompt in drawn if step in epoch).values()) == 1


def test_fewer_prompts_than_a_batch(chosen: Choose, tmp_path: Path) -> None:
    data = write_prompts(tmp_path / "few.jsonl", 2)
    run = folder_of(train(chosen(data=str(data), eval_prompts=0, steps_per_eval=-1, iters=2)))
    assert run.state()["status"] == "finished"
    counted = sum(len(list(run.read(file))) for file in ("pairs.jsonl", "undecided.jsonl"))
    assert counted == 6


@pytest.mark.parametrize("lookahead", [0, 2])
def test_pairs_say_which_weights_wrote_them(lookahead: int, chosen: Choose) -> None:
    run = folder_of(train(chosen(lookahead=lookahead, steps_per_eval=-1, iters=6)))
    for line in run.read("pairs.jsonl"):
        assert line["weights_step"] == max(0, line["step"] - 1 - lookahead)


@pytest.mark.parametrize(
    "values",
    [
        {"gradient_accumulation_steps": 3},
        {"lookahead": 2, "lora_parameters": {"rank": 4, "dropout": 0.3}},
        pytest.param({"train_type": "dora"}, marks=pytest.mark.slow),
        {"completions": 4, "rejected": "low"},
    ],
    ids=repr,
)
def test_a_stopped_run_goes_on_as_if_unbroken(values: dict[str, Any], chosen: Choose) -> None:
    unbroken = lines(folder_of(train(chosen(**values))))
    stopped = train(chosen(run_name="two", **values), stop_at=2)
    assert stopped.status == "stopped"
    run = folder_of(stopped)
    reached = run.state()["step"]
    assert 2 <= reached < 8
    again = train(chosen(run_name="two", **values), run=run)
    assert again.status == "finished"
    assert lines(run) == unbroken
    assert next(e.step for e in again.drain() if isinstance(e, StepDone)) == reached + 1


@pytest.mark.parametrize("part", ["forward", "back"])
@pytest.mark.parametrize(
    "values",
    [
        {},
        pytest.param({"train_type": "dora"}, marks=pytest.mark.slow),
        {"gradient_accumulation_steps": 3, "lookahead": 2},
    ],
    ids=repr,
)
def test_a_step_that_is_given_up_is_taken_again(
    values: dict[str, Any], part: headway.Part, chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop within an update does not wait for its end, and changes nothing of what comes."""
    monkeypatch.setattr(update, "LONG_FORWARD", 0.0)
    unbroken = lines(folder_of(train(chosen(**values))))
    session = Session(chosen(run_name="two", **values))
    look, passes = update._Passage.__call__, [0]

    def stop_within(self: update._Passage, where: headway.Part, share: float) -> None:
        passes[0] += self._reference and share == 1  # each pass ends the reference's part once
        if passes[0] == 4 and where == part:
            session.stop()
        look(self, where, share)

    monkeypatch.setattr(update._Passage, "__call__", stop_within)
    session.start()
    assert session.join(60)
    assert (session.status, session.error) == ("stopped", None)
    monkeypatch.setattr(update._Passage, "__call__", look)
    run = folder_of(session)
    reached = run.state()["step"]
    taken = [event.step for event in session.drain() if isinstance(event, StepDone)]
    assert taken == [*range(1, reached + 1)]
    assert 3 <= reached < 8
    again = train(chosen(run_name="two", **values), run=run)
    assert again.status == "finished"
    assert lines(run) == unbroken


def test_the_test_is_not_written_twice(chosen: Choose) -> None:
    """A run that was ended between its test and its end makes the test again."""
    values = {"iters": 2, "test": True, "test_batches": 1}
    run = folder_of(train(chosen(**values)))
    before = lines(run)
    train(chosen(**values), run=run)
    assert lines(run) == before


def test_an_evaluation_is_not_written_twice(
    chosen: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that was stopped in an evaluation makes it when it goes on, and again after a kill
    before its next checkpoint."""
    values = {"iters": 1, "eval_prompts": 3, "guard": "off", "fuse": False}
    unbroken = lines(folder_of(train(chosen(**values))))
    evaluate = Upkeep.evaluate

    def stop_within(self: Upkeep, split: Split, *, step: int | None = None) -> None:
        if self._state.step:
            raise Interrupted
        evaluate(self, split, step=step)

    with monkeypatch.context() as patched:
        patched.setattr(Upkeep, "evaluate", stop_within)
        run = folder_of(train(chosen(run_name="two", **values)))
    [checkpoint] = run.checkpoints()
    shutil.copytree(checkpoint, tmp_path / "kept")
    for _ in range(2):
        shutil.rmtree(checkpoint)
        shutil.copytree(tmp_path / "kept", checkpoint)
        again = train(chosen(run_name="two", **values), run=run)
        assert again.status == "finished"
        assert lines(run) == unbroken


def test_a_step_with_bad_numbers_is_dropped_counted_and_logged(
    chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.compute.mlx_backend import MlxBackend
    from engine.compute.numpy.backend import NumpyBackend
    from engine.train import update

    def spoil(backend: Any) -> None:
        real = backend.logps

        def spoiled(self: Any, *given: Any, **options: Any) -> Any:
            logps = real(self, *given, **options)
            return logps * math.nan if len(spoiled_calls) == 2 else logps

        monkeypatch.setattr(backend, "logps", spoiled)

    spoiled_calls: list[int] = []
    add_gradients = update.Update.add_gradients

    def counted(self: Any, *args: Any, **kwargs: Any) -> Any:
        spoiled_calls.append(1)
        return add_gradients(self, *args, **kwargs)

    spoil(MlxBackend)
    spoil(NumpyBackend)
    monkeypatch.setattr(update.Update, "add_gradients", counted)
    session = train(chosen(iters=4, steps_per_eval=-1, steps_per_report=4))
    (report,) = folder_of(session).read("metrics.jsonl")
    assert report["dropped_steps"] == 1
    assert math.isfinite(report["loss"])
    assert (
        "step 2 changed nothing: its loss is not finite"
        in (folder_of(session).path / "log.txt").read_text()
    )
    steps = [event.metrics for event in session.drain() if isinstance(event, StepDone)]
    assert steps[1]["trained_pairs"] == 0
    assert "loss" not in steps[1]


def test_of_four_answers_the_best_meets_a_lower_one(chosen: Choose) -> None:
    """Each prompt is a pair, judged in six judgements at most, in the layout of any run."""
    session = train(chosen(completions=4, iters=4, steps_per_eval=-1, steps_per_report=4))
    run = folder_of(session)
    (report,) = run.read("metrics.jsonl")
    pairs = list(run.read("pairs.jsonl"))
    undecided = list(run.read("undecided.jsonl"))
    assert len(pairs) + len(undecided) == 12
    assert report["trained_pairs"] == len(pairs) > 6
    assert 12 < report["judgements"] <= 6 * 12
    assert {*pairs[0]} == {*next(folder_of(train(chosen(iters=1))).read("pairs.jsonl"))}
    for line in pairs:
        step, index, places = line["pair_id"].split("-")
        assert (int(step), int(index) < 3) == (line["step"], True)
        assert places[0] < places[1] <= "3"
        assert line["chosen"] != line["rejected"]


def test_length_of_a_run() -> None:
    assert total_steps(settings(iters=7), 100) == 7
    assert total_steps(settings(epochs=1, batch_size=4), 10) == 3
    assert total_steps(settings(epochs=0.1, batch_size=4), 10) == 1
    assert total_steps(settings(epochs=2.5, batch_size=2), 10) == 13
    assert total_steps(settings(epochs=1.1, batch_size=1), 10) == 11  # 11.000000000000002
