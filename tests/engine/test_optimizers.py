"""Optimizers and learning-rate schedules, as numbers."""

import math
from itertools import pairwise
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import UserError
from engine.train.optimizers import OPTIMIZERS, build_optimizer, learning_rate
from tests.engine.small_models import number, settings

pytestmark = pytest.mark.quick


PEAK, FINAL, START, UPDATES, WARMUP = 1e-3, 1e-5, 1e-7, 101, 11
DECAY = round(0.8 * (UPDATES - WARMUP))


def rates(updates: int = UPDATES, **schedule: Any) -> list[float]:
    """The rate of every update of a run, as an optimizer takes them."""
    chosen = settings(learning_rate=PEAK, optimizer="sgd", lr_schedule=schedule)
    optimizer = build_optimizer(chosen, updates)
    weights = {"w": mx.array(1.0)}
    found = []
    for _ in range(updates):
        weights = optimizer.apply_gradients({"w": mx.array(1.0)}, {"w": mx.array(1.0)})
        found.append(number(optimizer.learning_rate))  # pyright: ignore[reportArgumentType]
        assert 1.0 - number(weights["w"]) == pytest.approx(found[-1], abs=1e-6)
    return found


def expected(name: str, update: int) -> float:
    """The rate of an update, from 0, in float64."""
    if update < WARMUP:
        return START + (PEAK - START) * update / WARMUP
    passed = min((update - WARMUP) / DECAY, 1.0)
    if name == "cosine_decay":
        return FINAL + (PEAK - FINAL) * 0.5 * (1 + math.cos(math.pi * passed))
    if name == "linear_schedule":
        return PEAK + (FINAL - PEAK) * passed
    if name == "exponential_decay":
        return PEAK * (FINAL / PEAK) ** passed
    falls = (update - WARMUP) // (DECAY // 10)
    return max(FINAL, PEAK * (FINAL / PEAK) ** (falls / 10))


