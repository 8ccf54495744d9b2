"""Weights that a name and a shape alone decide, so that a recording needs none of them.

Legacy generators of NumPy promise the same numbers in every version.
"""

import re
import zlib
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

Shapes = dict[str, list[int]]
Packed = list[tuple[str, list[int], list[list[int]]]]
NUMBER = re.compile(r"(?<=\.)\d+(?=\.)")


def write(folder: Path, shapes: Shapes) -> None:
    """Write model.safetensors with a float32 tensor of every name and shape."""
    tensors = {name: seeded(name, shape) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def seeded(name: str, shape: list[int]) -> np.ndarray:
    """float32 numbers of a size that a trained model has; norms lie around 1."""
    alone = name.replace("language_model.", "")  # a text model is the same in a wrapper
    noise = np.random.RandomState(zlib.crc32(alone.encode())).standard_normal(shape)
    if name.endswith("A_log"):  # decays between 0.4 and 3
        noise = np.clip(noise, -1, 1)
    elif len(shape) == 1 and name.endswith("weight"):
        noise = 1 + 0.2 * noise
    elif "embed" in name:
        noise = 0.7 * noise
    elif len(shape) > 1:
        noise = 1.5 * noise / np.sqrt(shape[-1])
    else:
        noise = 0.3 * noise
    return np.ascontiguousarray(noise, np.float32)


def pack(shapes: Shapes) -> Packed:
    """Tensors that differ by the numbers in their names alone as one, with these numbers."""
    packed: dict[tuple[str, tuple[int, ...]], list[list[int]]] = {}
    for name, shape in shapes.items():
        numbers = [int(number) for number in NUMBER.findall(name)]
        packed.setdefault((NUMBER.sub("{}", name), tuple(shape)), []).append(numbers)
    return [(name, list(shape), every) for (name, shape), every in packed.items()]


def unpack(packed: Packed) -> Shapes:
    """Shapes by name, of what `pack` made."""
    return {name.format(*numbers): shape for name, shape, every in packed for numbers in every}
