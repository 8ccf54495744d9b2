"""What is asked of SmolLM2-135M-Instruct, by the tests and by the script that records answers."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"
RECORDED = Path(__file__).with_name("recorded.json")
QUESTIONS = (
    "What is the capital of France?",
    "Write 12345 in words: naïve café  two  spaces\n\nnew\tline 日本語 🎉",
    "def f(x):\n    return x**2 # it's",
)
ANSWER_TOKENS = 24
# prompt, chosen, rejected
PAIRS = (
    ("Name a colour.", "Blue.", "No."),
    ("What is two plus two?", "Two plus two is four.", "Five, I think"),
    ("Say hello.", "Hello! How can I help you today?", "what"),
    ("Who wrote Hamlet?", "William Shakespeare wrote it.", "Somebody wrote that a long time ago."),
)
# Which adapters, in the last layers: inputs and outputs by name.
LAYERS, RANK, SCALE, BETA = 2, 4, 2.0, 0.1
HIDDEN, KEYS, FEED_FORWARD = 576, 192, 1536
ADAPTED: Mapping[str, tuple[int, int]] = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, KEYS),
    "self_attn.v_proj": (HIDDEN, KEYS),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (HIDDEN, FEED_FORWARD),
    "mlp.up_proj": (HIDDEN, FEED_FORWARD),
    "mlp.down_proj": (FEED_FORWARD, HIDDEN),
}


def adapters() -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Path and the two matrices, (in, rank) and (rank, out), of each adapter, drawn from its
    path."""
    for layer in (28, 29):
        for name, (inputs, outputs) in ADAPTED.items():
            path = f"model.layers.{layer}.{name}"
            random = np.random.default_rng(list(path.encode()))
            a = random.normal(0, inputs**-0.5, (inputs, RANK)).astype(np.float32)
            yield path, a, random.normal(0, 0.02, (RANK, outputs)).astype(np.float32)


def summary(array: np.ndarray) -> list[float]:
    """An array in a few numbers: its norm, and some of its values."""
    flat = np.asarray(array, np.float64).ravel()
    return [float(np.linalg.norm(flat)), *flat[:: max(1, flat.size // 7)].tolist()]


Encode = Callable[[str], list[int]]


def pair_ids(encode: Encode, prompts: list[list[int]], end: int) -> list[tuple[list[int], ...]]:
    """Token ids of prompt, chosen and rejected; an answer ends with the end of turn."""
    return [
        (ids, [*encode(chosen), end], [*encode(rejected), end])
        for ids, (_, chosen, rejected) in zip(prompts, PAIRS, strict=True)
    ]