@pytest.mark.parametrize(
    "name", ["cosine_decay", "linear_schedule", "exponential_decay", "step_decay"]
)
def test_a_schedule_climbs_falls_and_stays(name: str) -> None:
    found = rates(name=name, warmup=WARMUP, warmup_init=START, final_rate=FINAL)
    for update in (0, 1, WARMUP - 1, WARMUP, WARMUP + 1, WARMUP + DECAY // 2, WARMUP + DECAY, 100):
        assert found[update] == pytest.approx(expected(name, update), rel=1e-4), update
    assert found[WARMUP + DECAY :] == pytest.approx([FINAL] * (UPDATES - WARMUP - DECAY), rel=1e-4)
    assert max(found) == pytest.approx(PEAK)
    assert min(found) == pytest.approx(START)


def test_constant() -> None:
    assert rates(name="constant") == pytest.approx([PEAK] * UPDATES)
    warmed = rates(name="constant", warmup=4, warmup_init=0.0)
    assert warmed[:5] == pytest.approx([0, PEAK / 4, PEAK / 2, PEAK * 3 / 4, PEAK])
    assert warmed[5:] == pytest.approx([PEAK] * (UPDATES - 5))


@pytest.mark.parametrize("updates", [1, 2, 3, 7])
@pytest.mark.parametrize("name", ["constant", "cosine_decay", "linear_schedule", "step_decay"])
def test_a_run_shorter_than_its_warmup_still_reaches_the_peak(name: str, updates: int) -> None:
    found = rates(updates, name=name, warmup=40, final_rate=FINAL)
    assert found[-1] == pytest.approx(PEAK)
    assert all(0 < rate <= PEAK * 1.0001 for rate in found)


def test_arguments_are_those_of_mlx_lm() -> None:
    found = rates(name="cosine_decay", arguments=[PEAK, 50, FINAL], warmup=10, warmup_init=START)
    assert found[0] == pytest.approx(START)
    assert found[11] == pytest.approx(PEAK)
    assert found[-1] == pytest.approx(FINAL)
    assert rates(name="exponential_decay", arguments=[PEAK, 0.5])[:3] == pytest.approx(
        [PEAK, PEAK / 2, PEAK / 4]
    )
    assert rates(name="step_decay", arguments=[PEAK, 0.1, 50])[49:51] == pytest.approx(
        [PEAK, PEAK / 10]
    )


@pytest.mark.parametrize("updates", [1, 3, 9, 10, 20])
@pytest.mark.parametrize("name", ["linear_schedule", "exponential_decay", "step_decay"])
def test_a_short_decay_reaches_its_end(name: str, updates: int) -> None:
    found = rates(
        updates + 1, name=name, warmup=0, decay_fraction=updates / (updates + 1), final_rate=FINAL
    )
    assert found[0] == pytest.approx(PEAK)
    assert found[-1] == pytest.approx(FINAL, rel=1e-4)
    assert min(found[:-1]) > FINAL


def test_schedules_never_leave_their_bounds() -> None:
    for name in ("cosine_decay", "linear_schedule", "exponential_decay", "step_decay"):
        for fraction in (0.01, 0.5, 1.0):
            found = rates(40, name=name, warmup=0, decay_fraction=fraction, final_rate=FINAL)
            assert all(np.isfinite(found))
            assert min(found) >= FINAL * 0.9999
            assert max(found) <= PEAK * 1.0001
            assert all(after <= before * 1.0001 for before, after in pairwise(found))


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_an_optimizer_follows_the_learning_rate(name: Any) -> None:
    """Ten times the rate is ten times the first step, in every rule."""

    def step(rate: float) -> np.ndarray:
        optimizer = build_optimizer(settings(optimizer=name, learning_rate=rate), 10)
        start = mx.array(np.linspace(-1, 1, 12).reshape(3, 4) / 100, mx.float32)
        gradient = mx.array(np.linspace(2, 1, 12).reshape(3, 4), mx.float32)
        if name in ("adamw", "lion", "muon"):  # weight decay follows it too
            start = start * 0
        after = optimizer.apply_gradients({"w": gradient}, {"w": start})["w"]
        return np.array(after - start)

    small, large = step(1e-4), step(1e-3)
    assert np.abs(small).max() > 0
    np.testing.assert_allclose(large, 10 * small, rtol=2e-2, atol=1e-7)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_gradient_of_zeros_gives_no_bad_numbers(name: Any) -> None:
    """The first step of LoRA: half of the adapters has none yet."""
    optimizer = build_optimizer(settings(optimizer=name), 10)
    weights = {"a": mx.ones((4, 4)), "m": mx.ones((4,))}
    for _ in range(3):
        zeros = {key: mx.zeros_like(value) for key, value in weights.items()}
        weights = optimizer.apply_gradients(zeros, weights)
    for array in weights.values():
        assert np.isfinite(np.array(array)).all()


def test_an_optimizers_own_arguments_reach_it() -> None:
    chosen = settings(optimizer="adamw", optimizer_config={"adamw": {"weight_decay": 0.3}})
    assert build_optimizer(chosen, 10).weight_decay == 0.3  # pyright: ignore[reportAttributeAccessIssue]
    other = settings(optimizer="adam", optimizer_config={"adamw": {"weight_decay": 0.3}})
    assert type(build_optimizer(other, 10)).__name__ == "Adam"


def test_arguments_that_do_not_fit_are_named() -> None:
    chosen = settings(optimizer="sgd", optimizer_config={"sgd": {"speed": 3}})
    with pytest.raises(UserError, match=r"optimizer_config\.sgd"):
        build_optimizer(chosen, 10)
    chosen = settings(lr_schedule={"name": "cosine_decay", "arguments": [1e-3]})
    with pytest.raises(UserError, match=r"lr_schedule\.arguments"):
        learning_rate(chosen, 10)
