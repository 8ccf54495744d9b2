"""Shapes of padded batches: few, whatever comes, and every pair has its place."""

import random

import pytest

from engine.compute.shapes import MOST, Shape, fitting, grouped, joint_shapes

RUNS = [(1, 1, 1, 1), (4, 1_536, 512, 8_192), (8, 100, 24, 256), (64, 31, 3, 100_000)]


@pytest.mark.parametrize("run", RUNS)
def test_they_are_few_and_hold_all_that_a_run_can_bring(run: tuple[int, int, int, int]) -> None:
    pairs, prompt, completion, tokens = run
    shapes = joint_shapes(*run)
    assert len(set(shapes)) == len(shapes) <= MOST
    assert fitting(shapes, Shape(1, prompt, completion))
    assert all(each.prompt <= prompt and each.completion <= completion for each in shapes)
    assert all(each.pairs == 1 or each.tokens <= tokens for each in shapes)
    assert fitting(shapes, Shape(pairs + 1, 1, 1)) is None


def test_the_one_of_fewest_tokens_is_taken() -> None:
    shapes = joint_shapes(8, 81 * 16, 64, 1_000_000)
    assert fitting(shapes, Shape(3, 10, 16)) == Shape(4, 16, 16)
    assert fitting(shapes, Shape(5, 17, 33)) == Shape(8, 48, 64)


@pytest.mark.parametrize("seed", range(20))
def test_every_pair_has_its_place_in_order(seed: int) -> None:
    draw = random.Random(seed)
    pairs, prompt, completion, tokens = draw.choice(RUNS)
    shapes = joint_shapes(pairs, prompt, completion, tokens)
    sizes = [(draw.randint(1, prompt), draw.randint(1, completion)) for _ in range(pairs)]
    start = 0
    for count, shape in grouped(shapes, sizes):
        group = sizes[start : start + count]
        longest = Shape(count, max(p for p, _ in group), max(c for _, c in group))
        assert shape in shapes
        assert shape
        assert shape.holds(longest)
        start += count
    assert start == pairs


def test_a_pair_that_is_longer_than_any_has_none() -> None:
    shapes = joint_shapes(2, 32, 16, 1_000)
    assert list(grouped(shapes, [(10, 4), (40, 4), (5, 4)])) == [
        (1, Shape(1, 16, 16)),
        (1, None),
        (1, Shape(1, 16, 16)),
    ]
