"""A judge that measures the win rate beside the one that trains: who it is, and what is told."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.compute.sampling import Sampler
from engine.data.pairs import Verdict
from engine.events import Evaluated
from engine.judges import llm
from engine.notebook import TrainingResult, train
from engine.plan.memory import plan
from engine.runs import archive
from engine.settings.checks import problems
from engine.settings.judge_roles import evaluator, training_judge
from engine.settings.schema import Settings, no_effect
from engine.train.evaluation import Evaluation
from engine.train.watch.findings import findings_of
from engine.train.watch.health import Health
from tests.engine.small_models import (
    language_model,
    run_settings,
    settings,
    write_model,
    write_prompts,
    write_run_files,
)
from tests.timing import TIMING

FILE = "def prefers(prompt, first, second):\n    return 0.9\n"


def make(**values: Any) -> Settings:
    return Settings(**{"judge": "starter", **values})


# -- who it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"eval_judge": "starter"},
        {"eval_judge_system": make().judge_system},
        {"judge": "rule:length", "eval_judge_system": "Prefer rude answers."},  # it reads none
        {"judge": "human"},
        {"judge": "human", "eval_judge_system": "Prefer rude answers."},
    ],
)
def test_nobody_else_evaluates(values: dict[str, Any]) -> None:
    assert evaluator(make(**values)) is None


def test_another_model_by_the_same_rubric() -> None:
    chosen = make(eval_judge="big", judge_weights=[1.0])
    other = evaluator(chosen)
    assert other
    assert (other.judge, other.judge_system) == ("big", chosen.judge_system)
    assert other.judge_weights == []
    by = training_judge(chosen)
    assert by
    assert by.judge == "starter"


def test_the_same_model_by_another_rubric() -> None:
    criteria: list[dict[str, str | float]] = [{"name": "a", "text": "Prefer truth."}]
    chosen = make(eval_judge_system="Prefer brief answers.", judge_criteria=criteria)
    other = evaluator(chosen)
    assert other
    assert (other.judge, other.judge_system) == ("starter", "Prefer brief answers.")
    assert other.judge_criteria == []  # the rubric takes their place


def test_where_a_person_trains_the_evaluator_alone_measures() -> None:
    chosen = make(judge="human", eval_judge="starter")
    assert training_judge(chosen) is None
    other = evaluator(chosen)
    assert other
    assert other.judge == "starter"
    for key in ("eval_prompts", "steps_per_eval", "test", "judge_margin", "judge_quantization"):
        assert key not in no_effect(chosen)
        assert key in no_effect(make(judge="human"))


def test_a_key_goes_to_its_own_server_alone() -> None:
    one, two = "https://one.example/v1", "https://two.example/v1"
    chosen = make(judge=one, judge_model="small", judge_key_env="KEY_ONE")
    same = evaluator(chosen.model_copy(update={"eval_judge": one, "eval_judge_model": "big"}))
    assert same
    assert (same.judge_model, same.judge_key_env) == ("big", "KEY_ONE")
    other = evaluator(chosen.model_copy(update={"eval_judge": two}))
    assert other
    assert (other.judge_model, other.judge_key_env) == (None, None)
    named = chosen.model_copy(update={"eval_judge": two, "eval_judge_key_env": "KEY_TWO"})
    other = evaluator(named)
    assert other
    assert other.judge_key_env == "KEY_TWO"


@pytest.mark.parametrize(
    ("values", "key", "words"),
    [
        ({"eval_judge": "human"}, "eval_judge", "a person is never asked"),
        ({"eval_judge": "starter, human"}, "eval_judge", "a person is never asked"),
        ({"eval_judge": "rule:none"}, "eval_judge", "there is no rule:none"),
        ({"eval_judge": ""}, None, ""),
        ({"eval_judge": "http://a:x@b/v1"}, "eval_judge", "may hold no key"),
        ({"eval_judge": "http://a/v1, http://b/v1"}, "eval_judge", "only one of several"),
        ({"eval_judge": "rule:matches"}, "judge_pattern", "needs a regular expression"),
        ({"eval_judge_key_env": "sk-x"}, "eval_judge_key_env", "the name of an environment"),
    ],
)
def test_a_bad_evaluator_is_a_sentence(values: dict[str, Any], key: str | None, words: str) -> None:
    found = problems(make(**values))
    assert [each.key for each in found] == ([key] if key else [])
    assert all(words in each.message for each in found)


def test_a_model_that_only_evaluates_is_counted(tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / name, seed=at) for at, name in enumerate(("a", "b")))
    alone = plan(settings(model=str(one), judge=str(one)))
    beside = plan(settings(model=str(one), judge=str(one), eval_judge=str(two)))
    again = plan(settings(model=str(one), judge=str(one), eval_judge=str(one)))
    assert alone.judge == again.judge == 0
    assert beside.judge
    assert beside.known > alone.known


# -- what is measured ----------------------------------------------------------------------------


class Recorder:
    def __init__(self, choice: Any) -> None:
        self.name = choice
        self.requests: list[Any] = []

    def judge(self, texts: Any, names: Any = ()) -> list[Verdict]:
        self.requests.append(list(texts))
        return [Verdict(self.name)] * len(texts)


def test_all_judges_read_the_same_answers() -> None:
    policy, reference = language_model(seed=1), language_model(seed=2)
    judges = [Recorder("first"), Recorder("second"), Recorder("invalid")]
    evaluation = Evaluation(
        reference,
        judges,
        prompts=["a", "b", "c"],
        prompt_ids=[[7, 8, 9], [10, 11], [12]],
        sampler=Sampler(1.0),
        max_tokens=5,
        seed=0,
    )
    won, lost, none = evaluation.measure(policy)
    assert won
    assert lost
    assert none is None
    assert won.win_rate == 1 - lost.win_rate > 0.5
    assert judges[0].requests == judges[1].requests == judges[2].requests


def health(**values: float) -> list[str]:
    state = Health()
    state.add(values)
    restored = Health(json.loads(json.dumps(state.state())))
    assert findings_of(restored) == findings_of(state)
    return [f"{each.level}: {each.text}" for each in findings_of(state)]


def rates(won: tuple[float, float], lost: tuple[float, float, float]) -> dict[str, float]:
    rate, low = won
    names = ("eval_win_rate", "eval_win_rate_low", "eval_win_rate_high")
    return {"win_rate": rate, "win_rate_low": low, **dict(zip(names, lost, strict=True))}


def test_a_policy_that_pleases_its_judge_alone_is_named() -> None:
    (text,) = health(**rates((0.9, 0.8), (0.5, 0.38, 0.62)))
    assert text.startswith("warning: the judge prefers the policy's answers (90%")
    assert "the evaluator does not (50%)" in text
    (text,) = health(**rates((0.9, 0.8), (0.2, 0.1, 0.3)))
    assert text.startswith("bad: ")


@pytest.mark.parametrize(
    "values",
    [
        rates((0.9, 0.8), (0.7, 0.58, 0.79)),  # it pleases the evaluator, if less
        rates((0.65, 0.53), (0.55, 0.43, 0.67)),  # the two may be the same
        rates((0.45, 0.33), (0.2, 0.1, 0.3)),  # it pleases nobody
        {"win_rate": 0.9, "win_rate_low": 0.8},
    ],
)
def test_what_may_be_chance_or_pleases_both_is_not(values: dict[str, float]) -> None:
    assert health(**values) == []


# -- a run ---------------------------------------------------------------------------------------


@pytest.fixture
def chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)
    write_run_files(tmp_path)
    (tmp_path / "mine.py").write_text(FILE)

    def make(**values: Any) -> Settings:
        small = {
            "iters": 4,
            "batch_size": 3,
            "eval_prompts": 6,
            "steps_per_eval": 2,
            "steps_per_report": 2,
        }
        return run_settings(tmp_path, **{**small, **values})

    return make


def measured(result: TrainingResult) -> tuple[archive.Run, list[dict[str, Any]]]:
    assert result.run
    lines = [line for line in result.run.read("metrics.jsonl") if "split" in line]
    return result.run, lines


def test_both_win_rates_are_told(chosen: Callable[..., Settings], tmp_path: Path) -> None:
    alone = train(chosen(run_name="alone"), run_folder=True)
    mine = f"{tmp_path}/mine.py:prefers"
    both = train(chosen(run_name="both", eval_judge=mine), run_folder=True)
    run, lines = measured(both)
    _, before = measured(alone)
    valid, other_valid = (
        [line for line in each if line["split"] == "valid"] for each in (lines, before)
    )
    assert [line["step"] for line in valid] == [0, 2, 4]
    for line, other in zip(valid, other_valid, strict=True):
        shared = {name: value for name, value in line.items() if not name.startswith("eval_")}
        # Whoever evaluates besides changes nothing but the time that it takes.
        assert shared | {"elapsed_seconds": 0} == other | {"elapsed_seconds": 0}
        assert line["eval_prompts"] == 6
        assert line["eval_win_rate"] >= 0.5  # the first of a pair is the policy's answer
        assert line["eval_win_rate_low"] <= line["eval_win_rate"] <= line["eval_win_rate_high"]
    assert all("eval_win_rate" not in line for line in before)
    state = run.state()
    assert state["eval_win_rate"] == lines[-1]["eval_win_rate"]
    assert state["eval_judge"] == mine
    assert state["judge_sha256"].keys() == {mine}
    log = (run.path / "log.txt").read_text()
    assert "by the judge on valid" in log
    assert "by the evaluator on valid" in log
    assert isinstance(both.win_rates[-1], Evaluated)
    assert both.win_rates[-1].eval_win_rate == lines[-1]["eval_win_rate"]


def test_a_judge_without_a_verdict_leaves_the_evaluators(
    chosen: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "data").mkdir()
    write_prompts(tmp_path / "data" / "train.jsonl")
    (tmp_path / "data" / "valid.jsonl").write_text('{"prompt": "Held out?"}\n{"prompt": "Held."}\n')
    (tmp_path / "some.py").write_text(
        "def judge(prompt, first, second):\n    return 2.0 if 'Held' in prompt else 0.8\n"
    )
    judges = {
        "judge": f"{tmp_path}/some.py:judge",
        "eval_judge": f"{tmp_path}/mine.py:prefers",
    }
    run, lines = measured(train(chosen(data=str(tmp_path / "data"), **judges), run_folder=True))
    # At the start both answers may be equal, which is a half for whoever judges.
    assert lines[-1]["win_rate"] is None
    assert lines[-1]["eval_win_rate"] is not None
    assert "none by the judge, which gave no valid verdict" in (run.path / "log.txt").read_text()


def test_an_evaluator_that_is_not_there_is_named_by_its_setting(
    chosen: Callable[..., Settings], tmp_path: Path
) -> None:
    from engine.errors import UserError

    with pytest.raises(UserError, match=r"^eval_judge: there is no file"):
        train(chosen(eval_judge=f"{tmp_path}/gone.py:f"))
    with pytest.raises(UserError, match=r"^eval_judge: "):
        train(chosen(eval_judge=str(tmp_path / "nothing")))


def test_the_same_reward_model_or_rubric_changes_no_line(chosen: Callable[..., Settings]) -> None:
    one, _ = measured(train(chosen(run_name="a"), run_folder=True))
    same = chosen(run_name="b")
    same = same.model_copy(update={"eval_judge": same.judge})
    two, _ = measured(train(same, run_folder=True))
    clean = [
        [{k: v for k, v in line.items() if k not in TIMING} for line in run.read("metrics.jsonl")]
        for run in (one, two)
    ]
    assert clean[0] == clean[1]
