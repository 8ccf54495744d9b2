"""The four losses and their gradients against float64 references written out here."""

from dataclasses import astuple
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.train.losses import LogProbs, Loss, pair_losses, soft_pair_losses
from tests.close import assert_close
from tests.engine.small_models import number

pytestmark = pytest.mark.quick


FORMS = [
    ("sigmoid", "paper"),
    ("hinge", "paper"),
    ("ipo", "paper"),
    ("dpop", "paper"),
    ("dpop", "studio"),
]
# Policy chosen and rejected, reference chosen and rejected, tokens chosen and rejected.
PAIRS: dict[str, tuple[float, ...]] = {
    "winner likelier": (-10.0, -14.0, -11.0, -12.0, 5, 7),
    "winner less likely": (-13.5, -12.0, -11.0, -12.5, 9, 4),
    "beyond the hinge": (-5.0, -40.0, -12.0, -12.0, 5, 5),
    "loser likelier": (-40.0, -5.0, -12.0, -12.0, 5, 5),
    "equal": (-12.0, -12.0, -12.0, -12.0, 6, 6),
    "one without tokens": (-8.0, 0.0, -9.0, 0.0, 4, 0),
}


def make(kind: Any, form: Any = "paper", beta: float = 0.1, delta: float = 5.0) -> Loss:
    return Loss(kind, beta, delta, form)


def logprobs(*pairs: tuple[float, ...]) -> LogProbs:
    columns = np.array(pairs, np.float64).T
    return LogProbs(*(mx.array(column.astype(np.float32)) for column in columns))


def reference_loss(loss: Loss, pair: Any) -> float:
    """The loss of one pair in float64, as the papers write it."""
    pi_w, pi_l, ref_w, ref_l, tokens_w, tokens_l = (float(value) for value in pair)
    if loss.kind == "ipo":
        mean_w = (pi_w - ref_w) / max(tokens_w, 1)
        mean_l = (pi_l - ref_l) / max(tokens_l, 1)
        return (mean_w - mean_l - 1 / (2 * loss.beta)) ** 2
    difference = (pi_w - ref_w) - (pi_l - ref_l)
    if loss.kind == "sigmoid":
        return float(np.log1p(np.exp(-loss.beta * difference)))
    if loss.kind == "hinge":
        return max(0.0, 1 - loss.beta * difference)
    penalty = max(0.0, ref_w - pi_w)
    if loss.dpop_form == "paper":
        return float(np.log1p(np.exp(-loss.beta * (difference - loss.delta * penalty))))
    return float(np.log1p(np.exp(-loss.beta * difference))) + loss.delta * penalty


def reference_gradient(loss: Loss, pair: Any) -> tuple[float, float]:
    """Derivatives by the policy's two log-probabilities, in float64. A kink has slope 0."""
    pi_w, pi_l, ref_w, ref_l, tokens_w, tokens_l = (float(value) for value in pair)
    if loss.kind == "ipo":
        tokens_w, tokens_l = max(tokens_w, 1), max(tokens_l, 1)
        inner = (pi_w - ref_w) / tokens_w - (pi_l - ref_l) / tokens_l - 1 / (2 * loss.beta)
        return 2 * inner / tokens_w, -2 * inner / tokens_l
    difference = (pi_w - ref_w) - (pi_l - ref_l)
    if loss.kind == "hinge":
        slope = -loss.beta if 1 - loss.beta * difference > 0 else 0.0
        return slope, -slope
    penalised = loss.kind == "dpop" and ref_w > pi_w
    argument = difference
    if penalised and loss.dpop_form == "paper":
        argument = difference - loss.delta * (ref_w - pi_w)
    slope = -loss.beta / (1 + np.exp(loss.beta * argument))
    if not penalised:
        return slope, -slope
    if loss.dpop_form == "paper":
        return slope * (1 + loss.delta), -slope
    return slope - loss.delta, -slope


