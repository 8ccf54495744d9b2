"""Advice names no setting that a run has so already, or that has no effect on it."""

from dataclasses import fields
from typing import Any

import pytest

from engine.events import Finding
from engine.settings.schema import Settings
from engine.train.watch import advice, collapse_watch, findings
from engine.train.watch.health import Health

pytestmark = pytest.mark.quick


def finding(words: str) -> Finding:
    return Finding("bad", "text", "means", words, "kl")


def test_what_is_so_already_is_left_out() -> None:
    calm = finding(findings._CALMER)
    unclipped, clipped = Settings(max_grad_norm=0), Settings(max_grad_norm=1)
    assert advice.fitting(calm, unclipped) is calm
    assert advice.fitting(calm, clipped).advice == "Lower learning_rate, or raise beta."
    apart = finding(findings._TELL_APART)
    assert "judge_margin" in advice.fitting(apart, Settings(judge_margin=0.2)).advice
    assert "judge_margin" not in advice.fitting(apart, Settings(judge_margin=0)).advice
    read = finding(findings._READABLE)
    assert "judge_mode" not in advice.fitting(read, Settings(judge_mode="generate")).advice


def test_a_function_that_judges_is_to_be_mended() -> None:
    read = finding(findings._READABLE)
    assert advice.fitting(read, Settings(judge="model")) is read
    for judge in ("judge.py:taste", "rule:json"):
        fitted = advice.fitting(read, Settings(judge=judge)).advice
        assert fitted.startswith("Mend the function")
        assert "judge_mode" not in fitted


def test_ties_of_a_person_are_not_put_down_to_settings_of_a_model() -> None:
    [ties] = [each for each in all_findings() if each.metric == "tie_rate"]
    assert "judge_margin" in advice.fitting(ties, Settings(judge="model")).means
    fitted = advice.fitting(ties, Settings(judge="human"))
    assert fitted.means == "Nothing is learned from a tie."


def test_nothing_else_of_a_finding_changes() -> None:
    before = finding(findings._CALMER)
    after = advice.fitting(before, Settings(max_grad_norm=1))
    others = [each.name for each in fields(Finding) if each.name != "advice"]
    assert [getattr(after, name) for name in others] == [getattr(before, name) for name in others]
    assert after.advice.endswith(".")


def test_the_dpop_loss_is_no_advice_to_a_run_that_has_it() -> None:
    run = Health()
    for step in range(40):
        run.add({"chosen_logp": -10.0 - step})
    [falls] = [each for each in findings.findings_of(run) if each.metric == "chosen_logp"]
    assert "dpop" in advice.fitting(falls, Settings()).advice
    fitted = advice.fitting(falls, Settings(dpo_cpo_loss_type="dpop"))
    assert fitted.advice.startswith("Raise beta, lower learning_rate, or stop")


# -- all findings, by settings -------------------------------------------------------------------


def all_findings() -> list[Finding]:
    """Of every kind one at least, of runs that are in a bad way."""
    traces: list[dict[str, list[float]]] = [
        {name: [0.9] * 40 for name in ("tie_rate", "identical_rate", "invalid_rate")},
        {"unanswered_rate": [0.9] * 40, "eos_rate": [0.2] * 40, "judge_q": [0.5] * 40},
        {"kl": [float(step) for step in range(90)], "first_position_rate": [0.95] * 40},
        {"chosen_logp": [-10.0 - step for step in range(40)], "dropped_steps": [1.0] * 4},
        {"completion_tokens": [10.0 + step for step in range(40)]},
        {"completion_tokens": [100.0 - 2 * step for step in range(40)]},
        {"swap_consistency": [0.3] * 40},
        {"swap_consistency": [0.3] * 40, "win_rate": [0.97]},
        {"win_rate": [0.9], "win_rate_low": [0.8], "eval_win_rate": [0.4]}
        | {"eval_win_rate_low": [0.3], "eval_win_rate_high": [0.5]},
    ]
    found: list[Finding] = []
    for values in traces:
        run = Health()
        for name, points in values.items():
            for point in points:
                run.add({name: point})
        run.unlearned = "sums: 3 of 20 were lost"
        found += findings.findings_of(run)
        run.verdicts.update(["tie", "invalid", "skip"] * findings.ENOUGH_PAIRS)
        found += filter(None, [findings.nothing_learned(run)])
    for choice in ("tie", "both_bad", "identical", "empty", "invalid", "unanswered", "first"):
        run = Health()
        run.verdicts.update([choice] * findings.ENOUGH_PAIRS)
        found += findings.findings_of(run)
    return found


