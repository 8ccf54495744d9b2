"""A process that writes, killed just before its n-th call that changes a file."""

import subprocess
import sys

DYING = """
import os, signal, sys
from pathlib import Path
from engine.runs.folder import Run

left = int(sys.argv[1])

def dying(real):
    def call(*arguments, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return call

def begin_to_die():
    for name in ("write", "replace", "rename", "mkdir", "unlink", "ftruncate", "fsync"):
        setattr(os, name, dying(getattr(os, name)))
"""


def killed_at(instant: int, writes: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run code that calls `begin_to_die()` and then writes; it knows `Path`, `Run`, and the
    arguments as texts, `sys.argv[2:]`. Killed before so many calls, unless it makes fewer."""
    command = [sys.executable, "-c", DYING + writes, str(instant), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