def gradients(loss: Loss, pair: tuple[float, ...]) -> tuple[float, float]:
    logps = logprobs(pair)

    def value(chosen: mx.array, rejected: mx.array) -> mx.array:
        rest = astuple(logps)[2:]
        return pair_losses(loss, LogProbs(chosen, rejected, *rest)).sum()

    by_chosen, by_rejected = mx.grad(value, argnums=(0, 1))(
        logps.policy_chosen, logps.policy_rejected
    )
    return number(by_chosen), number(by_rejected)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_value(kind: str, form: str, pair: tuple[float, ...]) -> None:
    for beta in (0.01, 0.1, 1.0):
        loss = make(kind, form, beta)
        found = number(pair_losses(loss, logprobs(pair)))
        assert found == pytest.approx(reference_loss(loss, pair), rel=2e-6, abs=1e-6)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_gradient(kind: str, form: str, pair: tuple[float, ...]) -> None:
    for beta in (0.01, 0.1, 1.0):
        loss = make(kind, form, beta)
        found = gradients(loss, pair)
        assert found == pytest.approx(reference_gradient(loss, pair), rel=2e-6, abs=1e-7)


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_the_reference_gradient_is_the_slope_of_the_reference_loss(kind: str, form: str) -> None:
    loss, step = make(kind, form), 1e-6
    for name, pair in PAIRS.items():
        if name == "equal" and kind == "dpop":
            continue  # the kink
        for which, slope in enumerate(reference_gradient(loss, pair)):
            up, down = list(pair), list(pair)
            up[which] += step
            down[which] -= step
            finite = (reference_loss(loss, up) - reference_loss(loss, down)) / (2 * step)
            assert slope == pytest.approx(finite, rel=1e-5, abs=1e-8)


def test_known_values() -> None:
    equal = logprobs(PAIRS["equal"])
    assert number(pair_losses(make("sigmoid"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(pair_losses(make("dpop"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(pair_losses(make("dpop", "studio"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(pair_losses(make("hinge"), equal)) == 1.0
    assert number(pair_losses(make("ipo", beta=0.1), equal)) == 25.0
    likelier = logprobs(PAIRS["winner likelier"])  # D = 3
    assert number(pair_losses(make("sigmoid", beta=1.0), likelier)) == pytest.approx(0.04858735)
    assert number(pair_losses(make("hinge", beta=0.1), likelier)) == pytest.approx(0.7)


def test_a_first_step_feels_no_penalty() -> None:
    """Policy and reference are equal then, and a penalty of weight 50 would rule the step."""
    for form in ("paper", "studio"):
        assert gradients(make("dpop", form, delta=50.0), PAIRS["equal"]) == pytest.approx(
            (-0.05, 0.05)
        )


@pytest.mark.parametrize(("kind", "form"), FORMS)
@pytest.mark.parametrize("margin", [1e3, 1e6, 1e15])
def test_extreme_margins_stay_finite(kind: str, form: str, margin: float) -> None:
    for sign in (1, -1):
        pair = (sign * margin / 2, -sign * margin / 2, 0.0, 0.0, 10, 10)
        loss = make(kind, form, beta=0.1)
        assert np.isfinite(number(pair_losses(loss, logprobs(pair))))
        assert np.isfinite(gradients(loss, pair)).all()
    won = (margin / 2, -margin / 2, 0.0, 0.0, 10, 10)
    if kind in ("sigmoid", "dpop"):
        assert number(pair_losses(make(kind, form), logprobs(won))) == pytest.approx(0, abs=1e-20)
        lost = number(pair_losses(make("sigmoid"), logprobs((won[1], won[0], *won[2:]))))
        assert lost == pytest.approx(0.1 * margin, rel=1e-6)


@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_soft_labels_weigh_both_orders(kind: str, form: str) -> None:
    loss = make(kind, form)
    pairs = list(PAIRS.values())
    q = np.linspace(0, 1, len(pairs))
    found = np.array(soft_pair_losses(loss, logprobs(*pairs), mx.array(q, mx.float32)))
    for got, weight, (pi_w, pi_l, ref_w, ref_l, n_w, n_l) in zip(found, q, pairs, strict=True):
        one = reference_loss(loss, (pi_w, pi_l, ref_w, ref_l, n_w, n_l))
        other = reference_loss(loss, (pi_l, pi_w, ref_l, ref_w, n_l, n_w))
        assert got == pytest.approx(weight * one + (1 - weight) * other, rel=2e-6, abs=1e-6)


def test_pairs_do_not_touch_each_other() -> None:
    for kind, form in FORMS:
        loss = make(kind, form)
        together = np.array(pair_losses(loss, logprobs(*PAIRS.values())))
        alone = [number(pair_losses(loss, logprobs(pair))) for pair in PAIRS.values()]
        assert_close(together, alone)
