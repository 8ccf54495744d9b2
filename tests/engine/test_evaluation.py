"""The held-out win rate."""

from collections.abc import Sequence
from typing import Any

import pytest

from engine.compute.mlx_model import MlxModel
from engine.compute.sampling import Interrupted, Sampler
from engine.data.pairs import Verdict
from engine.judges.llm import LLMJudge
from engine.model.language_model import LanguageModel
from engine.train.evaluation import Evaluation, WinRate, wilson
from tests.engine.small_models import EOS, by_mlx, language_model, settings, tokenizer

pytestmark = pytest.mark.quick


PROMPTS = [[7, 8, 9], [10, 11], [12], [13, 14, 15, 16], [17, 18]]


class Recorder:
    """Answers with verdicts by the order of the questions, and keeps the questions."""

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self.verdicts = verdicts
        self.asked: list[list[tuple[str, str, str]]] = []

    def judge(self, texts: Sequence[tuple[str, str, str]]) -> list[Verdict]:
        self.asked.append(list(texts))
        return [self.verdicts[at % len(self.verdicts)] for at in range(len(texts))]


def evaluation(reference: LanguageModel, judge: Any, **more: Any) -> Evaluation:
    return Evaluation(
        reference,
        [judge],
        prompts=[f"prompt {index}" for index in range(len(PROMPTS))],
        prompt_ids=PROMPTS,
        sampler=more.pop("sampler", Sampler(1.0)),
        max_tokens=6,
        seed=0,
        **more,
    )


def measured(made: Evaluation, policy: LanguageModel) -> WinRate:
    (result,) = made.measure(policy)
    assert result is not None
    return result


# Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I, method 3.
@pytest.mark.parametrize(
    ("wins", "count", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson(wins: int, count: int, low: float, high: float) -> None:
    assert wilson(wins / count, count) == pytest.approx((low, high), abs=5e-5)
    mirrored = wilson(1 - wins / count, count)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_it_tells_how_far_its_answers_are() -> None:
    told: list[tuple[int, int]] = []
    made = evaluation(
        language_model(seed=2),
        Recorder([Verdict("first")]),
        progress=lambda done, total: told.append((done, total)),
    )
    measured(made, language_model(seed=1))
    assert {total for _, total in told} == {len(PROMPTS) * 6}
    assert 0 < max(done for done, _ in told) <= len(PROMPTS) * 6


def test_wins_losses_and_halves() -> None:
    policy, reference = language_model(seed=1), language_model(seed=2)
    verdicts = [Verdict(choice) for choice in ("first", "second", "tie", "tie", "first")]
    result = measured(evaluation(reference, Recorder(verdicts)), policy)
    assert result.win_rate == pytest.approx((1 + 0 + 0.5 + 0.5 + 1) / 5)
    assert (result.low, result.high) == wilson(result.win_rate, 5)
    assert (result.prompts, result.invalid) == (5, 0)


def test_a_prompt_without_a_valid_verdict_is_left_out() -> None:
    policy, reference = language_model(seed=1), language_model(seed=2)
    verdicts = [Verdict(choice) for choice in ("first", "invalid", "tie", "invalid", "first")]
    result = measured(evaluation(reference, Recorder(verdicts)), policy)
    assert result.win_rate == pytest.approx((1 + 0.5 + 1) / 3)
    assert (result.low, result.high) == wilson(result.win_rate, 3)
    assert (result.prompts, result.invalid) == (3, 2)
    assert len(result.examples) == 4


def test_a_judge_that_never_answers_gives_no_win_rate() -> None:
    policy, reference = language_model(seed=1), language_model(seed=2)
    made = evaluation(reference, Recorder([Verdict("invalid")]))
    assert made.measure(policy) == [None]
    assert len(made) == len(PROMPTS)


def test_the_policy_is_the_first_of_every_question() -> None:
    policy, reference = language_model(seed=1), language_model(seed=2)
    judge = Recorder([Verdict("tie")])
    examples = measured(evaluation(reference, judge), policy).examples
    for (prompt, after, before), example in zip(judge.asked[0], examples, strict=False):
        assert (prompt, after, before) == (example.prompt, example.after, example.before)
    greedy = measured(evaluation(reference, judge, sampler=Sampler(0)), policy).examples
    same = measured(evaluation(policy, judge, sampler=Sampler(0)), reference).examples
    assert [(each.before, each.after) for each in greedy] == [(e.after, e.before) for e in same]


def test_identical_answers_are_halves_that_nobody_is_asked_about() -> None:
    lm = language_model()
    judge = Recorder([Verdict("first")])
    result = measured(evaluation(lm, judge, sampler=Sampler(0)), lm)
    assert result.win_rate == 0.5
    assert judge.asked == [[]]


def test_an_llm_judge_takes_an_empty_question() -> None:
    lm = language_model()
    made = evaluation(lm, LLMJudge(lm, settings()), sampler=Sampler(0))
    assert measured(made, lm).win_rate == 0.5


def test_the_reference_answers_once_and_the_policy_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, reference = (by_mlx(language_model(seed=seed)) for seed in (1, 2))
    calls = {"policy": 0, "reference": 0}
    names = {id(policy.model): "policy", id(reference.model): "reference"}
    hidden = MlxModel.hidden

    def counted(model: MlxModel, ids: Any, caches: Any = None) -> Any:
        calls[names[id(model.module)]] += 1
        return hidden(model, ids, caches)

    monkeypatch.setattr(MlxModel, "hidden", counted)
    made = evaluation(reference, Recorder([Verdict("tie")]))
    first = made.measure(policy)
    once = dict(calls)
    assert made.measure(policy) == first  # the same weights, the same answers
    assert calls["reference"] == once["reference"] > 0
    assert calls["policy"] == 2 * once["policy"]


def test_the_same_weights_do_not_sample_alike_in_both_roles() -> None:
    """Else a policy that learned nothing would be all ties, and look measured."""
    lm = language_model(scale=0.5)
    judge = Recorder([Verdict("tie")])
    evaluation(lm, judge).measure(lm)
    assert len(judge.asked[0]) == len(PROMPTS)


def test_a_stop_interrupts() -> None:
    lm = language_model()
    with pytest.raises(Interrupted):
        evaluation(lm, Recorder([Verdict("tie")]), stop=lambda: True).measure(lm)


def test_text_leaves_the_end_of_the_turn_out() -> None:
    lm = language_model()
    ids = tuple(tokenizer().encode("Yes.", add_special_tokens=False))
    assert lm.text((*ids, EOS)) == "Yes."
    assert lm.text(ids) == "Yes."
