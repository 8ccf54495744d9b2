"""The system's calls under files that outlive a kill or a power cut, and the error of a file that
cannot be written.
"""

import contextlib
import errno
import fcntl
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from engine.errors import RunError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


class StorageError(RunError):
    """A file of a run could not be written; nothing that was written before is damaged."""

    def __init__(self, path: Path, cause: OSError) -> None:
        self.path = path
        self.errno = cause.errno
        todo = {
            errno.ENOSPC: "free some space",
            errno.EDQUOT: "free some space",
            errno.ENOENT: "put its folder back",
            errno.EBUSY: "wait until that is done",
        }.get(cause.errno or 0, "make its folder writable")
        super().__init__(f"cannot write {path}: {cause.strerror or cause}; {todo} and go on")


def storage_cause(error: BaseException, folder: Path) -> OSError | None:
    """The system's error behind one met while writing to `folder`; MLX reports them vaguely."""
    if isinstance(error, OSError):
        # numpy tells how much was written, and not why no more
        return error if error.errno else _refusal(folder) or error
    if isinstance(error, RuntimeError):
        if refusal := _refusal(folder):
            return refusal
        if str(error).startswith("[save"):  # it could not, and by now one can again
            return OSError(errno.EIO, os.strerror(errno.EIO))
    return None


def _refusal(folder: Path) -> OSError | None:
    """The error that writing a little to `folder` meets now."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            write_all(probe.fileno(), bytes(1 << 17))
    except OSError as error:
        return error
    return None


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to `path`."""
    with opened_file(path, os.O_RDONLY) as file:
        sync_descriptor(file)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`; some file systems cannot, and need not."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(file)
    finally:
        os.close(file)


def make_private(path: Path) -> None:
    """Let the owner alone read a file or folder that another library has written."""
    path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)


@contextlib.contextmanager
def sole_writer(path: Path) -> Iterator[None]:
    """Hold a temporary file or folder as being written.

    Raises:
        BlockingIOError: another writer holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        claim(descriptor)
        yield
    finally:
        os.close(descriptor)


def claim(descriptor: int) -> None:
    """Lock an open temporary file or folder for this writer; raises as `sole_writer`."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


@contextlib.contextmanager
def opened_file(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of a regular file; a pipe or device is refused, lest reading it hang."""
    file = os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def locked_for_append(path: Path) -> Iterator[int]:
    """A locked descriptor at the end of the file that now bears the name; links are refused."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with opened_file(path, flags) as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = os.stat(path, follow_symlinks=False).st_ino
            except FileNotFoundError:
                continue
            if current == os.fstat(file).st_ino:  # else it was replaced while this one waited
                yield file
                return


def write_all(file: int, data: bytes) -> None:
    """Write all of `data` to a descriptor, in as many parts as the system takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def read_span(file: int, offset: int, count: int) -> bytes:
    """At most `count` bytes of a descriptor from `offset` on."""
    parts: list[bytes] = []
    while count > 0 and (part := os.pread(file, min(count, 1 << 30), offset)):
        parts.append(part)
        offset += len(part)
        count -= len(part)
    return b"".join(parts)


def sync_descriptor(file: int) -> None:
    """Wait until the disk has what was written to a descriptor."""
    os.fsync(file)
    if sys.platform == "darwin":  # fsync alone leaves it in the drive's own cache there
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
