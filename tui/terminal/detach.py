"""A run that goes on without a screen after the app has quit, in a process of its own."""

import subprocess
import sys
import time

from engine.runs.archive import name_to_open
from engine.runs.folder import Run
from tui.text.safe_text import safe_line

TIMEOUT = 60.0  # seconds that the new process gets to begin
POLL_SECONDS = 0.1


def detach(run: Run) -> str:
    """Resume a stopped run behind the shell; the sentence that says whether it goes on.

    This process must have released the run.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "tui.main", "resume", str(run.path)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # signals for this terminal are not for it
    )
    name, command = safe_line(run.name, 120), safe_line(name_to_open(run.path), 1_000)
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and process.poll() is None:
        holder = run.holder()
        if holder and holder.pid == process.pid:
            process.returncode = 0  # it is not this process's to wait for
            shows = "" if command == run.name else f" runs show {command} --follow"
            return (
                f"{name} goes on without a screen, as process {holder.pid}: "
                f"`lora-studio{shows}` shows it, `lora-studio runs stop {command}` ends it"
            )
        time.sleep(POLL_SECONDS)
    return f"{name} did not go on; `lora-studio resume {command}` says why"
