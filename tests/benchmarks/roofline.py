"""How near a phase comes to its roofline: `python -m tests.benchmarks.roofline`.

Update: the multiply-adds that it cannot avoid, at the speed of a matrix product of the same number
of rows, measured in the same run. With the prompt shared, that is for each token of a prompt and
of its two completions a forward pass of the reference, one of the policy, and a backward pass to
the activations (weights are frozen), the last feed-forward part only where it leads to logits;
causal attention; logits of the completions; the adapters.

Decode: for each token the multiply-adds of all rows at the same speed, or the weights read from
memory once, whichever takes longer.

At small sizes elementwise work rules on this backend. `shares` says what the parts of a step
are: matrices (the count above, at the measured speed), drawing tokens, Python (sampling with tiny
matrices, less the drawing), waiting (no thread of ours ran), and the rest, which is elementwise
work.

Where time goes, in percent: one thread, two pairs, by a sampling profiler over lines (Linux, numpy
2 with its OpenBLAS). "update" is a whole one: reference, policy forward and back, optimizer.

    |                                    | peers' setting    | the 82 M shape    |
    |                                    | sampling | update | sampling | update |
    |------------------------------------|----------|--------|----------|--------|
    | products with weights              |       68 |     46 |       86 |     68 |
    | attention                          |       14 |     15 |        5 |      8 |
    | norms, gates, angles, residuals    |        9 |     16 |        5 |      9 |
    | adapters, and their gradient       |        0 |      5 |        3 |      7 |
    | logits of the vocabulary, drawing  |        9 |      6 |        1 |      4 |
    | MLX: optimizer, norms, views       |        0 |     12 |        0 |      4 |

The products of an update run at 0.86 of the speed that the roofline takes from one product of all
rows: each core has a part of the pairs, and packs the weights for itself. That and the 32 percent
beside them keep it below two thirds of the roofline. A product of eight rows runs at half the speed
of one of sixteen: BLAS fills its registers by sixteens.
"""

import argparse
import math
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import mlx.core as mx

from tests.benchmarks.contest import Setting
from tests.benchmarks.parts import Parts, fastest
from tests.benchmarks.random_model import MEDIUM, SMALL, STARTER, Shape

RANK = 8


def layer_weights(shape: Shape) -> int:
    """Numbers in the matrices of all layers."""
    return sum(math.prod(size) for size in layer_matrices(shape))


def layer_matrices(shape: Shape) -> list[tuple[int, ...]]:
    """Their sizes."""
    return [
        size for name, size in shape.weights().items() if len(size) == 2 and "embed" not in name
    ]


def scored_tokens(setting: Setting) -> tuple[int, int]:
    """Tokens of the prompts and their completions, and those of them that have logits."""
    logits = 2 * (setting.completion - 1) + 1
    return setting.pairs * (setting.prompt - 1 + logits), setting.pairs * logits


def forward(setting: Setting) -> tuple[int, int, int, int]:
    """Multiply-adds of one pass: layers, their adapters, causal attention, logits."""
    shape, prompt, completion = setting.shape, setting.prompt, setting.completion
    tokens, scored = scored_tokens(setting)
    skipped = tokens - scored  # by the last feed-forward part
    layers = tokens * layer_weights(shape) - skipped * 3 * shape.hidden * shape.feed_forward
    adapters = tokens * RANK * sum(sum(size) for size in layer_matrices(shape))
    adapters -= skipped * RANK * 3 * (shape.hidden + shape.feed_forward)
    seen = prompt * (prompt + 1) // 2 + 2 * sum(prompt + n for n in range(1, completion))
    attention = 2 * setting.pairs * seen * shape.heads * shape.head_width * shape.layers
    logits = 2 * setting.pairs * completion * shape.vocabulary * shape.hidden
    return layers, adapters, attention, logits


def update_multiply_adds(setting: Setting) -> int:
    """Of the reference's pass, the policy's, and its backward pass."""
    layers, adapters, attention, logits = forward(setting)
    return 3 * layers + 3 * adapters + 4 * attention + 3 * logits


