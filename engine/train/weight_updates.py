"""The optimizer's step over the arrays that are trained, laid end to end.

Adapters are some hundred small arrays, and an optimizer's ten operations on each take longer to
start than to compute. Where it treats every number alike they are one array a dtype, with the
same result to the last bit.
"""

from collections.abc import Mapping
from math import prod

import mlx.core as mx
import mlx.optimizers as opt

from engine.model.arrays import Arrays

BY_SHAPE = (opt.Adafactor, opt.Muon)  # these look at an array's rows and columns
# Laid end to end they are copies: more than this, as in full training, is updated one by one.
MOST_BYTES = 256 << 20


class WeightUpdates:
    """An optimizer and its state, which is known by the names of the weights.

    Args:
        weights: all that are trained, as they are at the start.
    """

    def __init__(self, optimizer: opt.Optimizer, weights: Arrays) -> None:
        self._optimizer = optimizer
        self._shapes = {name: array.shape for name, array in weights.items()}
        self._groups = _groups(optimizer, weights)
        optimizer.init(self._joined(weights))

    @property
    def learning_rate(self) -> mx.array:
        """The rate of the newest update, or of the first where there was none."""
        return mx.array(self._optimizer.learning_rate)  # pyright: ignore[reportArgumentType]

    @property
    def state(self) -> Arrays:
        """Counts and rates by their names; what is kept of a weight by its name and the
        optimizer's, with a dot between."""
        numbers, slots = {}, {}
        for key, value in self._optimizer.state.items():
            if not isinstance(value, Mapping):
                numbers[key] = value
                continue
            for slot, array in value.items():
                split = self._split({key: array})
                slots |= {f"{name}.{slot}": each for name, each in split.items()}
        return dict(sorted((numbers | slots).items()))

    @state.setter
    def state(self, arrays: Arrays) -> None:
        """Take a state of before.

        Raises:
            KeyError: something of a weight is missing.
        """
        slots: dict[str, list[str]] = {}
        for key in arrays:
            name, _, slot = key.rpartition(".")
            slots.setdefault(name, []).append(slot)
        numbers = {name: arrays[name] for name in slots.get("", [])}
        self._optimizer.state = numbers | {
            key: {
                slot: _joined([arrays[f"{name}.{slot}"] for name in names])
                for slot in slots.get(names[0], [])
            }
            for key, names in self._groups.items()
        }

    def apply(self, gradients: Arrays, weights: Arrays, scale: float) -> Arrays:
        """The weights after a step with `scale` times the gradients."""
        joined = {key: array * scale for key, array in self._joined(gradients).items()}
        return self._split(self._optimizer.apply_gradients(joined, self._joined(weights)))

    def _joined(self, arrays: Arrays) -> Arrays:
        return {
            key: _joined([arrays[name] for name in names]) for key, names in self._groups.items()
        }

    def _split(self, joined: Arrays) -> Arrays:
        weights: Arrays = {}
        for key, array in joined.items():
            start, names = 0, self._groups[key]
            for name in names:
                shape = self._shapes[name]
                end = start + prod(shape)
                weights[name] = array if len(names) == 1 else array[start:end].reshape(shape)
                start = end
        return weights


def _joined(arrays: list[mx.array]) -> mx.array:
    return arrays[0] if len(arrays) == 1 else mx.concatenate([each.reshape(-1) for each in arrays])


def _groups(optimizer: opt.Optimizer, weights: Arrays) -> dict[str, list[str]]:
    """Names of the weights that are updated together, by a name for them."""
    if isinstance(optimizer, BY_SHAPE) or sum(a.nbytes for a in weights.values()) > MOST_BYTES:
        return {name: [name] for name in weights}
    groups: dict[str, list[str]] = {}
    for name, array in weights.items():
        groups.setdefault(str(array.dtype), []).append(name)
    return groups
