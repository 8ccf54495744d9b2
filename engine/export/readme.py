"""What is said of an export: lines to run it with, and a README beside it."""

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from engine.runs.folder import Run
from engine.train.results import TrainedWeights

PROMPT = "Hello!"


def mlx_lines(model: str, adapters: str | None = None) -> list[str]:
    """Command lines of mlx-lm for a model, with adapters beside it or without."""
    of = shlex.join(["--model", model, *(["--adapter-path", adapters] if adapters else [])])
    return [
        f"mlx_lm.generate {of} --prompt {shlex.quote(PROMPT)}",
        f"mlx_lm.chat {of}",
        f"mlx_lm.server {of}",
    ]


def gguf_lines(folder: str, file: str, name: str) -> list[str]:
    """Command lines of llama.cpp and Ollama for a GGUF file."""
    path, modelfile = shlex.quote(f"{folder}/{file}"), shlex.quote(f"{folder}/Modelfile")
    # Ollama takes letters and digits of ASCII, `_`, `-` and `.` alone in a model's name.
    title = re.sub(r"[^a-z0-9_.-]+", "-", name.lower()).strip("-.") or "model"
    return [
        f"llama-cli -m {path}",
        f"llama-server -m {path}",
        f"ollama create {title} -f {modelfile} && ollama run {title}",
    ]


def gguf_adapter_lines(folder: str, file: str) -> list[str]:
    """The command line of llama.cpp for adapters, with the model still to be named."""
    return [f"llama-cli -m MODEL.gguf --lora {shlex.quote(f'{folder}/{file}')}"]


def peft_lines(model: str, folder: str, name: str) -> list[str]:
    """The command line of vLLM for adapters of peft."""
    plain = {"=", ","}.isdisjoint(name + folder)  # else it takes JSON alone
    module = f"{name}={folder}" if plain else json.dumps({"name": name, "path": folder})
    modules = shlex.quote(module)
    return [f"vllm serve {shlex.quote(model)} --enable-lora --lora-modules {modules}"]


def write(
    folder: Path,
    run: Run,
    weights: TrainedWeights,
    what: str,
    lines: Sequence[str],
    more: str = "",
) -> None:
    """Write README.md: what the folder holds, of which run and which of its steps, and how it is
    run from within."""
    settings, _ = run.known_settings()
    steps = run.state().get("step") or 0
    paragraphs = [
        f"# {run.name}",
        f"{what} `{settings.model}`, trained with Online DPO ({settings.train_type}, {steps} steps)"
        f" by LoRA Studio: the weights of {weights.in_words}.",
        *([more] if more else []),
        "In this folder:",
        "\n".join(["```sh", *lines, "```"]),
    ]
    (folder / "README.md").write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