READS = "model"  # a judge that reads a rubric
USELESS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    # what is named, settings by which it is of use, and settings by which it is not
    ("max_grad_norm", {"max_grad_norm": 0}, {"max_grad_norm": 1}),
    ("judge_margin if", {"judge_margin": 0.1}, {"judge_margin": 0}),
    ("judge_margin if", {"judge_margin": 0.1}, {"judge": "human"}),
    ("max_kl", {"max_kl": 0}, {"max_kl": 20}),
    ("length_penalty", {"length_penalty": 0}, {"length_penalty": 0.5}),
    ("length_penalty", {"judge": READS}, {"judge": "human"}),
    ("length_normalize", {"length_normalize": False}, {"length_normalize": True}),
    ("length_normalize", {"dpo_cpo_loss_type": "hinge"}, {"dpo_cpo_loss_type": "ipo"}),
    ("length_normalize", {"dpo_cpo_loss_type": "sigmoid"}, {"dpo_cpo_loss_type": "dpop"}),
    ("missing_eos", {"missing_eos": "keep"}, {"missing_eos": "lose"}),
    ("dpop", {"dpo_cpo_loss_type": "ipo"}, {"dpo_cpo_loss_type": "dpop"}),
    ("dpop", {"length_normalize": False}, {"length_normalize": True}),
    ("judge_mode", {"judge_mode": "logits"}, {"judge_mode": "generate"}),
    ("judge_mode", {"judge": READS}, {"judge": "rule:json"}),
    ("rubric", {"judge": READS}, {"judge": "rule:json"}),
    ("rubric", {"judge": READS}, {"judge": "judge.py:taste"}),
    ("rubric", {"judge": READS}, {"judge": "human"}),
    ("swapped", {"judge": READS}, {"judge": "rule:json"}),
]


@pytest.mark.parametrize(("name", "use", "no_use"), USELESS)
def test_no_finding_advises_what_is_of_no_use(
    name: str, use: dict[str, Any], no_use: dict[str, Any]
) -> None:
    every = all_findings()
    for values, named in ((use, True), (no_use, False)):
        settings = Settings(**{"judge": READS, **values})
        fitted = [advice.fitting(each, settings).advice for each in every]
        assert any(name in text for text in fitted) is named
        for text in fitted:
            assert text[0].isupper()
            assert text.endswith(".")
            assert not any(odd in text for odd in (", .", "; .", "Or ", "or or", ",,", "  "))


def test_no_check_is_missing_among_all_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    every = {each.text for each in all_findings()}
    for check in findings.CHECKS:
        others = tuple(each for each in findings.CHECKS if each is not check)
        monkeypatch.setattr(findings, "CHECKS", others)
        assert {each.text for each in all_findings()} < every
        monkeypatch.undo()


def test_a_checkpoint_that_may_be_gone_is_no_advice() -> None:
    run = Health()
    run.best_step = 40
    run.unlearned = "sums: 3 of 20 were lost"
    rates = {"win_rate": 0.9, "win_rate_low": 0.8, "eval_win_rate": 0.4}
    run.add(rates | {"eval_win_rate_low": 0.3, "eval_win_rate_high": 0.45})
    found = {each.metric: each.advice for each in findings.findings_of(run)}
    assert found.keys() == {"guard", "eval_win_rate"}
    for text in found.values():
        assert text.endswith("or stop here: step 40, the best so far, is kept.")


@pytest.mark.parametrize("train_type", ["lora", "full"])
def test_full_training_has_no_scale_of_adapters(train_type: Any) -> None:
    tries = collapse_watch.advice(Settings(train_type=train_type))
    assert ("lora_parameters.scale" in tries) is (train_type == "lora")
    assert tries.endswith("; collapse_watch: off trains all the same")
    warned = collapse_watch.advice(Settings(train_type=train_type, collapse_watch="warn"))
    assert "collapse_watch" not in warned
