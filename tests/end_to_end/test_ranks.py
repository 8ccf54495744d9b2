"""One run that several processes train: equal to one alone, and safe when one of them is lost."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import psutil
import pytest

from engine.settings.files import preset, to_yaml
from tests.close import assert_close
from tests.end_to_end import program
from tests.end_to_end.program import TIMEOUT, words
from tests.end_to_end.pseudo_terminal import PseudoTerminal
from tests.end_to_end.ranks import (
    ROOT,
    SHORT,
    ended,
    free_ports,
    hosts_of,
    started,
    train,
    wait_for_step,
)
from tests.end_to_end.test_terminal_person import CONFIG as BY_HAND
from tests.end_to_end.test_terminal_person import F4, Person, stored
from tests.engine.little_server import LittleServer
from tests.engine.small_models import QWEN3, write_model, write_prompts

EXACT = 1e-5  # as a share of the largest


def checkpoints(folder: Path) -> list[int]:
    return sorted(int(each.name) for each in (folder / "checkpoints").glob("[0-9]*"))


def weights(folder: Path) -> dict[str, np.ndarray]:
    newest = folder / "checkpoints" / f"{checkpoints(folder)[-1]:07d}"
    arrays: Any = mx.load(str(newest / "adapters.safetensors"))
    return {name: np.array(array) for name, array in arrays.items()}


def assert_equal_runs(folder: Path, wanted: Path) -> None:
    """The same prompts in the same order, the same answers and verdicts, and numbers as close as
    float32 adds them up in another order."""
    one, other = program.written(folder), program.written(wanted)
    for file in ("pairs.jsonl", "undecided.jsonl"):
        assert len(one[file]) == len(other[file])
        for line, its in zip(one[file], other[file], strict=True):
            for name in ("q", "q_orders"):
                assert_close(line.pop(name) or 0, its.pop(name) or 0, EXACT, size=1.0)
            assert line == its
    assert len(one["metrics.jsonl"]) == len(other["metrics.jsonl"])
    for line, its in zip(one["metrics.jsonl"], other["metrics.jsonl"], strict=True):
        line.pop("sent_mb", None)
        its.pop("sent_mb", None)
        assert line.keys() == its.keys()
        for name, value in line.items():
            if isinstance(value, float):
                assert_close(value, its[name], EXACT, size=1.0, name=name)
            else:
                assert value == its[name], name
    found, trained = weights(folder), weights(wanted)
    largest = max(float(np.abs(array).max()) for array in trained.values())
    assert largest > 0
    for name, array in trained.items():
        assert_close(found[name], array, EXACT, size=largest, name=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of one process."""
    home = tmp_path_factory.mktemp("alone")
    arguments = ("train", "starter", "--run-name", "alone", *words(**SHORT))
    done = program.run(*arguments, home=home)
    assert done.returncode == 0, done.stderr
    return home / "runs" / "alone"


# -- equal -----------------------------------------------------------------------------------------


def test_two_ranks_equal_one(alone: Path, tmp_path: Path) -> None:
    with train(2, "two", tmp_path) as ranks:
        assert ended(ranks) == [0, 0], [each.said() for each in ranks]
        assert "done: step 6 of 6" in ranks[0].said()
        assert ranks[1].said() == ""
    folder = tmp_path / "runs" / "two"
    assert os.listdir(tmp_path / "runs") == ["two"]
    assert_equal_runs(folder, alone)
    assert json.loads((folder / "run.json").read_text())["ranks"] == 2
    reports = [line for line in program.written(folder)["metrics.jsonl"] if "loss" in line]
    sent = [line["sent_mb"] for line in reports]
    assert min(sent) > 0
    assert max(sent) < 1.5 * min(sent)  # the evaluation of the start and those between are in none


VARIANTS: dict[str, dict[str, Any]] = {
    # A batch of one: a rank has no prompt, and no pair.
    "few": {"batch_size": 1, "gradient_accumulation_steps": 2},
    "full": {"train_type": "full", "num_layers": 2, "learning_rate": 1e-5},
    "dora": {
        "train_type": "dora",
        "optimizer": "adafactor",
        "learning_rate": 1e-3,
        "lookahead": 1,
    },
    # A judge that is a process beside each rank, and scores more answers than two.
    "scored": {"judge": "rule:length", "completions": 3},
}


