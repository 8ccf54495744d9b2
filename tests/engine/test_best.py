"""The best step of a run: which it is, that it is kept and left, and what ends a run in time."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.compute.sampling import Interrupted
from engine.control import Control
from engine.data.order import PromptOrder
from engine.errors import UserError
from engine.events import EndedEarly, Evaluated, Event, Log, Paused, Saved, Split, StepDone
from engine.export import export
from engine.judges import JudgeAway, llm
from engine.model import arrays
from engine.model.adapter_files import WEIGHTS
from engine.runs import archive
from engine.runs.checkpoints import Best, best_as_of
from engine.runs.folder import ADAPTERS, FUSED, METRICS, Run
from engine.settings.checks import problems
from engine.settings.schema import Settings
from engine.settings.sections.output import Keep
from engine.train import assemble
from engine.train.best import BestSoFar
from engine.train.evaluation import Evaluation, WinRate, wilson
from engine.train.results import trained_weights, weights_to_leave
from engine.train.state import TrainingState
from engine.train.update import Update
from engine.train.watch.findings import CHECKS, KL_FAR
from engine.train.watch.health import Health
from tests.engine.small_models import run_settings, settings, write_run_files
from tests.timing import TIMING


def rated(rate: float, prompts: int = 40) -> WinRate:
    return WinRate(rate, *wilson(rate, prompts), prompts, ())


# -- which step is the best ----------------------------------------------------------------------


def test_the_best_has_the_highest_lower_bound_and_not_the_highest_rate() -> None:
    so_far = BestSoFar()
    assert so_far.add(10, rated(0.6, prompts=400), kl=1.0)
    assert not so_far.add(20, rated(0.65, prompts=20), kl=1.0)
    assert so_far.best is not None
    assert so_far.best.step == 10


def test_of_equals_the_smaller_kl_is_the_best_and_then_the_later() -> None:
    so_far = BestSoFar()
    assert so_far.add(10, rated(0.7), kl=5.0)
    assert not so_far.add(20, rated(0.7), kl=6.0)
    assert so_far.add(30, rated(0.7), kl=4.0)
    assert so_far.add(40, rated(0.7), kl=4.0)
    assert so_far.best == Best(40, 0.7, wilson(0.7, 40)[0], 4.0)
    assert so_far.in_vain == 3  # since none had a higher lower bound


def test_the_start_counts_as_a_half_whatever_is_measured_of_it() -> None:
    so_far = BestSoFar()
    assert not so_far.add(0, rated(0.8), kl=0.0)  # by chance
    assert not so_far.add(10, rated(0.45), kl=2.0)
    assert so_far.best is not None
    assert so_far.best.is_start
    assert so_far.add(20, rated(0.55), kl=3.0)


def test_nothing_is_the_best_before_a_step_was_measured() -> None:
    so_far = BestSoFar()
    so_far.add(0, rated(0.5), kl=0.0)
    assert so_far.best is None
    so_far = BestSoFar(so_far.state())
    assert so_far.best is None
    so_far.add(10, rated(0.4), kl=1.0)
    assert so_far.best == Best(0, 0.5, wilson(0.5, 40)[0], 0.0)


def test_what_is_measured_again_counts_once() -> None:
    so_far = BestSoFar()
    so_far.add(10, rated(0.4), kl=1.0)
    so_far.add(10, rated(0.9), kl=1.0)
    assert (so_far.evaluations, so_far.in_vain) == (1, 1)


def test_it_is_the_same_after_a_restart() -> None:
    so_far = BestSoFar()
    for step, rate in ((0, 0.5), (10, 0.7), (20, 0.6)):
        so_far.add(step, rated(rate), kl=1.0)
    again = BestSoFar(so_far.state())
    assert again.state() == so_far.state()
    for each in (so_far, again):
        each.add(30, rated(0.3), kl=1.0)
    assert again.state() == so_far.state()
    assert again.in_vain == 2


# -- a run ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_run_files(tmp_path_factory.mktemp("files"))


Choose = Callable[..., Settings]


@pytest.fixture
def chosen(files: Path, monkeypatch: pytest.MonkeyPatch) -> Choose:
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)

    def make(**values: Any) -> Settings:
        small = {
            "iters": 12,
            "batch_size": 2,
            "eval_prompts": 6,
            "steps_per_eval": 1,
            "steps_per_report": 1,
            "save_every": 50,
            "fuse": False,
        }
        return run_settings(files, **{**small, **values})

    return make


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], list[int]]:
    """Win rates of the evaluations after steps 0, 1, 2 and so on; the last for all further ones.
    The list that is returned gets the purpose of each measurement."""

    def by_rates(rates: Sequence[float]) -> list[Any]:
        purposes: list[Any] = []

        def measure(self: Evaluation, policy: Any) -> list[WinRate | None]:
            purpose = self._purpose  # pyright: ignore[reportPrivateUsage]
            at = sum(each == "evaluation" for each in purposes)
            purposes.append(purpose)
            return [
                rated(rates[min(at, len(rates) - 1)]) if purpose == "evaluation" else rated(0.66)
            ]

        monkeypatch.setattr(Evaluation, "measure", measure)
        return purposes

    return by_rates


def train(
    chosen: Settings, run: Run | None = None, *, stop_at: int | None = None, **more: Any
) -> tuple[Run, list[Event]]:
    run = run or archive.create(chosen)
    events: list[Event] = []
    control = Control()

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, StepDone) and event.step == stop_at:
            control.stop()

    with run.lock():
        outcome = assemble.train(chosen, run, control, emit, **more)
        run.update(status="finished" if outcome.finished else "stopped")
    return run, events


def steps(run: Run) -> list[int]:
    return [int(each.name) for each in run.checkpoints()]


def timeless(run: Run) -> list[dict[str, Any]]:
    """The lines of metrics, without what depends on the machine's speed."""
    return [{k: v for k, v in line.items() if k not in TIMING} for line in run.read(METRICS)]


