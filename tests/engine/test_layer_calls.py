"""Calls of layers are replaced for one model, by one thread at a time, and put back."""

import threading
from typing import Any

import mlx.core as mx

from engine.compute.layer_calls import replaced_calls
from tests.engine.small_models import QWEN3, make_model

WAIT = 60.0  # seconds for what has to happen


def counted(calls: list[int]) -> Any:
    """Wraps a call, and counts."""

    def wrap(original: Any) -> Any:
        def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append(1)
            return original(layer, *args, **kwargs)

        return call

    return wrap


def test_layers_of_another_model_are_called_as_before() -> None:
    model, other = make_model(QWEN3), make_model(QWEN3, seed=1)
    ids, calls = mx.array([[1, 2, 3]]), list[int]()
    kind: Any = type(model.layers[0])  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
    original = kind.__call__
    with replaced_calls(model, counted(calls)):
        other(ids)
        assert not calls
        model(ids)
    layers: Any = model.layers
    assert len(calls) == len(layers)
    assert kind.__call__ is original


def test_a_second_thread_waits_until_the_calls_are_put_back() -> None:
    """Else the first would put back its own while the second runs, and the second the first's."""
    model, other = make_model(QWEN3), make_model(QWEN3, seed=1)
    kind: Any = type(model.layers[0])  # pyright: ignore[reportIndexIssue, reportOptionalSubscript]
    original, inside, began = kind.__call__, threading.Event(), threading.Event()

    def change() -> None:
        began.set()
        with replaced_calls(other, counted([])):
            inside.set()

    thread = threading.Thread(target=change)
    with replaced_calls(model, counted([])):
        thread.start()
        assert began.wait(WAIT)
        assert not inside.wait(0.2)
    assert inside.wait(WAIT)
    thread.join(WAIT)
    assert kind.__call__ is original
