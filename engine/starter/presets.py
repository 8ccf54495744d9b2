"""Ready-made settings for the bundled world: key -> value, everything else at its default."""

from typing import Any

_STARTER: dict[str, Any] = {
    "model": "starter",
    "data": "starter",
    "judge": "starter",
    "judge_system": (
        "Prefer the answer that is correct and polite. A correct answer beats a wrong one; "
        "between two that are alike in that, the more polite one wins."
    ),
    "train_type": "lora",
    "quantization": "none",
    "num_layers": -1,
    "lora_parameters": {"rank": 8, "scale": 2.0},
    "iters": 90,
    "batch_size": 16,
    "learning_rate": 3e-4,
    "optimizer": "adam",
    "grad_checkpoint": False,
    "steps_per_report": 5,
    "steps_per_eval": 30,
    "save_every": 30,
    "max_seq_length": 256,
    "beta": 0.2,
    "max_completion_length": 64,
    "temperature": 0.8,
    "top_p": 1.0,
}

PRESETS: dict[str, dict[str, Any]] = {
    "starter": _STARTER,
    "starter-human": {
        **_STARTER,
        "judge": "human",
        "batch_size": 1,
        "learning_rate": 5e-4,
        "iters": 100,
        "steps_per_report": 1,
    },
}
