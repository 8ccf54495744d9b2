"""The losses, their labels and gradients against float64 references written out here."""

from dataclasses import astuple
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.train.losses import LogProbs, Loss, pair_losses
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


def make(
    kind: Any,
    form: Any = "paper",
    beta: float = 0.1,
    delta: float = 5.0,
    soft: Any = "off",
    smoothing: float = 0.0,
    smoothing_form: Any = "conservative",
    by_token: bool = False,
) -> Loss:
    return Loss(kind, beta, delta, form, soft, smoothing, smoothing_form, by_token)


def losses_of(loss: Loss, logps: LogProbs, q: Any = 1.0) -> mx.array:
    """The losses of pairs whose labels are as sure as `q`."""
    return pair_losses(loss, logps, mx.full(logps.policy_chosen.shape, mx.array(q, mx.float32)))


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
    if loss.length_normalize:
        pi_w, ref_w = pi_w / max(tokens_w, 1), ref_w / max(tokens_w, 1)
        pi_l, ref_l = pi_l / max(tokens_l, 1), ref_l / max(tokens_l, 1)
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


def gradients(loss: Loss, pair: tuple[float, ...], q: float = 1.0) -> tuple[float, float]:
    logps = logprobs(pair)

    def value(chosen: mx.array, rejected: mx.array) -> mx.array:
        rest = astuple(logps)[2:]
        return losses_of(loss, LogProbs(chosen, rejected, *rest), q).sum()

    by_chosen, by_rejected = mx.grad(value, argnums=(0, 1))(
        logps.policy_chosen, logps.policy_rejected
    )
    return number(by_chosen), number(by_rejected)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize(("kind", "form"), FORMS)