def weights(file: Path) -> dict[str, mx.array]:
    return arrays.load(file)


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return all(mx.array_equal(first[name], second[name]).item() for name in first)


RATES = (0.5, 0.6, 0.8, 0.7, 0.6, 0.6, 0.5, 0.4)  # the best after step 2


def test_the_best_is_kept_outside_the_pruning(chosen: Choose, measured: Any) -> None:
    measured(RATES)
    run, _ = train(chosen(save_every=1))
    assert steps(run) == [2, 10, 11, 12]
    assert run.best() == best_as_of(run.checkpoints()[0])
    assert (run.best() or Best(-1, 0, 0, 0)).step == 2


def test_each_new_best_has_a_checkpoint_whatever_save_every_says(
    chosen: Choose, measured: Any
) -> None:
    measured((0.5, 0.6, 0.55, 0.7, 0.7))
    run, _ = train(chosen(iters=5, steps_per_eval=1))
    assert 3 in steps(run)
    assert steps(run)[-1] == 5
    assert (run.best() or Best(-1, 0, 0, 0)).step >= 3


def test_the_adapters_are_the_best_ones_and_measured_anew(chosen: Choose, measured: Any) -> None:
    purposes = measured(RATES)
    run, events = train(chosen())
    best = run.path / "checkpoints" / "0000002" / WEIGHTS
    assert same(run.path / ADAPTERS / WEIGHTS, best)
    assert not same(best, run.checkpoints()[-1] / WEIGHTS)
    assert purposes.count("kept") == 1
    split: Split = "kept"
    [again] = [each for each in events if isinstance(each, Evaluated) and each.split == split]
    assert (again.step, again.win_rate) == (2, 0.66)
    state = run.state()
    assert (state["win_rate_step"], state["win_rate"]) == (2, 0.66)
    assert [line["step"] for line in run.read(METRICS) if line.get("split") == "kept"] == [2]


