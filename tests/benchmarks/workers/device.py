"""A part of the device check, in a process of its own: prints a line of JSON for each finding."""

# ruff: noqa: E402 - the fast BLAS comes before MLX

import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from engine.machine.blas import import_mlx

import_mlx()

import mlx.core as mx

from engine.machine.backend import backend
from engine.machine.device import cores, device
from tests.benchmarks.contest import Contestant, Setting, alternate
from tests.benchmarks.random_model import QWEN3_06B, QWEN3_5_08B, Shape

PROGRAM = (sys.executable, "-m", "tests.benchmarks.workers.device")
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
QUANTIZATIONS = ("none", "4-bit", "8-bit", "mxfp4", "6-bit")
STARTER_STEPS = 20
# What a person waits for, of a GPU's and of a CPU's size.
ON_GPU: dict[str, Any] = {"pairs": 4, "prompt": 83, "completion": 64}
ON_CPU: dict[str, Any] = {"pairs": 1, "prompt": 24, "completion": 4}


def found(what: str, value: object, ok: bool | None = None) -> None:
    """A row of the table."""
    ANSWERS.write(json.dumps({"what": what, "value": value, "ok": ok}) + "\n")


def seconds(work: Callable[[], mx.array]) -> float:
    """Of the median of ten turns, after one to warm up."""
    mx.eval(work())
    times = []
    for _ in range(10):
        start = time.perf_counter()
        mx.eval(work())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


# -- the parts -----------------------------------------------------------------------------------


def facts(folder: Path) -> None:
    """The device, its speed, and how long a kernel takes to be there."""
    here = device()
    found("device", f"{here.name}, {backend()}, {cores()} cores")
    found("memory, GiB", round(here.memory_total / 2**30, 1))
    names = ("mlx", "mlx-lm", "transformers", "torch", "trl", "mlx-lm-lora")
    found("versions", ", ".join(f"{name} {_version(name)}" for name in names))
    size = 1_024 if backend() == "cpu" else 8_192
    for dtype in (mx.float32, mx.bfloat16):
        left, right = (mx.random.normal((size, size)).astype(dtype) for _ in range(2))
        speed = 2 * size**3 / seconds(lambda left=left, right=right: left @ right) / 1e12
        found(f"TFLOP/s of a {dtype} product of {size}", speed)
    few = mx.random.normal((64, 512))
    exact = few.astype(mx.float32) @ few.T
    with mx.stream(mx.cpu):
        wanted = few @ few.T
    mx.eval(exact, wanted)
    found("float32 product against a CPU's", float(mx.abs(exact - wanted).max() / wanted.max()))
    try:
        mx.eval(mx.compile(lambda x: mx.exp(x) * 2 + mx.sin(x))(few))
        found("a function compiles", "yes")
    except Exception as error:
        found("a function compiles", f"no: {_one_line(error)}")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:240]


def first_step(folder: Path) -> None:
    """Policy and reference are one model, computed in one way: the first margin is 0, exactly.

    Every quantisation has a process of its own: a GPU's kernels are compiled at their first use,
    and those of packed weights take a minute of one core.
    """
    processes = [
        subprocess.Popen([*PROGRAM, "first_step_over", str(folder), quantization])
        for quantization in QUANTIZATIONS
    ]
    for process, quantization in zip(processes, QUANTIZATIONS, strict=True):
        if process.wait():
            found(f"first step over {quantization}", f"status {process.returncode}", False)


