"""Norms, angles and gates in numpy: in blocks as in one piece, and their slopes."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.compute.numpy import pointwise
from engine.compute.numpy.pointwise import Norm, gated, gated_back, rotated
from tests.close import assert_close

GENERATOR = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


@pytest.fixture(params=[1 << 20, 100], ids=["whole", "blocks"], autouse=True)
def block_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pointwise, "BLOCK_BYTES", request.param)


def slope(function: Callable[[np.ndarray], np.ndarray], x: np.ndarray, d_y: np.ndarray) -> float:
    """Of the sum of function(x) d_y, along x's own direction, by central differences."""
    ahead, behind = (float((function(x + step * x) * d_y).sum()) for step in (1e-3, -1e-3))
    return (ahead - behind) / 2e-3


@pytest.mark.parametrize("shape", [(24, 7), (3, 8, 7)])
def test_a_norm_and_its_slope(shape: tuple[int, ...]) -> None:
    norm = Norm(random(*shape[:-1], 1), 0.1)
    x, d_y = random(*shape), random(*shape)
    wide = x.astype(np.float64)
    wanted = wide / np.sqrt((wide**2).mean(axis=-2, keepdims=True) + 0.1) * norm.weight
    assert_close(norm(x), wanted)
    d_x = norm.back(x, norm.size(x), d_y.copy())
    along = float((d_x * x).sum())
    assert along == pytest.approx(slope(norm, x, d_y), abs=1e-2)


def test_turning_back_undoes_a_turn() -> None:
    angle = random(4, 7)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = random(3, 8, 7)
    turned = rotated(x, cosine, sine)
    assert_close(turned[:, :4], x[:, :4] * cosine - x[:, 4:] * sine)
    assert_close(rotated(turned, cosine, -sine), x)


def test_a_gate_and_its_slope() -> None:
    gate, up, d_y = random(24, 7), random(24, 7), random(24, 7)
    gate[0] = (-200, -90, -20, 0, 20, 90, 200)
    with np.errstate(over="ignore"):
        result = gated(gate, up)
        wide = gate.astype(np.float64)
        assert_close(result, wide / (1 + np.exp(-wide)) * up)
        by_gate = slope(lambda gate: gated(gate, up), gate, d_y)
        by_up = slope(lambda up: gated(gate, up), up, d_y)
        d_gate, active, d_up = gate.copy(), up.copy(), d_y.copy()
        gated_back(d_gate, active, d_up)
    assert_close(active, result)
    assert float((d_gate * gate).sum()) == pytest.approx(by_gate, rel=1e-2)
    assert float((d_up * up).sum()) == pytest.approx(by_up, rel=1e-2)
