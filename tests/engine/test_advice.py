"""Advice names no setting that a run has so already."""

from dataclasses import fields

import pytest

from engine.events import Finding
from engine.settings.schema import Settings
from engine.train.watch import advice, findings
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
