"""Writing files so that a kill, a power cut or a full disk leaves the old or the new, never half.

Records are JSON objects, one a line. What is written is UTF-8 whatever the locale, holds no NaN
or infinity (null instead), and shows control and direction-changing characters as escapes, so
that a file can be looked at in a terminal.
"""

import contextlib
import errno
import fcntl
import itertools
import json
import math
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from engine.errors import RunError

Record = dict[str, Any]

WHOLE_DIGITS = 300  # of a whole number that is read; the largest float has 309
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
# Endings of hidden names: being written, set aside while a new one takes its place, being removed.
UNFINISHED, SET_ASIDE, LEAVING = ".tmp", ".old", ".gone"
MARK = ".lora-studio"  # in a name that says whose it is
# What a kill leaves in one of the program's own folders: its name, or that of earlier versions for
# a checkpoint, the ending first. MLX adds `.safetensors` to the name that it is given.
_OF_A_KILL = re.compile(r"\..+\.(tmp|gone)(\.safetensors)?|\.(tmp|gone)-\d+")
_SET_ASIDE = re.compile(r"\.(.+)\.old|\.old-(\d+)")

_temporary_names = itertools.count()
_SURROGATES = re.compile("[\ud800-\udfff]")
# C1 controls, separators that some readers take for line ends, and direction overrides.
_UNSEEN = [*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_ESCAPED_IN_JSON = {code: f"\\u{code:04x}" for code in _UNSEEN}
_ESCAPED_IN_TEXT = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in [*range(0x09), *range(0x0B, 0x20), *_UNSEEN]
}


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
        return error
    if isinstance(error, RuntimeError):
        if found := _refusal(folder):
            return found
        if str(error).startswith("[save"):  # it could not, and by now one can again
            return OSError(errno.EIO, os.strerror(errno.EIO))
    return None


def _refusal(folder: Path) -> OSError | None:
    """The error that writing a little to `folder` meets now."""
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as probe:
            _write_all(probe.fileno(), bytes(1 << 17))
    except OSError as error:
        return error
    return None


# -- records as text -----------------------------------------------------------------------------


def to_json(value: object) -> str:
    """`value` as one line of JSON."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_plain)
    return _SURROGATES.sub("\ufffd", text).translate(_ESCAPED_IN_JSON)


def to_line(record: Mapping[str, Any] | str) -> bytes:
    """One line of a file: a record as JSON, or text in which control characters are visible."""
    if isinstance(record, str):
        text = _SURROGATES.sub("\ufffd", record.rstrip("\n")).translate(_ESCAPED_IN_TEXT)
    else:
        text = to_json(record)
    return text.encode() + b"\n"


def from_line(line: bytes) -> Record | None:
    """The record that a line holds; None when it holds no JSON object. Whole numbers that no
    float can hold are null, as other numbers that JSON does not know are."""
    try:
        value = json.loads(line, parse_constant=lambda _: None, parse_int=_whole)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _whole(digits: str) -> int | None:
    return int(digits) if len(digits) <= WHOLE_DIGITS else None


def _finite(value: object) -> object:
    """`value` with every number that JSON does not know as None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value if isinstance(value, str | int | None) else _finite(_plain(value))


