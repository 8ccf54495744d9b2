"""Training by several processes, each of which takes a part of every step's batch.

At the starter's size MLX uses one core, so that a second process halves the time of a build.
Gradients are averaged by `mlx.distributed`, over sockets of this machine; afterwards all
processes have the same weights, bit for bit.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import mlx.core as mx
import mlx.nn as nn

POLL_SECONDS = 0.5

Item = TypeVar("Item")


def run_in_processes(count: int, command: Sequence[str]) -> int:
    """Run `python COMMAND...` in `count` processes that find each other by `mlx.distributed`.

    Returns:
        0, or the status of the first that failed; the others are then ended, as all are where
        this process is told to end.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _leave)
    with tempfile.TemporaryDirectory() as folder:
        hosts = Path(folder) / "hosts.json"
        hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(count)]))
        started = [
            subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | {"MLX_RANK": str(rank), "MLX_HOSTFILE": str(hosts)},
            )
            for rank in range(count)
        ]
        try:
            while True:
                statuses = [process.poll() for process in started]
                failed = [status for status in statuses if status]
                if failed or None not in statuses:
                    return failed[0] if failed else 0
                time.sleep(POLL_SECONDS)
        finally:
            for process in started:
                process.kill()
                process.wait()


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def is_one_of_several() -> bool:
    """Whether `run_in_processes` started this process."""
    return "MLX_RANK" in os.environ


def rank() -> int:
    """Number of this process among all, from 0."""
    return mx.distributed.init().rank()


def own_part(items: Sequence[Item]) -> list[Item]:
    """This process's share of what all have drawn alike: every second of two processes."""
    group = mx.distributed.init()
    return list(items[group.rank() :: group.size()])


def size() -> int:
    """How many processes there are."""
    return mx.distributed.init().size()


def average(gradients: Any) -> Any:
    """The mean of all processes' gradients, a tree of arrays of the same shapes."""
    return nn.average_gradients(gradients)


def wait_for_all() -> None:
    mx.eval(mx.distributed.all_sum(mx.array(1.0)))