@pytest.mark.slow
def test_the_command_of_the_guide_for_this_machine_works_as_written(tmp_path: Path) -> None:
    page = (ROOT / "tui" / "guide" / "ranks.md").read_text(encoding="utf-8")
    command = page.partition("## Try it on this machine")[2].split("```")[1].removeprefix("sh\n")
    with launched(["sh", "-c", command], tmp_path) as (launcher, out):
        assert launcher.wait(3 * TIMEOUT) == 0, out.read_text()
    assert "done: step 5 of 5" in out.read_text()
    state = json.loads((tmp_path / "runs" / "two" / "run.json").read_text())
    assert (state["status"], state["ranks"]) == ("finished", 2)


@pytest.mark.slow
def test_the_command_of_the_guide_for_two_machines_finds_the_program(tmp_path: Path) -> None:
    """In `.venv`, where it is on no PATH: the two are this machine, which the launcher needs no ssh
    for, and hands its command to as to another."""
    page = (ROOT / "tui" / "guide" / "ranks.md").read_text(encoding="utf-8")
    block = page.partition("## Two Macs")[2].split("```")[1]
    command = next(line for line in block.splitlines() if line.startswith("mlx.launch "))
    (tmp_path / ".venv").symlink_to(sys.prefix)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "mlx.launch").symlink_to(Path(sys.prefix) / "bin" / "mlx.launch")
    chosen = preset("starter").model_copy(update={**SHORT, "iters": 3, "run_name": "macs"})
    (tmp_path / "config.yaml").write_text(to_yaml(chosen), encoding="utf-8")
    hosts = [{"ssh": "127.0.0.1", "ips": ["127.0.0.1"]}] * 2
    (tmp_path / "hosts.json").write_text(json.dumps(hosts), encoding="utf-8")
    path = f"{tmp_path / 'bin'}{os.pathsep}/usr/bin{os.pathsep}/bin"
    assert shutil.which("lora-studio", path=path) is None
    port = f"mlx.launch -p {free_ports(1)[0]} "
    command = command.replace("mlx.launch ", port)
    with launched(["sh", "-c", command], tmp_path, path) as (launcher, out):
        assert launcher.wait(3 * TIMEOUT) == 0, out.read_text()
    assert "done: step 3 of 3" in out.read_text()
    state = json.loads((tmp_path / "runs" / "macs" / "run.json").read_text())
    assert (state["status"], state["ranks"]) == ("finished", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_other_ways_to_train_are_equal_too(name: str, tmp_path: Path) -> None:
    values = VARIANTS[name]
    for size, run in ((1, "one"), (3, "three")):
        with train(size, run, tmp_path, **values) as ranks:
            assert ended(ranks) == [0] * size, [each.said() for each in ranks]
    assert_equal_runs(tmp_path / "runs" / "three", tmp_path / "runs" / "one")


# After its second update, a weight of rank 1 is another one.
UNLIKE = """
import os, sys, threading, time

def wait():
    while not hasattr(sys.modules.get("engine.train.ranks.worker"), "_Work"):
        time.sleep(0.01)
    from engine.model.arrays import flat
    Update = sys.modules["engine.train.update"].Update
    apply, count = Update.apply, 0

    def rounded_otherwise(update):
        nonlocal count
        norm, model = apply(update), update.policy.model
        count += 1
        if count == 2:
            name, weight = min(flat(model.trainable_parameters()).items())
            model.load_weights([(name, weight + 1e-3)], strict=False)
        return norm

    Update.apply = rounded_otherwise

if os.environ.get("MLX_RANK") == "1":
    threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
def test_a_rank_whose_weights_part_from_those_of_rank_0_gets_them_again(
    alone: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "unlike"
    arguments = ("train", "starter", "--run-name", "unlike", *words(**{**SHORT, "save_every": 2}))
    environments = first_of_all(UNLIKE, tmp_path, 2)
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        assert ended(ranks) == [0, 0], [each.said() for each in ranks]
    lines = [
        line
        for line in (folder / "log.txt").read_text().splitlines()
        if "other weights than rank 0" in line
    ]
    assert len(lines) == 1  # and not at the two digests after it
    assert "warning" in lines[0]
    assert f"(process {ranks[1].process.pid}) has other weights than rank 0" in lines[0]
    assert checkpoints(folder)[-1] == 6
    assert_equal_runs(folder, alone)


@pytest.mark.slow
def test_a_server_is_asked_by_each_rank(tmp_path: Path) -> None:
    values = {"judge_key_env": "WHO", "lookahead": 1, "iters": 4, "completions": 3}
    with LittleServer(models=("longer",)).running() as little:
        for size, name in ((1, "one"), (2, "two")):
            little.bodies.clear()
            little.headers.clear()
            with started(
                size,
                *("train", "starter", "--run-name", name),
                *words(**{**SHORT, **values, "judge": little.address}),
                home=tmp_path,
                environments=[{"WHO": f"rank {rank} of {size}"} for rank in range(size)],
            ) as ranks:
                assert ended(ranks) == [0] * size, [each.said() for each in ranks]
            who = Counter(each["Authorization"] for each in little.headers)
            assert set(who) == {f"Bearer rank {rank} of {size}" for rank in range(size)}
            assert min(who.values()) > 0.3 * who.total() / size
    assert_equal_runs(tmp_path / "runs" / "two", tmp_path / "runs" / "one")


# -- safe ------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_which_others_go_on_with(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "broken"
    with train(2, "broken", tmp_path) as ranks:
        wait_for_step(ranks, folder, 2)
        ranks[1].process.kill()
        killed = time.monotonic()
        status, _ = ended(ranks)
        assert time.monotonic() - killed < 60
        said = ranks[0].said()
    assert status == 3, said
    pid = ranks[1].process.pid
    reached = json.loads((folder / "run.json").read_text())["step"]
    assert f"stopped with a checkpoint of step {reached}: rank 1 on" in said
    assert f"(process {pid}) is gone" in said
    assert "`lora-studio resume broken` goes on" in said
    assert checkpoints(folder)[-1] == reached >= 2
    assert json.loads((folder / "run.json").read_text())["status"] == "stopped"
    for size in (1, 3):
        home = tmp_path / f"resumed by {size}"
        shutil.copytree(tmp_path / "runs", home / "runs")
        with started(size, "resume", "broken", home=home) as ranks:
            assert ended(ranks) == [0] * size, [each.said() for each in ranks]
        assert_equal_runs(home / "runs" / "broken", alone)
        assert json.loads((home / "runs" / "broken" / "run.json").read_text())["ranks"] == size


@pytest.mark.slow
def test_all_end_where_rank_0_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "headless"
    with train(3, "headless", tmp_path, iters=500, save_every=1) as ranks:
        wait_for_step(ranks, folder, 2)
        ranks[0].process.kill()
        assert ended(ranks)[1:] == [1, 1]
        for each in ranks[1:]:
            assert "rank 0 on" in each.said()
            assert f"(process {ranks[0].process.pid}) is gone" in each.said()
    assert checkpoints(folder)[-1] >= 1


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_run(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "hung"
    with train(3, "hung", tmp_path, iters=500) as ranks:
        wait_for_step(ranks, folder, 2)
        ranks[1].process.send_signal(signal.SIGSTOP)
        stopped = time.monotonic()
        assert ended([ranks[0], ranks[2]], 60) == [3, 3], [each.said() for each in ranks]
        assert time.monotonic() - stopped < 60
        for each in (ranks[0], ranks[2]):
            assert f"(process {ranks[1].process.pid}) has been silent" in each.said()
    reached = json.loads((folder / "run.json").read_text())["step"]
    assert checkpoints(folder)[-1] == reached >= 2


def first_of_all(code: str, folder: Path, size: int, **variables: Sequence[str]) -> list[Any]:
    """The environments of so many ranks, in which Python runs some code before all else; rank by
    rank, further variables."""
    (folder / "sitecustomize.py").write_text(code, encoding="utf-8")
    path = f"{folder}{os.pathsep}{ROOT}"
    return [
        {"PYTHONPATH": path, **{name: values[rank] for name, values in variables.items()}}
        for rank in range(size)
    ]


# Rank 1 does something to its second digest of the weights.
AT_THE_DIGEST = """
import os, sys, threading, time

def wait():
    while not hasattr(sys.modules.get("engine.train.ranks.worker"), "_Work"):
        time.sleep(0.01)
    worker = sys.modules["engine.train.ranks.worker"]
    digest, count = worker.state_digest, 0

    def digest_of(update):
        nonlocal count
        count += 1
        if count == 2:
            os._exit(9)
        return digest(update)

    worker.state_digest = digest_of

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
def test_a_step_that_a_rank_is_lost_after_is_not_taken_again(alone: Path, tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "digest"
    environments = first_of_all(AT_THE_DIGEST, tmp_path, 2)
    arguments = ("train", "starter", "--run-name", "digest", *words(**{**SHORT, "save_every": 2}))
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        assert ended(ranks) == [3, 9], [each.said() for each in ranks]
        assert "stopped with a checkpoint of step 4: rank 1 on" in ranks[0].said()
    assert checkpoints(folder)[-1] == 4
    with started(1, "resume", "digest", home=tmp_path) as ranks:
        assert ended(ranks) == [0], [each.said() for each in ranks]
    assert_equal_runs(folder, alone)


# What Python runs in a rank before all else: once there is a file, sampling never ends.
HANGING = """
import os, sys, threading, time

def wait():
    while not os.path.exists(os.environ["HANG"]):
        time.sleep(0.05)
    for name in ("worker", "lead"):  # of which each rank has one
        if module := sys.modules.get("engine.train.ranks." + name):
            module.sample = lambda *_, **__: time.sleep(1e6)

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_whose_computing_hangs_ends_the_run(rank: int, tmp_path: Path) -> None:
    """Its process lives, and its heartbeats go on."""
    files = [str(tmp_path / f"hang {at}") for at in range(3)]
    variables = first_of_all(HANGING, tmp_path, 3, HANG=files)
    folder = tmp_path / "runs" / "hung"
    arguments = ("train", "starter", "--run-name", "hung", *words(**{**SHORT, "iters": 500}))
    save = ("--set", "save_every=1")
    with started(3, *arguments, *save, home=tmp_path, environments=variables) as ranks:
        wait_for_step(ranks, folder, 2)
        (tmp_path / f"hang {rank}").touch()
        at = time.monotonic()
        others = [each for each in ranks if each is not ranks[rank]]
        assert ended(others, 60) == ([1, 1] if rank == 0 else [3, 3]), [r.said() for r in ranks]
        assert time.monotonic() - at < 60
        for each in others:
            assert f"rank {rank} on" in each.said()
            assert f"(process {ranks[rank].process.pid})" in each.said()
            assert "hangs: sampling has not gone on for" in each.said()
        if rank:
            assert ended([ranks[1]]) == [1]
            assert "rank 1 hangs: sampling has not gone on for" in ranks[1].said()
    reached = json.loads((folder / "run.json").read_text())["step"]
    assert checkpoints(folder)[-1] == reached >= 2


# Once there is a file, each sign that rank 0 gives of what it computes takes long.
SLOW = """
import os, sys, threading, time

def wait():
    while not os.path.exists(os.environ["SLOW"]):
        time.sleep(0.05)
    headway = sys.modules["engine.compute.headway"]
    sign = getattr(headway, os.environ["SIGN"])
    seconds = float(os.environ["SECONDS"])
    setattr(headway, os.environ["SIGN"], lambda *of: time.sleep(seconds) or sign(*of))

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("sign", "seconds"), [("sign", "5"), ("made", "10")])
def test_a_rank_that_is_killed_ends_the_run_in_the_middle_of_a_long_share(
    sign: str, seconds: str, tmp_path: Path
) -> None:
    """Of completions, where each token takes long, or of gradients, where each layer does."""
    files = [str(tmp_path / "slow"), str(tmp_path / "never")]
    slowness = {"SLOW": files, "SIGN": [sign] * 2, "SECONDS": [seconds] * 2}
    environments = first_of_all(SLOW, tmp_path, 2, **slowness)
    folder = tmp_path / "runs" / "slow"
    arguments = ("train", "starter", "--run-name", "slow", *words(**{**SHORT, "iters": 500}))
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        wait_for_step(ranks, folder, 2)
        (tmp_path / "slow").touch()
        time.sleep(12)  # so that this share has begun
        ranks[1].process.kill()
        killed = time.monotonic()
        assert ended(ranks[:1], 60) == [3], ranks[0].said()
        assert time.monotonic() - killed < 60
        assert f"(process {ranks[1].process.pid}) is gone" in ranks[0].said()
    assert checkpoints(folder)[-1] == json.loads((folder / "run.json").read_text())["step"] >= 2


# Once there is a file, rank 0 hangs in its digest of the weights, or in a checkpoint.
HANGING_AFTER_A_STEP = """
import sys, threading, time, os

def wait():
    while not hasattr(sys.modules.get("engine.train.assemble"), "train"):
        time.sleep(0.01)
    hang("engine.train.ranks.lead", "state_digest", "digest")
    hang("engine.train.state", "save", "save")

def hang(module, name, what):
    work = getattr(sys.modules[module], name)

    def hanging(*of):
        if os.environ["IN"] == what and os.path.exists(os.environ["HANG"]):
            time.sleep(1e6)
        return work(*of)

    setattr(sys.modules[module], name, hanging)

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("work", ["digest", "save"])
def test_the_others_end_where_rank_0_hangs_after_a_step(work: str, tmp_path: Path) -> None:
    folder, hang = tmp_path / "runs" / "hung", tmp_path / "hang"
    variables = {"IN": [work] * 2, "HANG": [str(hang)] * 2}
    environments = first_of_all(HANGING_AFTER_A_STEP, tmp_path, 2, **variables)
    values = {**SHORT, "iters": 500, "save_every": 1}
    arguments = ("train", "starter", "--run-name", "hung", *words(**values))
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        wait_for_step(ranks, folder, 3)  # none of its kind is new any more
        hang.touch()
        at = time.monotonic()
        assert ended(ranks[1:], 60) == [1], ranks[1].said()
        assert time.monotonic() - at < 60
        assert f"hangs: {'a ' if work == 'save' else ''}{work} has not gone on" in ranks[1].said()
    assert checkpoints(folder)[-1] >= 2


@pytest.fixture
def two_machines() -> Iterator[Callable[[], None]]:
    """Two network namespaces, `lora1` and `lora2`, with a link between them that this cuts."""
    commands = [
        *("netns add lora1", "netns add lora2"),
        "link add lora1 netns lora1 type veth peer name lora2 netns lora2",
        *("-n lora1 addr add 10.213.7.1/24 dev lora1", "-n lora2 addr add 10.213.7.2/24 dev lora2"),
        *("-n lora1 link set lora1 up", "-n lora2 link set lora2 up"),
    ]
    try:
        for command in commands:
            done = subprocess.run(["ip", *command.split()], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"network namespaces cannot be made here: {done.stderr.strip()}")
        cut = ["ip", "-n", "lora1", "link", "set", "lora1", "down"]
        yield lambda: subprocess.run(cut, check=True) and None
    except FileNotFoundError:
        pytest.skip("there is no ip command")
    finally:
        for name in ("lora1", "lora2"):
            with contextlib.suppress(FileNotFoundError):
                subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_a_link_that_is_cut_ends_the_run_on_both_sides(
    two_machines: Callable[[], None], tmp_path: Path
) -> None:
    folder = tmp_path / "runs" / "cut"
    arguments = ("train", "starter", "--run-name", "cut", *words(**{**SHORT, "iters": 500}))
    with started(
        2,
        *arguments,
        home=tmp_path,
        addresses=["10.213.7.1:5001", "10.213.7.2:5002"],
        before=[["ip", "netns", "exec", name] for name in ("lora1", "lora2")],
    ) as ranks:
        wait_for_step(ranks, folder, 2)
        two_machines()
        at = time.monotonic()
        assert ended(ranks, 60) == [3, 1], [each.said() for each in ranks]
        assert time.monotonic() - at < 60
        assert "stopped with a checkpoint of step" in ranks[0].said()
        for rank, other in ((0, 1), (1, 0)):
            assert f"rank {other} on" in ranks[rank].said()
    reached = json.loads((folder / "run.json").read_text())["step"]
    assert checkpoints(folder)[-1] == reached >= 2


@pytest.mark.slow
def test_a_rank_that_is_told_to_end_stops_the_run_with_a_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "told"
    with train(2, "told", tmp_path, iters=500) as ranks:
        wait_for_step(ranks, folder, 2)
        ranks[1].process.terminate()
        assert ended(ranks) == [130, 0], [each.said() for each in ranks]
    assert checkpoints(folder)[-1] == json.loads((folder / "run.json").read_text())["step"] >= 2


# What rank 0 does in place of loading its models.
INSTEAD_OF_LOADING = """
import os, sys, threading, time

def wait():
    while not hasattr(sys.modules.get("engine.train.assemble"), "train"):
        time.sleep(0.01)
    sys.modules["engine.train.assemble"].load = load

def load(*_):
    if os.environ["LOADING"] == "hangs":
        time.sleep(1e6)
    raise LookupError("of nothing")

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
def test_a_stop_while_the_run_loads_is_no_failure_of_the_others(tmp_path: Path) -> None:
    environments = first_of_all(INSTEAD_OF_LOADING, tmp_path, 2, LOADING=["hangs"] * 2)
    arguments = ("train", "starter", "--run-name", "loading", *words(**SHORT))
    log = tmp_path / "runs" / "loading" / "log.txt"
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        end = time.monotonic() + TIMEOUT
        while not (log.exists() and "2 ranks train together" in log.read_text()):
            assert time.monotonic() < end, [each.said() for each in ranks]
            time.sleep(0.05)
        ranks[0].process.terminate()
        assert ended(ranks) == [128 + signal.SIGTERM, 128 + signal.SIGINT]
        assert ranks[1].said() == ""


# Rank 1 never comes to an end of loading, and rank 0 tells when it begins to wait for that.
STALLED = """
import os, pathlib, sys, threading, time

def wait():
    while not hasattr(sys.modules.get("engine.train.assemble"), "train"):
        worker = sys.modules.get("engine.train.ranks.worker")
        if hasattr(worker, "_Work"):
            worker.load_roles = lambda *_: time.sleep(1e6)
            return
        time.sleep(0.01)
    lead = sys.modules["engine.train.ranks.lead"]
    lead.FIRST_SECONDS, lead.SLOWER = float(os.environ["SECONDS"]), 0
    spread = lead.Lead.spread

    def waits(*of):
        pathlib.Path(os.environ["WAITS"]).touch()
        spread(*of)

    lead.Lead.spread = waits

threading.Thread(target=wait, daemon=True).start()
"""


@pytest.mark.slow
@pytest.mark.parametrize("stop", [True, False])
def test_a_rank_that_stalls_while_it_loads_is_not_waited_for_without_end(
    stop: bool, tmp_path: Path
) -> None:
    waits, seconds = tmp_path / "waits", "600" if stop else "5"
    variables = {"WAITS": [str(waits)] * 2, "SECONDS": [seconds] * 2}
    environments = first_of_all(STALLED, tmp_path, 2, **variables)
    arguments = ("train", "starter", "--run-name", "stalled", *words(**SHORT))
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        end = time.monotonic() + TIMEOUT
        while not waits.exists():
            assert time.monotonic() < end, [each.said() for each in ranks]
            time.sleep(0.05)
        if stop:
            ranks[0].process.send_signal(signal.SIGINT)
            assert ended(ranks, 20) == [130, 130], [each.said() for each in ranks]
        else:
            assert ended(ranks, 30) == [1, 1], [each.said() for each in ranks]
            lost = "has not answered within 5 seconds that its models are loaded"
            for each in ranks:
                assert f"(process {ranks[1].process.pid}) {lost}" in each.said()


@pytest.mark.slow
def test_the_others_say_why_rank_0_failed(tmp_path: Path) -> None:
    environments = first_of_all(INSTEAD_OF_LOADING, tmp_path, 2, LOADING=["fails"] * 2)
    arguments = ("train", "starter", "--run-name", "failing", *words(**SHORT))
    with started(2, *arguments, home=tmp_path, environments=environments) as ranks:
        assert ended(ranks) == [1, 1], [each.said() for each in ranks]
        assert "rank 0 has failed: LookupError: of nothing" in ranks[1].said()


@pytest.mark.slow
def test_ctrl_c_on_the_launcher_ends_all(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "launched"
    command = [
        *("mlx.launch", "-n", "2", "--backend", "ring", "-p", str(free_ports(1)[0]), "--"),
        *("lora-studio", "train", "starter", "--run-name", "launched"),
        *words(**{**SHORT, "iters": 500}),
    ]
    with launched(command, tmp_path) as (launcher, out):
        end = time.monotonic() + TIMEOUT
        while not (folder / "metrics.jsonl").exists() and time.monotonic() < end:
            assert launcher.poll() is None, out.read_text()
            time.sleep(0.05)
        ranks = psutil.Process(launcher.pid).children(recursive=True)
        assert len(ranks) >= 2  # each with children of its own
        os.killpg(launcher.pid, signal.SIGINT)
        launcher.wait(TIMEOUT)
        assert not psutil.wait_procs(ranks, TIMEOUT)[1]
        assert not of_group(launcher.pid)
    state = json.loads((folder / "run.json").read_text())
    assert (state["status"], state["ranks"]) == ("stopped", 2)
    assert checkpoints(folder)[-1] == state["step"]


@contextlib.contextmanager
def launched(
    command: list[str], home: Path, path: str | None = None
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A command by MLX's launcher, in a process group of its own, and what all print; with a PATH
    that is not this one's, in the folder `home`. An input that ends would keep the launcher
    busy."""
    out = home / "out.txt"
    here = Path(sys.executable).parent
    variables = {
        **os.environ,
        "LORA_STUDIO_HOME": str(home),
        "PATH": path or f"{here}{os.pathsep}{os.environ['PATH']}",
    }
    with out.open("wb") as to:
        launcher = subprocess.Popen(
            command,
            env=variables,
            cwd=home if path else None,
            stdin=subprocess.PIPE,
            stdout=to,
            stderr=to,
            start_new_session=True,
        )
    try:
        yield launcher, out
    finally:
        for each in of_group(launcher.pid):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        launcher.communicate()


def of_group(group: int) -> list[psutil.Process]:
    """The processes of a group that still run."""
    return [each for each in psutil.process_iter() if _group(each) == group]


def _group(process: psutil.Process) -> int:
    try:
        return os.getpgid(process.pid)
    except ProcessLookupError:
        return 0


# -- refused ---------------------------------------------------------------------------------------


def test_a_rank_with_other_settings_is_refused(tmp_path: Path) -> None:
    arguments = ("train", "starter", "--run-name", "unlike", *words(**SHORT))
    own = [["--set", "beta=0.1"], ["--set", "beta=0.2"]]
    with started(2, *arguments, home=tmp_path, own=own) as ranks:
        assert ended(ranks)[0] == 2
        said = ranks[0].said()
    assert "lora-studio: beta: rank 1 on" in said
    assert "has 0.2, and rank 0 has 0.1; give all ranks the same settings" in said
    assert os.listdir(tmp_path / "runs") == []


@pytest.mark.slow
def test_a_rank_with_another_version_is_refused(tmp_path: Path) -> None:
    older = tmp_path / "older" / "mlx_lm-0.1.2.dist-info"
    older.mkdir(parents=True)
    (older / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx-lm\nVersion: 0.1.2\n")
    arguments = ("train", "starter", "--run-name", "unlike", *words(**SHORT))
    paths = [{}, {"PYTHONPATH": f"{older.parent}{os.pathsep}{ROOT}"}]
    with started(2, *arguments, home=tmp_path, environments=paths) as ranks:
        assert ended(ranks)[0] == 2
        said = ranks[0].said()
    assert "rank 1 on" in said
    assert "has mlx-lm 0.1.2, and rank 0 has" in said


@pytest.mark.slow
def test_a_rank_with_another_model_is_refused(tmp_path: Path) -> None:
    folders = [tmp_path / "first", tmp_path / "second"]
    for seed, folder in enumerate(folders):
        write_model(folder / "policy", QWEN3, seed=seed)
        write_model(folder / "judge", QWEN3)
    write_prompts(tmp_path / "prompts.jsonl", 20)
    values = {**SHORT, "model": "./policy", "judge": "./judge", "data": tmp_path / "prompts.jsonl"}
    (tmp_path / "config.yaml").write_text("quantization: none\n")
    arguments = ("train", str(tmp_path / "config.yaml"), *words(**values))
    with started(2, *arguments, home=tmp_path, folders=folders) as ranks:
        assert ended(ranks)[0] == 2
        said = ranks[0].said()
    assert "lora-studio: model: rank 1 on" in said
    assert "has other files of ./policy than rank 0; give all ranks the same" in said


def test_all_hear_at_once_why_rank_0_cannot_begin(tmp_path: Path) -> None:
    start = time.monotonic()
    with started(2, "resume", "nothing", home=tmp_path) as ranks:
        assert ended(ranks) == [2, 2]
        assert time.monotonic() - start < 60  # the others would wait for five minutes
        for each in ranks:
            assert each.said().startswith("lora-studio: there is no run 'nothing'")
            assert each.said().count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("free", [0, 400_000])
def test_a_disk_that_is_full_on_rank_0_is_refused_at_the_start(
    free: int, small_disk: Path, fill_disk: Callable[[], Path], tmp_path: Path
) -> None:
    ballast = fill_disk()
    os.truncate(ballast, ballast.stat().st_size - free)
    arguments = ("train", "starter", *words(**{**SHORT, "output_root": small_disk}))
    with started(2, *arguments, home=tmp_path) as ranks:
        assert ended(ranks) == [2, 2], [each.said() for each in ranks]
        for each in ranks:
            if free:
                assert "lora-studio: rank 0 on" in each.said()
                assert "MB free for the run in" in each.said()
                assert "free some space, or set output_root to another disk" in each.said()
            else:
                assert "lora-studio: a run cannot be kept in" in each.said()
    assert [each.name for each in (small_disk / "runs").glob("*")] == []


def test_the_app_on_ranks_wants_a_run(tmp_path: Path) -> None:
    with started(2, home=tmp_path) as ranks:
        assert ended(ranks) == [2, 2]
        for each in ranks:
            assert "on 2 ranks the app begins a run at once" in each.said()
            assert "`lora-studio CONFIG.yaml --start`" in each.said()


def test_without_a_terminal_a_person_cannot_judge_for_ranks(tmp_path: Path) -> None:
    with started(2, "starter", "--set", "judge=human", home=tmp_path) as ranks:
        assert ended(ranks) == [2, 2]
        for each in ranks:
            said = "lora-studio: the app needs a terminal, and a person as the judge needs the app"
            assert each.said().strip() == said


@pytest.mark.slow
def test_a_person_on_rank_0_labels_for_all_ranks(tmp_path: Path) -> None:
    config = tmp_path / "by-hand.yaml"
    config.write_text(BY_HAND, encoding="utf-8")
    command = [sys.executable, "-m", "tui.main", str(config), "--start"]
    first, second = ({**each, "LORA_STUDIO_HOME": str(tmp_path)} for each in hosts_of(2, tmp_path))
    other = subprocess.Popen(command, env=second, cwd=ROOT)
    try:
        with PseudoTerminal(command, columns=100, rows=30, environment=first) as terminal:
            terminal.wait_for("by-hand")
            terminal.press(F4)
            person = Person(terminal)
            shown = person.next()
            for key in "12bt12121212":
                if shown is None:
                    break
                shown = person.give(key, shown)
            assert shown is None
            terminal.press("q")
            assert terminal.wait() == 0
        assert other.wait(TIMEOUT) == 0
    finally:
        other.kill()
        other.wait()
    assert stored(tmp_path, "by-hand") == person.meant
    assert len(person.meant) == 8
    state = json.loads((tmp_path / "runs" / "by-hand" / "run.json").read_text())
    assert (state["status"], state["ranks"], state["step"]) == ("finished", 2, 4)
