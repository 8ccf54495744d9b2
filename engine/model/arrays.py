"""Trees of arrays as flat dictionaries, in memory and on disk."""

from pathlib import Path
from typing import Any, cast

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten

Arrays = dict[str, mx.array]


def flat(tree: Any) -> Arrays:
    """The arrays of a tree by dotted name, sorted, so that sums over them have one order."""
    return dict(sorted(cast(list[tuple[str, mx.array]], tree_flatten(tree))))


def tree(arrays: Arrays) -> Any:
    """The tree that `flat` took apart."""
    return tree_unflatten(list(arrays.items()))


def save(path: Path, arrays: Arrays) -> None:
    """Write a safetensors file."""
    mx.save_safetensors(str(path), arrays)


def load(path: Path) -> Arrays:
    """Read a safetensors file.

    Raises:
        RuntimeError, ValueError: it is none.
    """
    return dict(sorted(cast(Arrays, mx.load(str(path), format="safetensors")).items()))