def _plain(value: Any) -> Any:
    """Scalars of array libraries as numbers, paths as text."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if hasattr(value, "item"):
        number = value.item()
        return None if isinstance(number, float) and not math.isfinite(number) else number
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


# -- whole files ---------------------------------------------------------------------------------


def write_file(path: Path, data: bytes | str, *, sync: bool = True) -> None:
    """Replace `path` in one step, readable by its owner alone; synced to the disk on return.

    What killed writers left of it goes too. Without `sync` a kill still leaves the old file or the
    new, and a power cut may leave neither.

    Raises:
        StorageError: the old file, if any, is as it was.
    """
    try:
        temporary, file = _new_file_beside(path)
        try:
            try:
                _hold(file)
                _write_all(file, data.encode() if isinstance(data, str) else data)
                if sync:
                    _sync(file)
                os.replace(temporary, path)
            finally:
                os.close(file)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(path, error) from error
    with contextlib.suppress(OSError):
        for left in os.listdir(path.parent):
            if left.startswith(_beginning(path)) and left.endswith(UNFINISHED):
                _remove_unless_held(path.with_name(left))


def _new_file_beside(path: Path) -> tuple[Path, int]:
    """A new temporary file to become `path`, and its descriptor. Its number is free even where
    a process with the number of this one, as in a container, was killed before."""
    beginning = _beginning(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        number = next(_temporary_names)
        temporary = path.with_name(f"{beginning}{os.getpid()}-{number}{UNFINISHED}")
        with contextlib.suppress(FileExistsError):
            return temporary, os.open(temporary, flags, PRIVATE_FILE)


def _beginning(path: Path) -> str:
    """How the names of temporary files begin that are to become `path`."""
    return f".{path.name}{MARK}-"


def read_file(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a regular file; a pipe or device raises OSError at once."""
    with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
        return _read(file, 0, limit)


def sync_file(path: Path) -> None:
    """Wait until the disk has what was written to `path`."""
    with _opened(path, os.O_RDONLY) as file:
        _sync(file)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in `folder`; some file systems cannot, and need not."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):
            os.fsync(file)
    finally:
        os.close(file)


# -- whole folders -------------------------------------------------------------------------------


@contextlib.contextmanager
def new_folder(path: Path, *, private: bool = True) -> Iterator[Path]:
    """A folder to write into that becomes `path`, whole and on the disk, when the context ends.

    It takes the place of a folder that is there already. `private` says that it stands in one of
    the program's own folders: then its owner alone may read it, and else whom the umask lets.

    Raises:
        StorageError: it could not be written; what was at `path` before is there.
    """
    making, aside = making_of(path, private=private), _beside(path, SET_ASIDE, private)
    try:
        mode = PRIVATE_FOLDER if private else 0o777  # less what the umask takes
        path.parent.mkdir(parents=not private, exist_ok=True, mode=mode)
        tidy_folder(path, private=private)
        if os.path.lexists(making):
            raise OSError(errno.EBUSY, "another process is writing it")
        making.mkdir(mode=mode)
        with _held(making):
            yield making
            _settle(making, private)
            if os.path.lexists(path):
                path.rename(aside)
            making.rename(path)
        sync_folder(path.parent)
        shutil.rmtree(aside, ignore_errors=True)
    except BaseException as error:
        cause = storage_cause(error, path.parent)
        tidy_folder(path, private=private)
        if cause:
            raise StorageError(path, cause) from error
        raise


def remove_folder(path: Path) -> None:
    """Remove one of the program's own folders: whole for whoever looks, or gone.

    Raises:
        StorageError: it is as it was.
    """
    leaving = _beside(path, LEAVING, private=True)
    try:
        shutil.rmtree(leaving, ignore_errors=True)
        path.rename(leaving)
    except OSError as error:
        raise StorageError(path, error) from error
    shutil.rmtree(leaving, ignore_errors=True)


def making_of(path: Path, *, private: bool = True) -> Path:
    """Where the folder that is to become `path` is written."""
    return _beside(path, UNFINISHED, private)


def tidy_folder(path: Path, *, private: bool = True) -> None:
    """Remove or put back what a killed `new_folder` left of `path`; nothing that another process
    is writing now, and outside the program's own folders nothing without the program's name."""
    aside = _beside(path, SET_ASIDE, private)
    if os.path.lexists(aside):
        _put_back(aside, path)
    _remove_unless_held(making_of(path, private=private))


