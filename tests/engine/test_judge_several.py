"""Several judges as one, and one by several criteria."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.pairs import JudgedPair, Verdict, verdict_of
from engine.errors import UserError
from engine.events import Log
from engine.judges import Score
from engine.judges.log_odds import CLIP
from engine.judges.several import SeveralJudges, joined
from engine.plan.memory import plan
from engine.session import Session
from engine.settings.checks import check
from engine.settings.files import apply_overrides, from_mapping, load, to_yaml
from engine.settings.schema import Settings, no_effect
from engine.train.metrics import Averages, add_judged
from tests.engine.little_server import LittleServer
from tests.engine.small_models import pair, settings, write_model, write_prompts

TIMEOUT = 120.0  # seconds
CRITERIA = [
    {"name": "truth", "text": "Prefer the true one, always: facts, then style.", "weight": 2.0},
    {"name": "tone", "text": "Prefer the friendlier one."},
]


def of(q: float, *, cut: bool = False) -> Verdict:
    """A verdict with no order."""
    odds = math.inf if q == 1 else -math.inf if q == 0 else math.log(q / (1 - q))
    verdict = verdict_of(odds, -odds, margin=0.0, ties="margin")
    return Verdict(verdict.choice, q, None, cut=cut)


def join(*verdicts: Verdict, weights: Sequence[float] = (), **more: Any) -> Verdict:
    rule = {"margin": 0.0, "ties": "margin"} | more
    return joined(verdicts, weights or [1.0] * len(verdicts), **rule)


# -- the mean of log-odds --------------------------------------------------------------------------

PROBABILITY = st.floats(0, 1)


@given(st.lists(st.tuples(PROBABILITY, st.floats(0.01, 100)), min_size=1, max_size=5))
def test_q_is_the_sigmoid_of_the_weighted_mean_of_log_odds(members: list[Any]) -> None:
    verdict = join(*(of(q) for q, _ in members), weights=[weight for _, weight in members])
    clipped = [(min(max(q, 1e-6), 1 - 1e-6), weight) for q, weight in members]
    mean = sum(weight * math.log(q / (1 - q)) for q, weight in clipped)
    mean /= sum(weight for _, weight in clipped)
    assert verdict.q == pytest.approx(1 / (1 + math.exp(-mean)), abs=1e-9)
    assert verdict.votes == tuple(q for q, _ in members)


def test_one_that_is_sure_does_not_outvote_all() -> None:
    assert join(of(1.0), of(0.1), of(0.1)).q == pytest.approx(
        1 / (1 + math.exp(-(math.log((1 - CLIP) / CLIP) + 2 * math.log(1 / 9)) / 3))
    )
    assert join(of(1.0), of(0.0)).choice == "tie"


def test_an_invalid_one_is_left_out() -> None:
    verdict = join(Verdict("invalid", note="no memory"), of(0.9), weights=[5, 1])
    assert verdict.q == pytest.approx(0.9)
    assert verdict.votes == (0.9,)
    nobody = join(Verdict("invalid", note="no memory"), Verdict("invalid", cut=True))
    assert (nobody.choice, nobody.q, nobody.note) == ("invalid", None, "no memory")
    assert nobody.cut


def test_a_tie_of_one_counts_by_its_q() -> None:
    tie = Verdict("tie", 0.52, None)
    assert join(tie, of(0.6)).choice == "first"
    assert join(tie, of(0.6), margin=0.1).choice == "tie"


def test_a_pair_of_which_one_read_a_part_is_cut() -> None:
    assert join(of(0.7), of(0.6, cut=True)).cut


def test_orders_that_disagree() -> None:
    agree = verdict_of(2.0, -1.0, margin=0.0, ties="margin")
    apart = verdict_of(3.0, 2.5, margin=0.0, ties="margin")  # picks the first place twice
    verdict = join(apart, apart)
    assert verdict.q == pytest.approx(apart.q)
    assert verdict.q_orders == pytest.approx(apart.q_orders)
    assert verdict.choice == "first"
    assert join(apart, apart, ties="orders").choice == "tie"
    assert join(agree, agree, ties="orders").choice == "first"
    assert join(agree, of(0.7)).q_orders is None


class Fixed:
    """Gives the same verdicts, and keeps what it was asked."""

    name = "fixed"

    def __init__(self, *qs: float) -> None:
        self.qs = qs
        self.requests: list[Any] = []

    def judge(self, texts: Sequence[Any], names: Sequence[str] = ()) -> list[Verdict]:
        self.requests.append((list(texts), list(names)))
        return [of(q) for q in self.qs]


def test_each_is_asked_about_all_pairs() -> None:
    judges = [Fixed(0.9, 0.2), Fixed(0.8, 0.9)]
    several = SeveralJudges(judges, [1, 3], settings(), "both")
    texts = [("a", "b", "c"), ("d", "e", "f")]
    verdicts = several.judge(texts, ["one", "two"])
    assert [verdict.votes for verdict in verdicts] == [(0.9, 0.8), (0.2, 0.9)]
    assert [judge.requests for judge in judges] == [[(texts, ["one", "two"])]] * 2


class Scoring:
    """A judge that gives every answer one score."""

    name, gives_scores = "one score", True

    def __init__(self, score: float) -> None:
        self._score = Score(score)

    def score(self, answers: Sequence[Any], names: Sequence[str] = ()) -> list[Score]:
        return [self._score] * len(answers)

    def verdict_on(self, first: Score, second: Score) -> Verdict:
        raise NotImplementedError

    judge: Any = None


@pytest.mark.parametrize(
    ("scores", "wanted"),
    [((1.0, 5.0), 4.0), ((-1e308, -1.5e308), -1.375e308), ((1e308, math.nan), 1e308)],
)
def test_a_score_is_the_weighted_mean_of_any_that_are_finite(
    scores: tuple[float, float], wanted: float
) -> None:
    several = SeveralJudges([*map(Scoring, scores)], [1, 3], settings(), "both")
    assert several.score([("Why?", "So.")])[0].value == pytest.approx(wanted)


def test_disagreement_is_a_metric() -> None:
    def mean(*votes: tuple[float, ...]) -> float | None:
        averages = Averages()
        judged = [JudgedPair(pair(at), Verdict("tie", 0.5, None, votes=each))
                  for at, each in enumerate(votes)]  # fmt: skip
        add_judged(averages, judged)
        return averages.report()["judge_disagreement"]

    assert mean((0.9, 0.2), (0.9, 0.8), (0.1, 0.3, 0.6), (0.9, 0.5)) == 0.5
    assert mean((), (0.9,)) is None


# -- settings --------------------------------------------------------------------------------------


def test_a_list_is_read_shown_and_written(tmp_path: Path) -> None:
    chosen = from_mapping(
        {"judge": ["starter", "rule:length", "mine.py:f"], "judge_criteria": CRITERIA}, "the test"
    )
    assert chosen.judges == ("starter", "rule:length", "mine.py:f")
    assert chosen.judge_kinds == {"model", "rule", "function"}
    check(chosen)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(chosen), encoding="utf-8")
    assert load(file) == chosen
    assert from_mapping({"judge": chosen.judge}, "the test").judges == chosen.judges
    written = apply_overrides({}, ["judge=[starter, 'rule:json']"])
    assert from_mapping(written, "the test").judges == ("starter", "rule:json")
    assert apply_overrides({}, ["judge_weights=[2, 1]"]) == {"judge_weights": [2, 1]}


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({"judge": ["human", "starter"]}, "a person cannot be one of several judges"),
        ({"judge": ["http://a/v1", "http://b/v1"]}, "only one of several judges can be on a"),
        ({"judge": ["starter", "rule:best"]}, "there is no rule:best"),
        ({"judge": ["starter", ""]}, "it names no judge"),
        ({"judge": ["starter", "http://me:key@a/v1"]}, "judge_key_env"),
        ({"judge": f"http://a/hf_{'x' * 24}/v1"}, "judge_key_env"),
        ({"judge": ["starter", "rule:avoid"]}, "rule:avoid needs words"),
        ({"judge": ["starter", "rule:json"], "judge_weights": [1]}, "1 weights for 2 judges"),
        ({"judge": ["starter", "rule:json"], "judge_weights": [1, 0]}, "has to be above 0"),
        ({"judge_criteria": [{"name": "truth"}]}, "each is {name: ..., text: ..., weight: ...}"),
        ({"judge_criteria": [{"name": "a", "text": "b", "weight": -1}]}, "judge_criteria: each is"),
        ({"judge_criteria": [{"name": "a", "text": "b", "more": 1}]}, "judge_criteria: each is"),
    ],
)
def test_what_does_not_go_together(chosen: dict[str, Any], told: str) -> None:
    with pytest.raises(UserError) as caught:
        check(from_mapping(chosen, "the test"))
    assert told in str(caught.value)


def test_criteria_stand_in_place_of_the_rubric() -> None:
    assert "judge_system" in no_effect(Settings.model_validate({"judge_criteria": CRITERIA}))
    assert "judge_weights" in no_effect(Settings())
    assert "judge_weights" not in no_effect(Settings(judge="starter, rule:json"))
    assert "judge_criteria" in no_effect(Settings(judge="rule:json"))


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture
def chosen(tmp_path: Path) -> Callable[..., Settings]:
    model = write_model(tmp_path / "policy", scale=1.0)
    prompts = write_prompts(tmp_path / "prompts.jsonl", 12)

    def make(**values: Any) -> Settings:
        small = {
            "model": str(model),
            "data": str(prompts),
            "iters": 3,
            "batch_size": 2,
            "eval_prompts": 3,
            "steps_per_eval": 3,
            "steps_per_report": 3,
            "max_completion_length": 5,
        }
        return settings(**{**small, **values})

    return make


def trained(chosen: Settings) -> tuple[Any, list[dict[str, Any]]]:
    """The run of a session that ended well, and its labels."""
    session = Session(chosen)
    session.start()
    assert session.join(TIMEOUT)
    log = [event.text for event in session.drain() if isinstance(event, Log)]
    assert session.error is None, (session.error, log)
    assert session.run is not None
    run = session.run
    return run, [line for file in ("pairs.jsonl", "undecided.jsonl") for line in run.read(file)]


def test_a_run_with_a_server_a_function_and_a_rule(
    chosen: Callable[..., Settings], tmp_path: Path
) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def shorter(prompt, answer):\n    return -len(answer) / 10\n")
    little = LittleServer(models=("longer",))
    with little.running():
        names = [little.address, f"{file}:shorter", "rule:length"]
        run, labels = trained(chosen(judge=names, judge_weights=[1, 1, 0.5]))
    judged = [label for label in labels if label["q"] is not None]
    assert judged
    assert all(len(label["votes"]) == 3 for label in judged)
    assert all(label["judge"] == ", ".join(names) for label in labels)
    report = next(line for line in run.read("metrics.jsonl") if "split" not in line)
    assert 0 < report["judge_disagreement"] <= 1
    assert run.state()["judge_sha256"].keys() == {names[1]}


def test_a_run_by_criteria_on_this_machine(
    chosen: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from engine.judges import llm

    monkeypatch.setattr(llm, "LEAST_MASS", 0.0)
    judge = write_model(tmp_path / "judge", seed=4)
    settings = chosen(judge=str(judge), judge_criteria=CRITERIA)
    _, labels = trained(settings)
    judged = [label for label in labels if label["q"] is not None]
    assert judged
    assert all(len(label["votes"]) == 2 for label in judged)
    first, second = (math.log(vote / (1 - vote)) for vote in judged[0]["votes"])
    assert judged[0]["q"] == pytest.approx(1 / (1 + math.exp(-(2 * first + second) / 3)))


def test_criteria_on_a_server_are_asked_apart(chosen: Callable[..., Settings]) -> None:
    little = LittleServer(models=("longer",))
    with little.running():
        trained(chosen(judge=little.address, judge_criteria=CRITERIA))
    systems = {body["messages"][0]["content"] for body in little.bodies}
    assert len(systems) == 2
    for criterion in CRITERIA:
        assert sum(str(criterion["text"]) in system for system in systems) == 1


def test_the_memory_of_all_is_counted(chosen: Callable[..., Settings], tmp_path: Path) -> None:
    one, two = (write_model(tmp_path / name, seed=at) for at, name in enumerate(("a", "b")))
    parts = [plan(chosen(judge=str(folder))).judge or 0 for folder in (one, two)]
    both = plan(chosen(judge=[str(one), str(two), "rule:length", str(one)]))
    assert both.judge == sum(parts) > 0


@pytest.mark.parametrize(
    ("text", "judges"),
    [
        ("rule:length,rule:json", ("rule:length", "rule:json")),
        ("f.py:good,rule:length", ("f.py:good", "rule:length")),
        ("f.py:good,g.py:better", ("f.py:good", "g.py:better")),
        ("http://a/v1,http://b/v1", ("http://a/v1", "http://b/v1")),
        ("models/a,b", ("models/a,b",)),  # may be a folder
    ],
)
def test_judges_that_are_no_folders_need_no_space_between(
    text: str, judges: tuple[str, ...]
) -> None:
    assert Settings(judge=text).judges == judges
