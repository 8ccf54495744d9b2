"""The process that works through the queue, behind the shell: it outlives the app and its terminal.

It is `lora-studio sweep queue`, which anybody may start in a terminal as well.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

from engine.errors import UserError
from engine.runs.lock import Holder
from engine.runs.sweep import QUEUE, file_of, worker_of

LOG = f"{QUEUE}.log"  # beside the file of the queue: what the process said
_asked: set[Holder] = set()  # the processes that this one has asked to stop


def start() -> None:
    """Start the process, unless one is at work.

    Raises:
        UserError: its log cannot be written.
    """
    if worker_of(QUEUE):
        return
    try:
        with file_of(QUEUE).with_name(LOG).open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tui.main", "sweep", QUEUE],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # signals for this terminal are not for it
            )
        threading.Thread(target=process.wait, daemon=True).start()  # or it stays a zombie
    except OSError as error:
        raise UserError(f"the queue cannot be started: {error.strerror}") from error


def stop() -> None:
    """Ask whatever process works through the queue to stop, the run that trains with a checkpoint.
    It is asked once: a second signal would end it without one.

    Raises:
        UserError: it runs on another machine.
    """
    worker = worker_of(QUEUE)
    if worker is None or worker in _asked:
        return
    if worker.host != socket.gethostname():
        who = f"process {worker.pid} on {worker.host}"
        raise UserError(f"{who} works through the queue: stop it there")
    _asked.add(worker)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker.pid, signal.SIGTERM)