def tidy(folder: Path) -> list[str]:
    """Remove or put back what killed writers left in one of the program's own folders; a
    sentence on each folder among it. What cannot be removed now is left."""
    found: list[str] = []
    for left in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (old := _SET_ASIDE.fullmatch(left.name)) and left.is_dir():
            path = left.with_name(old[1] or old[2])
            if _put_back(left, path):
                found.append(f"{path.name} was put back")
        elif _OF_A_KILL.fullmatch(left.name):
            unfinished = left.is_dir() and LEAVING not in left.name
            if _remove_unless_held(left) and unfinished:
                found.append(f"an unfinished folder, {left.name}, was removed")
    return found


def make_private(path: Path) -> None:
    """Let the owner alone read a file or folder that another library has written."""
    path.chmod(PRIVATE_FOLDER if path.is_dir() else PRIVATE_FILE)


def _beside(path: Path, ending: str, private: bool) -> Path:
    """A name beside `path`; in a folder that is not the program's own it says whose it is."""
    return path.with_name(f".{path.name}{'' if private else MARK}{ending}")


def _settle(folder: Path, private: bool) -> None:
    """Wait until the disk has all that is in a folder, and the folder."""
    for path in (*folder.rglob("*"), folder):
        if private:
            make_private(path)
        if path.is_dir():
            sync_folder(path)
        else:
            sync_file(path)


def _put_back(aside: Path, path: Path) -> bool:
    """Give a folder that was set aside its name again, unless another has taken it; whether."""
    if os.path.lexists(path):
        shutil.rmtree(aside, ignore_errors=True)
        return False
    with contextlib.suppress(OSError):
        aside.rename(path)
        return True
    return False


def _remove_unless_held(left: Path) -> bool:
    """Remove a temporary file or folder that nobody is writing; whether it is gone."""
    with contextlib.suppress(OSError), _held(left):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()
    return not os.path.lexists(left)


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a temporary file or folder as being written.

    Raises:
        BlockingIOError: another writer holds it.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _hold(descriptor)
        yield
    finally:
        os.close(descriptor)