def first_step_over(folder: Path, quantization: str) -> None:
    """The first step of every train type that there is over a quantisation."""
    from engine.data.pairs import JudgedPair, Verdict
    from engine.train.online_dpo import learn
    from engine.train.optimizers import build_optimizer
    from engine.train.roles import load_roles
    from engine.train.update import Update
    from tests.engine.small_models import WIDE, pair, settings, write_model

    judged = [
        JudgedPair(pair(0, first="yes", second="perhaps not"), Verdict("first")),
        JudgedPair(pair(1, prompt="Why? Say more.", first="so", second="s"), Verdict("second")),
    ]
    path = write_model(
        folder / quantization, WIDE | {"hidden_size": 512, "intermediate_size": 1_024}
    )
    if backend() != "cpu":
        weights = mx.load(str(path / "model.safetensors"))
        assert isinstance(weights, dict)
        halved = {name: array.astype(mx.bfloat16) for name, array in weights.items()}
        mx.eval(halved)
        mx.save_safetensors(str(path / "model.safetensors"), halved, {"format": "pt"})
    for train_type in ("lora", "full", "dora"):
        if (train_type == "full" and quantization != "none") or (
            train_type == "dora" and quantization == "6-bit"
        ):
            continue  # which the settings refuse
        name = f"first step, {train_type} over {quantization}"
        start = time.perf_counter()
        try:
            chosen = settings(
                model=str(path),
                judge="human",
                train_type=train_type,
                quantization=quantization,
                learning_rate=0.01,
            )
            roles = load_roles(chosen)
            update = Update(roles.policy, roles.reference, chosen, build_optimizer(chosen, 10))
            first = learn(update, judged, step=1).means
            then = learn(update, judged, step=2).means
            ok = (
                first["margin"] == 0.0
                and abs(first["loss"] - math.log(2)) < 1e-6
                and then["margin"] != 0.0
            )
            words = f"margin {first['margin']:g}, then {then['margin']:.3g}"
            found(name, f"{words} ({time.perf_counter() - start:.1f} s)", ok)
        except Exception as error:
            found(name, _one_line(error), False)


