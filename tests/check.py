"""Everything that has to hold before a change lands: `python -m tests.check [--quick]`.

One line a check; what a failed one printed follows its line. `--quick` runs the tests marked
`quick` alone.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[1]
TYPES = "pyright"
PROGRAMS = Path(sys.executable).parent  # where an environment keeps what its packages install
# Processes that share the tests: one more than there are cores to fill, since many tests wait for a
# screen or a program.
WORKERS = min(os.cpu_count() or 1, 8) + 1


def checks(quick: bool) -> dict[str, list[str]]:
    """The command of each check, by the name it is reported under."""
    marked = ["-m", "quick"] if quick else []
    # Tests of a file stay together, which share models and runs, until somebody has none left.
    shared = ["-n", str(WORKERS), "--dist", "worksteal"]
    return {
        "ruff": [_program("ruff"), "check"],
        "format": [_program("ruff"), "format", "--check"],
        TYPES: [_program("pyright"), "--pythonpath", sys.executable],
        "imports": [_program("lint-imports")],
        "tests": [sys.executable, "-m", "pytest", *shared, *marked],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all checks; 0 where every one of them passed, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.check", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the tests marked quick")
    commands = checks(parser.parse_args(arguments).quick)
    with ThreadPoolExecutor(1) as pool:
        # Beside all others: it takes a minute, and of the cores only one.
        types = pool.submit(_finish, commands.pop(TYPES))
        results = [_run(name, command) for name, command in commands.items()]
        results.append(_report(TYPES, *types.result()))
    return 0 if all(results) else 1


def _run(name: str, command: list[str]) -> bool:
    """Run one check and report it; the tests show what they do as they do it."""
    shows = name == "tests" or not sys.stdout.isatty()
    print(f"{name:<8} …", end="\n" if shows else "\r", flush=True)
    return _report(name, *_finish(command, shown=name == "tests"))


def _finish(command: list[str], *, shown: bool = False) -> tuple[CompletedProcess[str], float]:
    """Run a command to its end; with what it said, unless it is `shown`, and the seconds."""
    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            check=False,
            text=True,
            stdout=None if shown else subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except FileNotFoundError:
        absent = f"there is no {command[0]}: pip install -e '.[dev]'"
        done = CompletedProcess(command, 127, absent)
    return done, time.monotonic() - start


def _report(name: str, done: CompletedProcess[str], seconds: float) -> bool:
    result = "ok" if done.returncode == 0 else "FAILED"
    print(f"{name:<8} {result:<6} {seconds:5.0f} s", flush=True)
    if done.returncode and done.stdout:
        print(done.stdout.rstrip(), flush=True)
    return done.returncode == 0


def _program(name: str) -> str:
    beside = PROGRAMS / name
    return str(beside) if os.access(beside, os.X_OK) else name


if __name__ == "__main__":
    raise SystemExit(main())
