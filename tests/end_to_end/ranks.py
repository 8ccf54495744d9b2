"""Ranks of one run as processes of their own on this machine, as `mlx.launch` starts them."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.end_to_end.program import TIMEOUT, words

ROOT = Path(__file__).parents[2]
# A run on the bundled model that takes a few seconds.
SHORT: dict[str, Any] = {
    "iters": 6,
    "batch_size": 6,
    "eval_prompts": 6,
    "max_completion_length": 24,
    "steps_per_report": 1,
    "steps_per_eval": 3,
    "save_every": 100,
    "guard": "off",
    "collapse_watch": "off",
    "judge_watch": "off",
    "fuse": False,
}


@dataclass
class Rank:
    """A rank, with what it prints in files."""

    process: "subprocess.Popen[bytes]"
    out: Path
    err: Path

    def said(self) -> str:
        """All it printed so far."""
        return self.out.read_text() + self.err.read_text()


@contextlib.contextmanager
def ended_with(processes: "Sequence[subprocess.Popen[bytes]]") -> Iterator[None]:
    """Processes that are ended with the context, those too that join them within it."""
    try:
        yield
    finally:
        for each in processes:
            each.kill()
            each.wait()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def hosts_of(size: int, folder: Path, addresses: Sequence[str] = ()) -> list[dict[str, str]]:
    """What the launcher gives each of so many ranks in its environment, on this machine or at
    addresses with their ports, beside what is there."""
    hosts = [[each] for each in addresses or [f"127.0.0.1:{port}" for port in free_ports(size)]]
    hostfile = folder / f"hosts-{time.monotonic_ns()}.json"
    hostfile.write_text(json.dumps(hosts))
    shared = {**os.environ, "PYTHONPATH": str(ROOT), "MLX_HOSTFILE": str(hostfile)}
    return [{**shared, "MLX_RANK": str(rank)} for rank in range(size)]


@contextlib.contextmanager
def started(
    size: int,
    *arguments: str,
    home: Path,
    own: Sequence[Sequence[str]] = (),
    environments: Sequence[dict[str, str]] = (),
    folders: Sequence[Path] = (),
    addresses: Sequence[str] = (),
    before: Sequence[Sequence[str]] = (),
) -> Iterator[list[Rank]]:
    """`lora-studio` as so many ranks; those that are left at the end are killed.

    Args:
        own: rank by rank further arguments; so are environments, working folders, addresses with
            their ports, and what stands before the command.
    """
    home.mkdir(parents=True, exist_ok=True)
    ranks = []
    printed = home / f"ranks-{time.monotonic_ns()}"
    try:
        for rank, variables in enumerate(hosts_of(size, home, addresses)):
            variables |= {
                "LORA_STUDIO_HOME": str(home),
                **(environments[rank] if environments else {}),
            }
            out, err = (printed.with_suffix(f".{rank}.{name}") for name in ("out", "err"))
            with out.open("wb") as to, err.open("wb") as errors:
                command = [sys.executable, "-m", "tui.main", *arguments]
                process = subprocess.Popen(
                    [*(before[rank] if before else ()), *command, *(own[rank] if own else ())],
                    env=variables,
                    cwd=folders[rank] if folders else ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=to,
                    stderr=errors,
                )
            ranks.append(Rank(process, out, err))
        yield ranks
    finally:
        for each in ranks:
            each.process.send_signal(signal.SIGKILL)
            each.process.wait()


def ended(ranks: Sequence[Rank], timeout: float = TIMEOUT) -> list[int]:
    """The exit statuses of all ranks, waited for."""
    end = time.monotonic() + timeout
    try:
        return [each.process.wait(max(0.1, end - time.monotonic())) for each in ranks]
    except subprocess.TimeoutExpired as late:
        raise AssertionError([each.said() for each in ranks]) from late


def train(
    size: int, name: str, home: Path, arguments: Sequence[str] = (), **values: Any
) -> contextlib.AbstractContextManager[list[Rank]]:
    """A short run of that name, begun by so many ranks."""
    chosen = words(**{**SHORT, **values})
    return started(size, "train", "starter", "--run-name", name, *chosen, *arguments, home=home)


def wait_for_step(ranks: Sequence[Rank], folder: Path, step: int) -> None:
    """Wait until a run has reported a step."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        file = folder / "metrics.jsonl"
        lines = file.read_text().splitlines() if file.exists() else []
        with contextlib.suppress(ValueError):  # of a line that is being written
            if any(json.loads(line)["step"] >= step for line in lines):
                return
        assert all(each.process.poll() is None for each in ranks), [r.said() for r in ranks]
        time.sleep(0.02)
    raise AssertionError([each.said() for each in ranks])
