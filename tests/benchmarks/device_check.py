"""What this program does on the device at hand: `python -m tests.benchmarks.device_check`.

On Metal, CUDA or a CPU, in one command and at most nine minutes: the device and what its kernels
take, the first step of every train type and quantisation, the rules of threads, the starter, and
steps of two shapes of this year, beside mlx-lm-lora and TRL where those are installed. A part is a
process of its own, so that one that crashes or takes too long is a line of the table, and the
others go on.

    --only first_step,threads   some of the parts: facts, threads, first_step, starter, qwen3,
                                qwen3_5
    --minutes 9                 the most that all of it may take
    --json FILE                 what was measured, written after each part
"""

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.signals import leave_when_told_to_end

Row = dict[str, Any]  # part, what, value, and whether it is as it should be (null: no matter)

# The most seconds that each part may take, in the order in which they run.
PARTS = {
    "facts": 60,
    "qwen3": 180,
    "threads": 60,
    "first_step": 200,
    "starter": 120,
    "qwen3_5": 120,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure this program on the device at hand.")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, comma-separated")
    parser.add_argument("--minutes", type=float, default=9, help="the most that it may take")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    leave_when_told_to_end()
    end = time.monotonic() + 60 * options.minutes
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for part in chosen:
            print(f"{part} ...", flush=True)
            start = time.monotonic()
            seconds = min(PARTS[part], end - start)
            rows += [{"part": part} | row for row in run_part(part, Path(folder, part), seconds)]
            rows.append(row_of(part, "seconds in all", round(time.monotonic() - start)))
            if options.json:
                options.json.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    show(rows)


def row_of(part: str, what: str, value: object, ok: bool | None = None) -> Row:
    return {"part": part, "what": what, "value": value, "ok": ok}


def run_part(part: str, folder: Path, seconds: float) -> Iterator[Row]:
    """The rows of a part as its process prints them; it is ended after so many seconds."""
    if seconds <= 0:
        yield row_of(part, "not run", "the time was up")
        return
    folder.mkdir()
    log = folder / "errors.txt"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.benchmarks.workers.device", part, str(folder)],
        stdout=subprocess.PIPE,
        stderr=log.open("w"),
        text=True,
        env=os.environ | {"LORA_STUDIO_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"},
        start_new_session=True,
    )
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(process, lines), daemon=True).start()
    end = time.monotonic() + seconds
    try:
        while (line := lines.get(timeout=max(0.01, end - time.monotonic()))) is not None:
            print(f"  {line.strip()}", flush=True)
            yield json.loads(line)
        if process.wait():
            yield row_of(part, f"ended with status {process.returncode}", _end_of(log), False)
    except queue.Empty:
        yield row_of(part, "not finished", f"ended after {seconds:.0f} s: {_end_of(log)}", False)
    finally:
        kill_with_children(process)
        process.wait()


def _read(process: subprocess.Popen[str], lines: "queue.SimpleQueue[str | None]") -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def kill_with_children(process: subprocess.Popen[str]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _end_of(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-3:])[-400:]


def show(rows: list[Row]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table()
    for column in ("part", "what", "measured", ""):
        table.add_column(column, overflow="fold")
    part = ""
    for row in rows:
        mark = {True: "as it should be", False: "NOT AS IT SHOULD BE", None: ""}[row["ok"]]
        value = row["value"]
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        table.add_row(row["part"] if row["part"] != part else "", row["what"], text, mark)
        part = row["part"]
    Console(width=None if sys.stdout.isatty() else 140).print(table)


if __name__ == "__main__":
    main()
