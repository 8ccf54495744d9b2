"""The calls of a model's layers, replaced for a while.

Python looks a call up in the class, so the class is what has to change. Layers of other models of
the same kind are called as before, also by a thread that runs one meanwhile; a thread that wants to
change a class waits until it is as it was.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import mlx.nn as nn

Call = Callable[..., Any]  # of a layer and what it is given

_CHANGING = threading.RLock()


@contextmanager
def replaced_calls(module: nn.Module, wrap: Callable[[Call], Call]) -> Iterator[None]:
    """While open, each layer of the module is called by what `wrap` makes of its own call."""
    layers: Any = module.layers
    own = {id(layer) for layer in layers}

    def replaced(original: Call) -> Call:
        wrapped = wrap(original)

        def layer_call(layer: nn.Module, *args: Any, **kwargs: Any) -> Any:
            call = wrapped if id(layer) in own else original
            return call(layer, *args, **kwargs)

        return layer_call

    with _CHANGING:
        originals = {type(layer): type(layer).__call__ for layer in layers}
        for kind, original in originals.items():
            kind.__call__ = replaced(original)
        try:
            yield
        finally:
            for kind, original in originals.items():
                kind.__call__ = original