def test_value(kind: str, form: str, pair: tuple[float, ...]) -> None:
    for beta in (0.01, 0.1, 1.0):
        loss = make(kind, form, beta)
        found = number(losses_of(loss, logprobs(pair)))
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
    assert number(losses_of(make("sigmoid"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(losses_of(make("dpop"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(losses_of(make("dpop", "studio"), equal)) == pytest.approx(np.log(2), abs=1e-7)
    assert number(losses_of(make("hinge"), equal)) == 1.0
    assert number(losses_of(make("ipo", beta=0.1), equal)) == 25.0
    likelier = logprobs(PAIRS["winner likelier"])  # D = 3
    assert number(losses_of(make("sigmoid", beta=1.0), likelier)) == pytest.approx(0.04858735)
    assert number(losses_of(make("hinge", beta=0.1), likelier)) == pytest.approx(0.7)


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
        assert np.isfinite(number(losses_of(loss, logprobs(pair))))
        assert np.isfinite(gradients(loss, pair)).all()
    won = (margin / 2, -margin / 2, 0.0, 0.0, 10, 10)
    if kind in ("sigmoid", "dpop"):
        assert number(losses_of(make(kind, form), logprobs(won))) == pytest.approx(0, abs=1e-20)
        lost = number(losses_of(make("sigmoid"), logprobs((won[1], won[0], *won[2:]))))
        assert lost == pytest.approx(0.1 * margin, rel=1e-6)


# -- what the labels say -------------------------------------------------------------------------


def swapped(pair: Any) -> tuple[float, ...]:
    pi_w, pi_l, ref_w, ref_l, tokens_w, tokens_l = pair
    return pi_l, pi_w, ref_l, ref_w, tokens_l, tokens_w


def labelled_loss(loss: Loss, pair: Any, q: float) -> float:
    """The loss of one pair by what its label says, in float64, as the papers write it."""
    if loss.soft_labels == "geometric":
        pi_w, pi_l, ref_w, ref_l, tokens_w, tokens_l = (float(value) for value in pair)
        if loss.length_normalize:
            pi_w, ref_w = pi_w / max(tokens_w, 1), ref_w / max(tokens_w, 1)
            pi_l, ref_l = pi_l / max(tokens_l, 1), ref_l / max(tokens_l, 1)
        # The papers' geometric means of pi(w)^q pi(l)^(1 - q), and of the reference's.
        won = q * (pi_w - ref_w) + (1 - q) * (pi_l - ref_l)
        lost = q * (pi_l - ref_l) + (1 - q) * (pi_w - ref_w)
        return float(np.log1p(np.exp(-loss.beta * (won - lost))))
    one, other = reference_loss(loss, pair), reference_loss(loss, swapped(pair))
    if loss.soft_labels == "mix":
        return q * one + (1 - q) * other
    e = loss.label_smoothing
    if loss.label_smoothing_form == "robust":
        return ((1 - e) * one - e * other) / (1 - 2 * e)
    return (1 - e) * one + e * other


LABELS = [
    *(make(kind, form, soft="mix") for kind, form in FORMS),
    make("sigmoid", soft="geometric"),
    make("sigmoid", beta=1.0, soft="geometric"),
    *(make("sigmoid", smoothing=e) for e in (0.1, 0.45)),
    *(make("sigmoid", smoothing=e, smoothing_form="robust") for e in (0.1, 0.45)),
    *(make("sigmoid", beta=beta, by_token=True) for beta in (0.1, 2.0)),
    make("hinge", beta=2.0, by_token=True),
    *(make("sigmoid", beta=2.0, soft=soft, by_token=True) for soft in ("mix", "geometric")),
    make("sigmoid", beta=2.0, smoothing=0.1, by_token=True),
]


def label_id(loss: Loss) -> str:
    by_token = " by token" if loss.length_normalize else ""
    labels = f"{loss.soft_labels} {loss.label_smoothing}"
    return f"{loss.kind} {loss.dpop_form} {labels} {loss.beta}{by_token}"


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("loss", LABELS, ids=label_id)
def test_what_a_label_says_is_in_the_loss_and_in_its_slope(
    loss: Loss, pair: tuple[float, ...]
) -> None:
    for q in (0.5, 0.55, 0.8, 1.0):
        got = number(losses_of(loss, logprobs(pair), q))
        assert got == pytest.approx(labelled_loss(loss, pair, q), rel=3e-6, abs=3e-6)
        if loss.kind == "dpop" and (pair[0] == pair[2] or pair[1] == pair[3]):
            continue  # the kink of either order
        step = 1e-6
        for which, slope in enumerate(gradients(loss, pair, q)):
            up, down = list(pair), list(pair)
            up[which] += step
            down[which] -= step
            rise = labelled_loss(loss, up, q) - labelled_loss(loss, down, q)
            assert slope == pytest.approx(rise / (2 * step), rel=2e-5, abs=2e-6)


def test_a_geometric_label_scales_the_slope_by_itself() -> None:
    """At D = 0, where the sigmoid is a half whatever its factor: beta (2q - 1) / 2."""
    for q in (0.5, 0.6, 0.9, 1.0):
        by_chosen, by_rejected = gradients(make("sigmoid", soft="geometric"), PAIRS["equal"], q)
        assert by_chosen == pytest.approx(-0.1 * (2 * q - 1) / 2, abs=1e-8)
        assert by_rejected == pytest.approx(-by_chosen, abs=1e-8)


def test_labels_that_are_sure_change_nothing() -> None:
    logps = logprobs(*PAIRS.values())
    hard = np.array(losses_of(make("sigmoid"), logps))
    for loss in (make("sigmoid", soft="mix"), make("sigmoid", soft="geometric")):
        assert_close(np.array(losses_of(loss, logps)), hard)
    assert np.array_equal(np.array(losses_of(make("sigmoid"), logps, 0.6)), hard)


@pytest.mark.parametrize("e", [0.05, 0.2, 0.4])
def test_the_mean_of_robust_losses_over_wrong_labels_is_the_loss_without_them(e: float) -> None:
    robust = make("sigmoid", smoothing=e, smoothing_form="robust")
    logps = logprobs(*PAIRS.values())
    right, wrong = losses_of(robust, logps), losses_of(robust, logps.swapped())
    mean = (1 - e) * np.array(right) + e * np.array(wrong)
    assert_close(mean, np.array(losses_of(make("sigmoid"), logps)), 2e-6)


@pytest.mark.parametrize("loss", LABELS, ids=label_id)
def test_labels_of_extreme_margins_stay_finite(loss: Loss) -> None:
    if loss.kind == "ipo":
        pytest.skip("a square of the margin, which is finite by the test above")
    for margin in (1e3, -1e3, 1e15, -1e15):
        pair = (margin / 2, -margin / 2, 0.0, 0.0, 10, 10)
        assert np.isfinite(number(losses_of(loss, logprobs(pair), 0.7)))
        assert np.isfinite(gradients(loss, pair, 0.7)).all()


def test_a_mean_over_tokens_does_not_see_length() -> None:
    """An answer said twice has twice the sum and the same mean."""
    once = (-10.0, -14.0, -11.0, -12.0, 5, 7)
    twice = (-20.0, -14.0, -22.0, -12.0, 10, 7)
    by_token = make("sigmoid", beta=2.0, by_token=True)
    assert number(losses_of(by_token, logprobs(once))) == pytest.approx(
        number(losses_of(by_token, logprobs(twice))), rel=1e-6
    )
    assert gradients(by_token, twice)[0] == pytest.approx(gradients(by_token, once)[0] / 2)
    summed = make("sigmoid", beta=2.0)
    assert number(losses_of(summed, logprobs(once))) > number(losses_of(summed, logprobs(twice)))


def test_pairs_do_not_touch_each_other() -> None:
    for kind, form in FORMS:
        loss = make(kind, form)
        together = np.array(losses_of(loss, logprobs(*PAIRS.values())))
        alone = [number(losses_of(loss, logprobs(pair))) for pair in PAIRS.values()]
        assert_close(together, alone)
