"""How a batch is shared out among ranks, and what of a policy all ranks have to have alike."""

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from engine.distributed.group import Group
from engine.model.arrays import Arrays, flat
from engine.train.update import Sums, Update

HEADER = 4096  # bytes in which rank 0 tells where it is

# -- who computes what -----------------------------------------------------------------------------


def dealt(sizes: Sequence[int], ranks: int) -> list[list[int]]:
    """Places of a batch by rank, as many for each as for another or one more, and of about the
    same size: the longest go out first, in turn, there and back."""
    order = sorted(range(len(sizes)), key=lambda at: -sizes[at])
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for turn, at in enumerate(order):
        there, back = divmod(turn, ranks)
        shares[back if there % 2 == 0 else ranks - 1 - back].append(at)
    return [sorted(share) for share in shares]


def by_weight(weights: Sequence[int], ranks: int) -> list[slice]:
    """A batch in order, cut into a part for each rank, of about the same weight."""
    ends = np.cumsum(weights) if len(weights) else np.zeros(1)
    goals = [ends[-1] * (rank + 1) / ranks for rank in range(ranks - 1)]
    cuts = [int(np.abs(np.concatenate([[0], ends]) - goal).argmin()) for goal in goals]
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(weights)], strict=True)]


# -- sums ------------------------------------------------------------------------------------------


def zeros(update: Update) -> Sums:
    """The sums over no pair."""
    trained = flat(update.policy.model.trainable_parameters())
    gradients = {name: mx.zeros_like(array) for name, array in trained.items()}
    return Sums(0.0, np.zeros((0, 2, 2), np.float32), gradients)


def reduced(
    group: Group, gradients: Arrays, pairs: int, alive: Callable[[], None], *, short: bool = False
) -> tuple[Arrays, int, int]:
    """Gradients and a number of pairs, summed over ranks as one flat array a dtype; and a
    checksum, by which ranks see that they have the same. With `short`, gradients are summed in
    bfloat16 and then are what they were before."""
    total: Arrays = {}
    check, count = 0, math.nan
    sent = {name: mx.bfloat16 if short else each.dtype for name, each in gradients.items()}
    for dtype in sorted({mx.float32, *sent.values()}, key=str):
        same = {name: each for name, each in gradients.items() if sent[name] == dtype}
        parts = [each.astype(dtype).reshape(-1) for each in same.values()]
        if dtype == mx.float32:  # exact up to 16 million pairs
            parts.append(mx.array([pairs], mx.float32))
        sums = group.sum(_bits(mx.concatenate(parts)), dtype, alive)
        check = zlib.crc32(sums.tobytes(), check)
        if dtype == mx.float32:
            count = float(sums[-1])
        array, at = _array(sums, dtype), 0
        for name, each in same.items():
            total[name] = array[at : at + each.size].reshape(each.shape).astype(each.dtype)
            at += each.size
    return {name: total[name] for name in gradients}, round(count) if count == count else -1, check


def _bits(array: mx.array) -> np.ndarray:
    return np.array(array.view(mx.uint16) if array.dtype == mx.bfloat16 else array)


def _array(bits: np.ndarray, dtype: mx.Dtype) -> mx.array:
    array = mx.array(bits)
    return array if array.dtype == dtype else array.view(dtype)


# -- what is alike ---------------------------------------------------------------------------------


def state_arrays(update: Update) -> Arrays:
    """What is trained, what the optimizer keeps, and gradients that wait."""
    parts = {
        "weights": flat(update.policy.model.trainable_parameters()),
        "optimizer": update.optimizer.state,
        "gradients": update.gradients or {},
    }
    return {f"{part}/{name}": each for part, some in parts.items() for name, each in some.items()}


def take_state(
    update: Update,
    data: bytes,
    shapes: Sequence[tuple[str, list[int], str]],
    counts: Mapping[str, int],
) -> None:
    """Become what `state_arrays` of rank 0 are, from the bytes of these shapes and dtypes."""
    parts: dict[str, Arrays] = {"weights": {}, "optimizer": {}, "gradients": {}}
    at = 0
    for key, shape, name in shapes:
        part, _, path = key.partition("/")
        dtype: mx.Dtype = getattr(mx, name.rpartition(".")[2])
        size = math.prod(shape) * dtype.size
        bits = mx.array(np.frombuffer(data, np.uint8, size, at))
        parts[part][path] = bits.view(dtype).reshape(shape)
        at += size
    update.policy.model.load_weights(list(parts["weights"].items()), strict=False)
    update.optimizer.state = parts["optimizer"]
    update.gradients = parts["gradients"] or None
    update.gradient_pairs, update.steps_since_update = counts["pairs"], counts["steps"]
    mx.eval(update.policy.model.trainable_parameters(), update.optimizer.state)


def to_bytes(arrays: Arrays) -> bytes:
    """The bytes of arrays, one after another."""
    flat_bytes = (np.array(each.reshape(-1).view(mx.uint8)) for each in arrays.values())
    return b"".join(each.tobytes() for each in flat_bytes)


def state_digest(update: Update) -> str:
    """By which ranks see that they are alike."""
    return hashlib.sha256(to_bytes(state_arrays(update))).hexdigest()


def header(facts: dict[str, Any]) -> bytes:
    """Facts in `HEADER` bytes."""
    data = json.dumps(facts).encode()
    return data.ljust(HEADER)


def start_file(data: str | None, folder: Path) -> Path | None:
    """The file of adapters that rank 0 starts from, as it sent it."""
    if data is None:
        return None
    file = folder / "start.safetensors"
    file.write_bytes(base64.b64decode(data))
    return file
