"""The search of the learning rate: where it goes, what it picks, and that it leaves nothing."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from engine import rate_search
from engine.data.prompts import load_prompts
from engine.errors import NothingLearned, UserError
from engine.plan.preview import read_preview
from engine.plan.rates import expected_updates, rate_advice, training_prompts
from engine.rate_search import RUNS, ShortRun, kl_limit, next_rate, pick, search_rate
from engine.settings.files import preset
from engine.settings.schema import Settings
from engine.settings.sections.training import LrSchedule
from engine.train.assemble import total_steps
from tests.engine.small_models import judge_by_alphabet, run_settings, write_run_files


def outcome_at(edge: float) -> Callable[..., ShortRun]:
    """A model whose kl grows with the square of the rate, to the limit at the edge."""

    def attempt(settings: Settings, rate: float, limit: float, *_: object) -> ShortRun:
        kl = limit * (rate / edge) ** 2
        if kl > 16 * limit:
            return ShortRun(rate, "broken", 3, None, None)
        return ShortRun(rate, "far" if kl > limit else "sound", 10, rate / edge, kl)

    return attempt


@pytest.mark.parametrize("edge", [1e-6, 3e-4, 1.2])
@pytest.mark.parametrize("factor", [1e-3, 0.04, 0.5, 1.0, 7.0, 300.0])
def test_it_finds_the_largest_sound_rate_from_wherever_it_begins(
    edge: float, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_search, "_try", outcome_at(edge))
    begin = min(edge * factor, 10.0)
    result = search_rate(preset("starter").model_copy(update={"learning_rate": begin}))
    assert len(result.runs) <= RUNS
    assert result.picked is not None
    assert edge / 2.1 <= result.picked <= edge
    assert [run.rate for run in result.runs] == sorted(run.rate for run in result.runs)
    assert "the largest rate whose kl stays below 0.5 nats" in result.reason


def test_where_nothing_is_sound_it_says_where_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_search, "_try", outcome_at(1e-12))
    result = search_rate(preset("starter"))
    assert (result.picked, len(result.runs)) == (None, RUNS)
    assert result.reason.startswith("even 8e-08 goes too far within 10 updates: set learning_rate")


def test_it_ends_at_the_largest_rate_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_search, "_try", outcome_at(1e9))
    result = search_rate(preset("starter"))
    assert result.picked == 10.0
    assert result.reason.endswith("a larger one was not found")


def test_a_larger_rate_that_was_sound_by_luck_is_not_picked() -> None:
    runs = [
        ShortRun(rate, outcome, 10, 0.1, 0.1)  # pyright: ignore[reportArgumentType]
        for rate, outcome in ((0.1, "sound"), (0.3, "far"), (1.0, "sound"))
    ]
    assert pick(tuple(runs), 0.5)[0] == 0.1
    following = next_rate(runs)
    assert following
    assert 0.1 < following < 0.3
    assert next_rate(runs[1:]) == pytest.approx(0.03)


def test_the_limit_is_a_share_of_the_lead_that_the_loss_asks_for() -> None:
    chosen = preset("starter")
    assert kl_limit(chosen) == 0.5
    assert kl_limit(chosen.model_copy(update={"beta": 0.1})) == 2.0


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    judge_by_alphabet(monkeypatch)
    return run_settings(write_run_files(tmp_path / "files"), optimizer="sgd", learning_rate=1e-4)


def test_short_runs_leave_nothing_behind(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("LORA_STUDIO_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(rate_search, "RUNS", 2)
    updates: list[tuple[float, int, int]] = []
    result = search_rate(chosen, on_update=lambda *each: updates.append(each))
    assert len(result.runs) == 2
    assert {(number, update) for _, number, update in updates} >= {(1, 0), (1, 10), (2, 0)}
    assert all(run.kl is None or math.isfinite(run.kl) for run in result.runs)
    assert list((tmp_path / "temporary").iterdir()) == []
    assert not (tmp_path / "home" / "runs").exists()


def test_an_interruption_leaves_nothing_behind(
    chosen: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    def interrupt(rate: float, run: int, update: int) -> None:
        if update == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        search_rate(chosen, on_update=interrupt)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_nobody_follows_the_short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[Settings] = []

    def train(settings: Settings, *_: object) -> None:
        tried.append(settings)
        raise NothingLearned("none had a winner")

    monkeypatch.setattr(rate_search, "train", train)
    with pytest.raises(UserError, match="no pair has a winner"):
        search_rate(Settings(report_to=["wandb", "tensorboard"], notify_env="NOTIFY_URL"))
    assert [(each.report_to, each.notify_env) for each in tried] == [([], None)]


def test_a_person_is_not_asked() -> None:
    with pytest.raises(UserError, match="a person cannot judge a search"):
        search_rate(preset("starter-human"))


# -- what is known without a search --------------------------------------------------------------

STARTER, SMOLLM2 = 1_526_000, 134_515_000


@pytest.mark.parametrize(
    ("source", "changes", "parameters", "warning", "told"),
    [
        ("starter", {}, STARTER, False, "80 updates · rate x scale: 0.8 x 2 worked for the"),
        ("starter", {"learning_rate": 2.4}, STARTER, True, "as 2.4 x 2 did the starter's"),
        ("starter", {"learning_rate": 1.8}, STARTER, False, "0.8 x 2 worked for the starter"),
        ("starter", {"learning_rate": 0.02}, STARTER, True, "cannot move the model in 80 updates"),
        (
            "starter",
            {"optimizer": "adamw"},
            STARTER,
            False,
            "no rate of adamw was measured for 2 M",
        ),
        ("smollm2", {}, None, False, "3e-06 x 20 worked for SmolLM2-135M"),
        ("smollm2", {"learning_rate": 1e-4}, SMOLLM2, True, "0.0001 x 20 did SmolLM2-135M's"),
        ("smollm2", {"learning_rate": 1e-4}, 4 * 10**9, True, "0.0001 x 20 did SmolLM2-135M's"),
        ("smollm2", {"learning_rate": 1e-7}, SMOLLM2, True, "cannot move the model in 64"),
        ("smollm2", {}, 6 * 10**8, False, "SmolLM2-135M in 64 updates, and no other size"),
        ("smollm2", {"model": "some/model"}, None, False, "once the model is here"),
        ("smollm2", {"train_type": "full"}, SMOLLM2, False, "no rate of full training"),
    ],
)
def test_what_was_measured_is_held_against_the_rate(
    source: str,
    changes: dict[str, object],
    parameters: int | None,
    warning: bool,
    told: str,
) -> None:
    advice = rate_advice(preset(source).model_copy(update=changes), parameters)
    assert advice.warning == warning
    assert told in advice.text


def test_scale_counts_as_the_rate_does() -> None:
    shape = preset("smollm2").lora_parameters.model_copy(update={"scale": 2.0})
    calm = preset("smollm2").model_copy(update={"learning_rate": 1e-4, "lora_parameters": shape})
    assert not rate_advice(calm, SMOLLM2).warning


def test_presets_are_not_warned_of() -> None:
    for name, parameters in (("starter", STARTER), ("smollm2", SMOLLM2)):
        assert not rate_advice(preset(name), parameters).warning


def test_updates_are_steps_over_those_whose_gradients_add_up() -> None:
    chosen = preset("starter").model_copy(update={"gradient_accumulation_steps": 3})
    assert expected_updates(chosen) == 27
    over = chosen.model_copy(update={"epochs": 1.5})
    assert expected_updates(over) is None
    assert expected_updates(over, 100) == math.ceil(total_steps(over, 100) / 3) == 4


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_prompts": 300}, {"max_prompts": 10}, {"judge": "human"}],
    ids=lambda changes: " ".join(changes),
)
@pytest.mark.parametrize("held_out", [True, False])
def test_the_prompts_of_a_run_are_known_from_the_preview(
    changes: dict[str, object], held_out: bool, tmp_path: Path
) -> None:
    for name, count in (("train", 400), ("valid", 50))[: 1 + held_out]:
        rows = (json.dumps({"prompt": f"{name} {n}?"}) for n in range(count))
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    chosen = preset("starter").model_copy(update={"data": str(tmp_path), **changes})
    *_, last = read_preview(chosen)
    assert training_prompts(chosen, last.count) == len(load_prompts(chosen).train)


def test_the_rate_is_that_of_the_schedule_s_arguments() -> None:
    schedule = {"name": "cosine_decay", "arguments": [5.0, 80]}
    wild = preset("starter").model_copy(update={"lr_schedule": LrSchedule.model_validate(schedule)})
    advice = rate_advice(wild, STARTER)
    assert advice.warning
    assert "rate 5 x scale 2 is likely to break" in advice.text
    schedule = {"name": "linear_schedule", "arguments": [1e-7, 0.8, 80]}
    calm = wild.model_copy(update={"lr_schedule": LrSchedule.model_validate(schedule)})
    assert not rate_advice(calm, STARTER).warning
