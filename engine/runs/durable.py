"""Files and folders that are replaced whole: a kill, a power cut or a full disk leaves the old or
the new, never half.
"""

import contextlib
import errno
import itertools
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from engine.runs.storage import (
    PRIVATE_FILE,
    PRIVATE_FOLDER,
    StorageError,
    claim,
    make_private,
    opened_file,
    read_span,
    sole_writer,
    storage_cause,
    sync_descriptor,
    sync_file,
    sync_folder,
    write_all,
)

# Endings of hidden names: being written, set aside while a new one takes its place, being removed.
UNFINISHED, SET_ASIDE, LEAVING = ".tmp", ".old", ".gone"
MARK = ".lora-studio"  # in a name that says whose it is
# What a kill leaves in one of the program's own folders: its name, or that of earlier versions for
# a checkpoint, the ending first. MLX adds `.safetensors` to the name that it is given.
_OF_A_KILL = re.compile(r"\..+\.(tmp|gone)(\.safetensors)?|\.(tmp|gone)-\d+")
_SET_ASIDE = re.compile(r"\.(.+)\.old|\.old-(\d+)")
_temporary_names = itertools.count()


def write_file(path: Path, data: bytes | str, *, sync: bool = True, private: bool = True) -> None:
    """Replace `path` in one step; synced to the disk on return.

    What killed writers left of it goes too. Without `sync` a kill still leaves the old file or the
    new, and a power cut may leave neither. `private`: its owner alone may read it, and else whom
    the umask lets.

    Raises:
        StorageError: the old file, if any, is as it was.
    """
    try:
        temporary, file = _new_file_beside(path, PRIVATE_FILE if private else 0o666)
        try:
            try:
                claim(file)
                write_all(file, data.encode() if isinstance(data, str) else data)
                if sync:
                    sync_descriptor(file)
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


def _new_file_beside(path: Path, mode: int) -> tuple[Path, int]:
    """A new temporary file to become `path`, and its descriptor. Its number is free even where
    a process with the number of this one, as in a container, was killed before."""
    beginning = _beginning(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    while True:
        number = next(_temporary_names)
        temporary = path.with_name(f"{beginning}{os.getpid()}-{number}{UNFINISHED}")
        with contextlib.suppress(FileExistsError):
            return temporary, os.open(temporary, flags, mode)


def _beginning(path: Path) -> str:
    """How the names of temporary files begin that are to become `path`."""
    return f".{path.name}{MARK}-"


def read_file(path: Path, limit: int) -> bytes:
    """At most `limit` bytes of a regular file; a pipe or device raises OSError at once."""
    with opened_file(path, os.O_RDONLY | os.O_NONBLOCK) as file:
        return read_span(file, 0, limit)


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
        with sole_writer(making):
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
    notes: list[str] = []
    for left in sorted(folder.iterdir()) if folder.is_dir() else []:
        if (old := _SET_ASIDE.fullmatch(left.name)) and left.is_dir():
            path = left.with_name(old[1] or old[2])
            if _put_back(left, path):
                notes.append(f"{path.name} was put back")
        elif _OF_A_KILL.fullmatch(left.name):
            unfinished = left.is_dir() and LEAVING not in left.name
            if _remove_unless_held(left) and unfinished:
                notes.append(f"an unfinished folder, {left.name}, was removed")
    return notes


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
    with contextlib.suppress(OSError), sole_writer(left):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink()
    return not os.path.lexists(left)