def _hold(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # a file system without locks
        pass


# -- files of lines ------------------------------------------------------------------------------


def append_lines(path: Path, records: Iterable[Mapping[str, Any] | str], *, sync: bool) -> None:
    """Add whole lines in one write; with `sync`, return only when the disk has them.

    Raises:
        StorageError: the file ends as it did before, with no part of a line added.
    """
    data = b"".join(map(to_line, records))
    try:
        with _open_for_append(path) as file:
            end = os.fstat(file).st_size
            try:
                _write_all(file, data)
                if sync:
                    _sync(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        if sync and end == 0:
            sync_folder(path.parent)
    except OSError as error:
        raise StorageError(path, error) from error


def repair_last_line(path: Path) -> int:
    """Cut off a last line that a kill left unfinished; return how many bytes were cut.

    A last line that only lacks its line end, as any line of text may, is kept and given one.
    """
    if not path.exists():
        return 0
    try:
        with _open_for_append(path) as file:
            size = os.fstat(file).st_size
            start = _end_of_whole_lines(file, size)
            if start == size:
                return 0
            last = _read(file, start, size - start)
            if path.suffix == ".txt" or from_line(last) is not None:
                _write_all(file, b"\n")
                return 0
            os.ftruncate(file, start)
            _sync(file)
            return size - start
    except OSError as error:
        raise StorageError(path, error) from error


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, in order; lines that hold none, and an unfinished last, are left out.

    A file that is not there has no records.
    """
    try:
        with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            for line in os.fdopen(file, "rb", closefd=False):
                if line.endswith(b"\n") and (record := from_line(line)) is not None:
                    yield record
    except FileNotFoundError:
        return


def last_records(path: Path, count: int) -> list[Record]:
    """The last `count` records of a file, oldest first, read from its end."""
    try:
        with _opened(path, os.O_RDONLY | os.O_NONBLOCK) as file:
            size = os.fstat(file).st_size
            span = 4096
            while True:
                start = max(size - span, 0)
                whole, _, _ = _read(file, start, size - start).rpartition(b"\n")
                lines = whole.split(b"\n")[1 if start else 0 :]
                if start == 0 or len(lines) >= count:
                    break
                span *= 4
    except FileNotFoundError:
        return []
    records = (from_line(line) for line in lines)
    return [record for record in records if record is not None][-count:]


def rewrite_records(path: Path, change: Callable[[Record], Record | None]) -> int:
    """Pass each record through `change`, which returns it, another, or None to drop it.

    The file is replaced in one step, and only when something changes; lines that hold no record
    are dropped with it. Returns how many lines were changed or dropped.
    """
    if not path.exists():
        return 0
    try:
        with _open_for_append(path) as file:
            kept: list[bytes] = []
            changed = 0
            lines = _read(file, 0, os.fstat(file).st_size).removesuffix(b"\n").split(b"\n")
            for line in filter(None, lines):
                record = from_line(line)
                new = change(dict(record)) if record is not None else None
                if new is not None:
                    kept.append(line + b"\n" if new == record else to_line(new))
                changed += record is None or new != record
            if changed:
                write_file(path, b"".join(kept))
            return changed
    except OSError as error:
        raise StorageError(path, error) from error


class Follower:
    """Reads what is added to a file of records, which another process may be writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._file_id: tuple[int, int] | None = None

    def skip(self) -> None:
        """Leave out the whole lines that are there now, without reading them."""
        with (
            contextlib.suppress(FileNotFoundError),
            _opened(self.path, os.O_RDONLY | os.O_NONBLOCK) as file,
        ):
            facts = os.fstat(file)
            self._file_id = (facts.st_dev, facts.st_ino)
            self._offset = _end_of_whole_lines(file, facts.st_size)

    def read(self) -> tuple[bool, list[Record]]:
        """(whether the file was replaced since, the records since then or since the last call)."""
        try:
            with _opened(self.path, os.O_RDONLY | os.O_NONBLOCK) as file:
                facts = os.fstat(file)
                file_id = (facts.st_dev, facts.st_ino)
                known = self._file_id is not None
                replaced = known and (file_id != self._file_id or facts.st_size < self._offset)
                if replaced:
                    self._offset = 0
                self._file_id = file_id
                data = _read(file, self._offset, facts.st_size - self._offset)
        except FileNotFoundError:
            return False, []
        whole, newline, _ = data.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        records = (from_line(line) for line in whole.split(b"\n"))
        return replaced, [record for record in records if record is not None]


# -- descriptors ---------------------------------------------------------------------------------


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor of a regular file; a pipe or device is refused, lest reading it hang."""
    file = os.open(path, flags | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file
    finally:
        os.close(file)


@contextlib.contextmanager
def _open_for_append(path: Path) -> Iterator[int]:
    """A locked descriptor at the end of the file that now bears the name; links are refused."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        with _opened(path, flags) as file:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(file, fcntl.LOCK_EX)
            try:
                current = os.stat(path, follow_symlinks=False).st_ino
            except FileNotFoundError:
                continue
            if current == os.fstat(file).st_ino:  # else it was replaced while this one waited
                yield file
                return


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _read(file: int, offset: int, count: int) -> bytes:
    parts: list[bytes] = []
    while count > 0 and (part := os.pread(file, min(count, 1 << 30), offset)):
        parts.append(part)
        offset += len(part)
        count -= len(part)
    return b"".join(parts)


def _end_of_whole_lines(file: int, size: int) -> int:
    """The offset just after the last line end."""
    end = size
    while end > 0:
        start = max(end - 65536, 0)
        found = _read(file, start, end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
        end = start
    return 0


def _sync(file: int) -> None:
    os.fsync(file)
    if sys.platform == "darwin":  # fsync alone leaves it in the drive's own cache there
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_FULLFSYNC)