def test_a_judge_that_is_away_at_the_end_leaves_the_last_checkpoint_as_it_is(
    chosen: Choose, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The best is measured anew by then, and its weights are not those of the last step."""
    purposes = measured((0.5, 0.8, 0.5))
    measure, control = Evaluation.measure, Control(attended=True)
    pauses: list[int] = []

    def away_once(self: Evaluation, policy: Any) -> Any:
        if self._purpose == "kept" and not pauses:  # pyright: ignore[reportPrivateUsage]
            raise JudgeAway("it is away")
        return measure(self, policy)

    def emit(event: Event) -> None:
        if isinstance(event, Paused):
            pauses.append(event.step)
            control.pause(False)

    monkeypatch.setattr(Evaluation, "measure", away_once)
    small = chosen(iters=2, guard="off")
    run = archive.create(small)
    with run.lock():
        assert assemble.train(small, run, control, emit).finished
    assert (pauses, purposes[-1]) == ([2], "kept")
    best, last = run.checkpoints()
    assert not same(best / WEIGHTS, last / WEIGHTS)


def test_keep_last_leaves_the_last(chosen: Choose, measured: Any) -> None:
    purposes = measured(RATES)
    run, _ = train(chosen(keep="last"))
    assert same(run.path / ADAPTERS / WEIGHTS, run.checkpoints()[-1] / WEIGHTS)
    assert "kept" not in purposes
    assert trained_weights(run).step == 12
    assert trained_weights(run, "best").step == 2


@pytest.mark.parametrize("fuse", [False, True])
def test_an_export_says_of_which_step_it_is(
    chosen: Choose, measured: Any, tmp_path: Path, *, fuse: bool
) -> None:
    measured(RATES)
    run, _ = train(chosen())
    kept: dict[Keep, str] = {"best": "2, the best by its win rate (80%).", "last": "12, the last."}
    for keep, words in kept.items():
        to = export(run, tmp_path / keep, fuse=fuse, keep=keep)
        about = (to / "README.md").read_text()
        assert f"(lora, 12 steps) by LoRA Studio: the weights of step {words}" in about


def test_fused_is_the_best(chosen: Choose, measured: Any) -> None:
    measured(RATES)
    _, events = train(chosen(fuse=True))
    texts = [each.text for each in events if isinstance(each, Log)]
    assert any("has the weights of step 2, the best by its win rate (80%)" in t for t in texts)


def test_where_the_start_is_the_best_nothing_is_fused_and_that_is_said(
    chosen: Choose, measured: Any
) -> None:
    measured((0.5, 0.4, 0.3))
    run, events = train(chosen(fuse=True, iters=3))
    assert not (run.path / FUSED).exists()
    texts = [each.text for each in events if isinstance(each, Log)]
    assert any("no step was better than the start" in text for text in texts)
    with pytest.raises(UserError, match="--keep last takes the last"):
        weights_to_leave(run)
    assert weights_to_leave(run, "last").step == 3
    tried = trained_weights(run)  # Try it shows the last, and says why
    assert (tried.step, tried.best) == (3, None)
    assert "better than the start" in (tried.note or "")


def test_a_run_that_was_stopped_in_its_evaluation_knows_its_best(
    chosen: Choose, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    purposes = measured((0.5, 0.4))
    measure = Evaluation.measure

    def stopped(self: Evaluation, policy: Any) -> Any:
        if purposes:
            raise Interrupted
        return measure(self, policy)

    small = chosen(iters=1, guard="off")
    with monkeypatch.context() as patched:
        patched.setattr(Evaluation, "measure", stopped)
        run, _ = train(small)
    assert run.best() is None
    train(small, run)
    assert (run.best() or Best(-1, 0, 0, 0)).is_start
    with pytest.raises(UserError, match="--keep last takes the last"):
        weights_to_leave(run)


def test_a_run_that_evaluates_nothing_saves_nothing_as_it_goes_on(chosen: Choose) -> None:
    small = chosen(iters=1, eval_prompts=0, guard="off")
    run, before = train(small)
    _, after = train(small, run)
    assert [sum(isinstance(each, Saved) for each in events) for events in (before, after)] == [1, 0]


def test_a_run_that_measured_the_start_alone_leaves_its_last_step(
    chosen: Choose, measured: Any
) -> None:
    measured((0.5,))
    run, _ = train(chosen(iters=3, steps_per_eval=5), stop_at=2)
    assert best_as_of(run.checkpoints()[-1]) is None
    assert weights_to_leave(run).in_words == "step 2, the last"
    assert trained_weights(run).note is None
    assert run.best() is None  # what the export dialog and `runs show` go by


def test_an_older_checkpoint_that_names_the_start_unmeasured_is_read_right(
    chosen: Choose, measured: Any
) -> None:
    measured((0.5, 0.4))
    run, _ = train(chosen(iters=3))
    assert (run.best() or Best(-1, 0, 0, 0)).is_start
    run.update(win_rate_step=0)
    assert run.best() is None
    state = TrainingState(order=PromptOrder(4, 0)).to_json([])
    start = {"best": asdict(Best(0, 0.5, 0.35, 0.0)), "evaluations": 0, "in_vain": 0, "newest": 0}
    state |= {"best": start, "health": {"best_step": 0}}
    restored = TrainingState(order=PromptOrder(4, 0))
    restored.restore(state)
    assert restored.best.best is None
    assert restored.health.best_step is None


def test_a_run_without_a_valid_verdict_since_the_start_finishes_fused(
    chosen: Choose, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[WinRate | None] = [rated(0.5)]
    monkeypatch.setattr(
        Evaluation, "measure", lambda self, policy: [rates.pop()] if rates else [None]
    )
    run, _ = train(chosen(iters=3, fuse=True))
    assert run.state()["status"] == "finished"
    assert (run.path / FUSED).exists()
    assert trained_weights(run).in_words == "step 3, the last"


def test_without_an_evaluation_the_last_is_kept(chosen: Choose) -> None:
    run, _ = train(chosen(steps_per_eval=-1, iters=3, fuse=True))
    assert run.best() is None
    assert (run.path / FUSED).exists()
    assert trained_weights(run).in_words == "step 3, the last"


def test_a_damaged_best_gives_way_to_the_last(chosen: Choose, measured: Any) -> None:
    measured(RATES)
    run, _ = train(chosen())
    (run.path / "checkpoints" / "0000002" / WEIGHTS).write_bytes(b"broken")
    found = trained_weights(run)
    assert found.step == 12
    assert "gone or damaged" in (found.note or "")


# -- in time -------------------------------------------------------------------------------------


def test_evaluations_in_vain_end_the_run_with_a_sentence(chosen: Choose, measured: Any) -> None:
    measured(RATES)
    run, events = train(chosen(stop_after=3))
    [ended] = [each for each in events if isinstance(each, EndedEarly)]
    assert ended.reason == (
        "ended at step 5: 3 evaluations were no better than step 2 (80%, at least 65%) (stop_after)"
    )
    state = run.state()
    assert (state["status"], state["step"], state["ended"]) == ("finished", 5, ended.reason)
    assert steps(run)[-1] == 5
    assert same(run.path / ADAPTERS / WEIGHTS, run.path / "checkpoints/0000002" / WEIGHTS)


def test_a_run_that_ended_early_ends_again_after_a_kill(chosen: Choose, measured: Any) -> None:
    """The kill came after the last checkpoint, before the results."""
    measured(RATES)
    run, _ = train(chosen(stop_after=3))
    before = timeless(run)
    (run.path / ADAPTERS / WEIGHTS).unlink()
    run, events = train(chosen(stop_after=3), run)
    assert [type(each) for each in events].count(EndedEarly) == 1
    assert same(run.path / ADAPTERS / WEIGHTS, run.path / "checkpoints/0000002" / WEIGHTS)
    assert timeless(run) == before


def test_kl_above_its_limit_ends_the_run(
    chosen: Choose, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured((0.5, 0.6))
    real = Update.add_gradients

    def far(self: Update, loss: Any, decided: Any, step: int) -> Any:
        result = real(self, loss, decided, step)
        result.means["kl"] = 10.0 * step
        return result

    monkeypatch.setattr(Update, "add_gradients", far)
    _, events = train(chosen(max_kl=35.0, steps_per_eval=100))
    [ended] = [each for each in events if isinstance(each, EndedEarly)]
    assert ended.reason == "ended at step 4: kl was 40.0 nats, above max_kl 35"
    evaluated = [each.step for each in events if isinstance(each, Evaluated)]
    assert evaluated == [0, 4]  # the step that it ended at is measured


def test_growth_is_told_from_the_first_steps() -> None:
    health = Health()
    for step in range(20):
        health.add({"completion_tokens": 10.0 if step < 10 else 30.0})
    assert health.growth() == pytest.approx(3.0)
    assert Health(health.state()).growth() == pytest.approx(3.0)


def test_answers_that_grow_end_the_run(
    chosen: Choose, measured: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured((0.5, 0.6))
    monkeypatch.setattr(Health, "growth", lambda self: 2.5)
    _, events = train(chosen(max_growth=2.0, steps_per_eval=100))
    [ended] = [each for each in events if isinstance(each, EndedEarly)]
    assert "2.5 times as long as they were, above max_growth 2" in ended.reason


@pytest.mark.parametrize(
    ("best", "words"),
    [
        (None, "go on from an earlier checkpoint"),
        (0, "no step was better than the start"),
        (40, "step 40, the best so far, is kept"),
    ],
)
def test_the_advice_names_the_best(best: int | None, words: str) -> None:
    health = Health()
    health.best_step = best
    for step in range(20):
        tokens = 10.0 if step < 10 else 40.0 + step % 2
        health.add({"kl": 2 * KL_FAR, "completion_tokens": tokens})
    advice = {each.metric: each.advice for check in CHECKS for each in check(health)}
    assert words in advice["kl"]
    assert words in advice["completion_tokens"]
    for setting in ("length_penalty", "length_normalize", "missing_eos"):
        assert setting in advice["completion_tokens"]


@pytest.mark.parametrize("loss", ["ipo", "dpop"])
def test_length_normalize_is_refused_where_it_is_not_of_the_loss(loss: str) -> None:
    found = problems(settings(length_normalize=True, dpo_cpo_loss_type=loss))
    assert [each.key for each in found] == ["length_normalize"]
    assert not problems(settings(length_normalize=True, dpo_cpo_loss_type="hinge"))