def matrix_speed(rows: int, shape: Shape) -> float:
    """Multiply-adds a second of (rows, hidden) @ (hidden, feed-forward)."""
    x = mx.random.normal((rows, shape.hidden))
    weights = [mx.random.normal((shape.feed_forward, shape.hidden)) for _ in range(8)]
    mx.eval(x, weights)
    seconds = fastest(lambda: mx.eval([x @ weight.T for weight in weights]), 7)
    return len(weights) * rows * shape.hidden * shape.feed_forward / seconds


def read_speed() -> float:
    """Bytes a second of reading a matrix of 256 MiB once, as a product with a vector."""
    matrix, vector = mx.random.normal((1 << 16, 1 << 10)), mx.random.normal((1 << 10,))
    mx.eval(matrix, vector)
    return matrix.nbytes / fastest(lambda: mx.eval(matrix @ vector), 7)


def measure(setting: Setting, parts: Parts, times: int) -> dict[str, float]:
    """Shares of the roofline that update and decode reach, and what they were taken from."""
    shape, rows = setting.shape, 2 * setting.pairs
    speed = matrix_speed(scored_tokens(setting)[0], shape)
    update = fastest(parts.update, times)
    long, short = setting.completion, setting.completion // 2
    decode = fastest(parts.sample, times) - fastest(lambda: parts.sample(short), times)
    weights = layer_weights(shape) + shape.vocabulary * shape.hidden
    least = max(rows * weights / speed, 4 * weights / read_speed())
    return {
        "matrix GFLOP/s": 2 * speed / 1e9,
        "update seconds": update,
        "update / roofline": update_multiply_adds(setting) / speed / update,
        "decode seconds a token": decode / (long - short),
        "decode / roofline": least * (long - short) / decode,
    }


def shares(setting: Setting, parts: Parts, times: int) -> dict[str, float]:
    """What shares of a step's seconds its parts are; they add up to 1."""
    shape, rows = setting.shape, 2 * setting.pairs
    tokens = scored_tokens(setting)[0]
    read_by_judge = forward(setting)[0]  # about as much as one pass
    scored = update_multiply_adds(setting) + read_by_judge
    sampled = rows * setting.completion * (layer_weights(shape) + shape.vocabulary * shape.hidden)
    matrices = scored / matrix_speed(tokens, shape) + sampled / matrix_speed(rows, shape)
    values = mx.random.normal((rows, shape.vocabulary))
    keys = [mx.random.split(mx.random.key(at), rows) for at in range(setting.completion)]
    drawing = fastest(lambda: mx.eval([parts.sampler.draw(values, key) for key in keys]), times)
    with tempfile.TemporaryDirectory() as folder:
        tiny = replace(shape, hidden=16, feed_forward=16, head_width=4)
        sampling = fastest(Parts(replace(setting, shape=tiny), Path(folder)).sample, times)

    def step() -> None:
        parts.sample()
        parts.judge()
        parts.update()

    step()
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(times):
        step()
    wall = (time.perf_counter() - wall) / times
    processor = (time.process_time() - processor) / times
    python = max(0.0, sampling - drawing)  # the tiny model's vocabulary is the whole one
    found = {"matrices": matrices, "drawing": drawing, "Python": python}
    found["waiting"] = max(0.0, wall - processor)
    found["elementwise and the rest"] = wall - sum(found.values())
    return {name: seconds / wall for name, seconds in found.items()}


SETTINGS = {
    "the peers' setting": Setting("small", SMALL),
    "the starter's size": Setting("starter", STARTER, pairs=16, prompt=24, completion=24),
    "the 82 M shape": Setting("medium", MEDIUM),
    "long prompts": Setting("long", SMALL, prompt=512, completion=128),
}


def main() -> None:
    from rich import print

    parser = argparse.ArgumentParser(description="How near a phase comes to its roofline.")
    parser.add_argument("--times", type=int, default=3, help="the best of so many")
    times = parser.parse_args().times
    for name, setting in SETTINGS.items():
        with tempfile.TemporaryDirectory() as folder:
            parts = Parts(setting, Path(folder))
            print(name, measure(setting, parts, times), shares(setting, parts, times))


if __name__ == "__main__":
    from engine.machine.blas import load_fast_blas

    load_fast_blas()
    main()
