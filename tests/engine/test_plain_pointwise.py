"""Norms, angles and gates in numpy: in blocks as in one piece, and their slopes."""

from collections.abc import Callable

import numpy as np
import pytest

from engine.plain import pointwise
from engine.plain.pointwise import Norm, gated, gated_back, rotated

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
    np.testing.assert_allclose(norm(x), wanted, atol=1e-5)
    d_x = norm.back(x, norm.size(x), d_y.copy())
    along = float((d_x * x).sum())
    assert along == pytest.approx(slope(norm, x, d_y), abs=1e-2)


def test_turning_back_undoes_a_turn() -> None:
    angle = random(4, 7)
    cosine, sine = np.cos(angle), np.sin(angle)
    x = random(3, 8, 7)
    turned = rotated(x, cosine, sine)
    np.testing.assert_allclose(turned[:, :4], x[:, :4] * cosine - x[:, 4:] * sine, atol=1e-5)
    np.testing.assert_allclose(rotated(turned, cosine, -sine), x, atol=1e-5)


def test_a_gate_and_its_slope() -> None:
    gate, up, d_y = random(24, 7), random(24, 7), random(24, 7)
    gate[0] = (-200, -90, -20, 0, 20, 90, 200)
    with np.errstate(over="ignore"):
        result = gated(gate, up)
        wide = gate.astype(np.float64)
        np.testing.assert_allclose(result, wide / (1 + np.exp(-wide)) * up, atol=1e-4)
        by_gate = slope(lambda gate: gated(gate, up), gate, d_y)
        by_up = slope(lambda up: gated(gate, up), up, d_y)
        d_gate, active, d_up = gate.copy(), up.copy(), d_y.copy()
        gated_back(d_gate, active, d_up)
    np.testing.assert_allclose(active, result, rtol=1e-5, atol=1e-5)
    assert float((d_gate * gate).sum()) == pytest.approx(by_gate, rel=1e-2)
    assert float((d_up * up).sum()) == pytest.approx(by_up, rel=1e-2)