def threads(folder: Path) -> None:
    """MLX on threads of their own: in turn, at once, and let go of."""
    from engine.train.engine_thread import leave_thread
    from tests.engine.small_models import QWEN3, language_model

    def logits(model: Any) -> list[Any]:
        return model(mx.array([[5, 90, 30, 7, 41, 110]])).tolist()

    # As the program has it: on a CPU its layers round otherwise than mlx-lm's own.
    wanted = logits(language_model(QWEN3).model)

    def compute(times: int, answers: list[bool]) -> None:
        import_mlx()
        model = language_model(QWEN3).model
        answers += [logits(model) == wanted for _ in range(times)]
        leave_thread()
        leave_thread()  # as a run does that ends in two places

    for what, count, rounds in (("one thread", 1, 1), ("ten, one after another", 1, 10)):
        answers: list[bool] = []
        for _ in range(rounds):
            thread = threading.Thread(target=compute, args=(5, answers))
            thread.start()
            thread.join()
        _same(what, answers, 5 * rounds * count)
    answers = []
    both = [threading.Thread(target=compute, args=(200, answers)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    _same("two at once", answers, 400)
    _same("this one after all that", [logits(language_model(QWEN3).model) == wanted], 1)
    run = subprocess.run(
        [*PROGRAM, "come_and_go", str(folder)], capture_output=True, text=True, check=False
    )
    what = f"threads that come and go beside one that samples, status {run.returncode}"
    # MLX with CUDA cannot, so a run never shares its process with another thread that computes.
    ok = None if backend() == "cuda" else run.returncode == 0
    found(what, " ".join(run.stderr.split())[-300:] or "nothing on standard error", ok)


def come_and_go(folder: Path) -> None:
    """One thread samples; others start, compute and end beside it."""
    from engine.compute.sampling import Sampler, sample
    from engine.train.engine_thread import leave_thread
    from tests.engine.small_models import QWEN3, language_model

    def answers(seed: int, tokens: int) -> None:
        lm = language_model(QWEN3)
        for _ in range(20):
            sample(
                lm,
                [[5, 90, 30], [7]],
                copies=2,
                max_tokens=tokens,
                sampler=Sampler(0.8),
                seed=seed,
            )
        leave_thread()

    def fail(problem: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(problem)
        os._exit(1)

    threading.excepthook = fail
    long = threading.Thread(target=answers, args=(0, 100))
    long.start()
    while long.is_alive():
        short = threading.Thread(target=answers, args=(1, 4))
        short.start()
        short.join()
    long.join()


def _same(what: str, answers: list[bool], count: int) -> None:
    right = sum(answers)
    found(f"numbers of {what}", f"{right} of {count} the same", right == count)


def starter(folder: Path) -> None:
    """The preset, as a person starts it: seconds, win rate, and an end without a complaint."""
    for name in ("first", "again"):
        program = [sys.executable, "-m", "tui.main", "train", "starter", "--run-name", name]
        options = [f"iters={STARTER_STEPS}", "fuse=false", "steps_per_report=1"]
        start = time.perf_counter()
        run = subprocess.run(
            [*program, *(word for each in options for word in ("--set", each)), "--json"],
            capture_output=True,
            text=True,
            check=False,
        )
        took = time.perf_counter() - start
        ok = run.returncode == 0 and not run.stderr.strip()
        tail = " ".join(run.stderr.split())[-300:]
        found(f"{name} run, status {run.returncode}", tail or "nothing on standard error", ok)
        found(f"{name} run, seconds", took)
        metrics = Path(os.environ["LORA_STUDIO_HOME"], "runs", name, "metrics.jsonl")
        lines = [json.loads(line) for line in metrics.read_text().splitlines()]
        times = [line["seconds"] for line in lines if "seconds" in line]
        steps = [then - before for before, then in pairwise(times)]
        if steps:
            found(f"{name} run, median seconds of a step", statistics.median(steps))
            found(f"{name} run, most seconds of a step", max(steps))
        rates = [line["win_rate"] for line in lines if line.get("win_rate") is not None]
        found(f"{name} run, win rate before and after", f"{rates[0]:.2f}, {rates[-1]:.2f}")


def qwen3(folder: Path) -> None:
    """Qwen3-0.6B's shape, beside the peers."""
    peers = []
    if backend() == "cuda" and "none" not in (_version("torch"), _version("trl")):
        peers.append(Contestant("TRL", "trl_peer"))
    if backend() != "cpu" and _version("mlx-lm-lora") != "none":
        peers.append(Contestant("mlx-lm-lora", "mlx_lm_lora_peer"))
    _contest(folder, QWEN3_06B, peers)


def qwen3_5(folder: Path) -> None:
    """Qwen3.5-0.8B's shape: gated-delta layers among those with attention."""
    _contest(folder, QWEN3_5_08B, [])


def _contest(folder: Path, shape: Shape, peers: list[Contestant]) -> None:
    on_cpu = backend() == "cpu"
    setting = Setting(
        "device",
        shape,
        **(ON_CPU if on_cpu else ON_GPU),
        threads=cores(),
        dtype="float32" if on_cpu else "bfloat16",
        gpu=not on_cpu,
    )
    ours = Contestant("lora-studio", "studio")
    uncompiled = Contestant("not compiled", "studio", {"settings": {"compile": "off"}})
    steps: dict[str, dict[str, float]] = {}
    for each in (
        ours,
        *([] if on_cpu else [uncompiled]),
        *peers,
    ):  # apart, so that one that fails takes no other with it
        rounds = 1 if on_cpu or each.name == "mlx-lm-lora" else 5  # that one takes long
        try:
            alternate(setting, [each], folder / each.name.replace(" ", "-"), rounds)
        except SystemExit as error:
            found(
                f"{each.name}", " ".join(str(error).split())[-300:], False if each is ours else None
            )
            continue
        phases = {name: each.median(name) for name in ("step", "sample", "judge", "update")}
        steps[each.name] = phases
        words = ", ".join(f"{name} {value:.3f}" for name, value in phases.items())
        memory = each.median("peak_bytes") / 2**30
        found(f"{each.name}: seconds", f"{words}; {memory:.2f} GiB at most")
    mine = steps.get("lora-studio")
    if mine and (theirs := steps.get("mlx-lm-lora")):
        found("a step, of mlx-lm-lora's (goal: 0.25)", mine["step"] / theirs["step"])
    if mine and (without := steps.get(uncompiled.name)):
        found("an update, of one that is not compiled", mine["update"] / without["update"])
    if mine and (theirs := steps.get("TRL")):
        without = mine["sample"] + mine["update"]
        found("a step without a judge, of TRL's (goal: 0.8)", without / theirs["step"])


if __name__ == "__main__":
    parts = (facts, threads, first_step, starter, qwen3, qwen3_5, first_step_over, come_and_go)
    part = {each.__name__: each for each in parts}[sys.argv[1]]
    part(Path(sys.argv[2]), *sys.argv[3:])
