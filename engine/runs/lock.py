"""Who may write a run: one process at a time, held by the system and let go when it dies."""

import contextlib
import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from engine.errors import UserError
from engine.runs.durable import read_file
from engine.runs.json_lines import from_line
from engine.runs.storage import StorageError

TIMEOUT = 0.5  # seconds; someone who only asks whether the lock is held takes it for an instant
# What `flock` says on file systems that know no locks; the file's text is then advice.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock. `since` is a UTC time in ISO form."""

    pid: int
    host: str
    since: str


class RunBusy(UserError):
    """Another process, or another part of this one, is writing the run."""

    def __init__(self, name: str, holder: Holder | None, file: Path) -> None:
        self.holder = holder
        who = f"process {holder.pid} on {holder.host} since {holder.since}" if holder else "another"
        super().__init__(
            f"the run {name!r} is in use by {who}: `lora-studio runs stop {name}` stops it "
            f"(if that process is long gone, delete {file})"
        )


@contextlib.contextmanager
def hold(file: Path, name: str) -> Iterator[None]:
    """Hold the lock `file` of the run called `name` for as long as the context lasts.

    Raises:
        RunBusy: someone else holds it.
        StorageError: the file cannot be made.
    """
    try:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        raise StorageError(file, error) from error
    try:
        if not _acquire(descriptor, file):
            raise RunBusy(name, _holder_in(file), file)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        _write(descriptor, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), now))))
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def holder(file: Path) -> Holder | None:
    """Who holds the lock `file` now; None when nobody does."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _holder_in(file) or Holder(0, "an unknown host", "an unknown time")
    except OSError:
        return _alive(_holder_in(file))
    finally:
        os.close(descriptor)
    return None


def _acquire(descriptor: int, file: Path) -> bool:
    deadline = time.monotonic() + TIMEOUT
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(TIMEOUT / 10)
        except OSError as error:
            if error.errno in _NO_LOCKS:
                return _alive(_holder_in(file)) is None
            raise StorageError(file, error) from error


def _alive(holder: Holder | None) -> Holder | None:
    """The holder, unless it is seen to be gone; one on another host is taken to be alive."""
    if holder is None or holder.host != socket.gethostname():
        return holder
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass  # another user's
    return holder


def _holder_in(file: Path) -> Holder | None:
    try:
        facts = from_line(read_file(file, limit=1000)) or {}
        since = datetime.fromisoformat(facts["since"])
        return Holder(int(facts["pid"]), str(facts["host"]), since.isoformat(timespec="seconds"))
    except (OSError, KeyError, ValueError, TypeError, OverflowError):
        return None


def _write(descriptor: int, text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk: the lock itself needs no space
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, text.encode(), 0)
