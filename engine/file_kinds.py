"""What a path leads to.

From Python 3.14 on, `Path`'s own questions say that what may not be looked at is absent; these
raise, so that a person is told why.
"""

import errno
import stat
from pathlib import Path

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EBADF, errno.ELOOP)


def exists(path: Path) -> bool:
    """Raises OSError: it may not be looked at, or its name is too long."""
    return _mode(path) != 0


def is_file(path: Path) -> bool:
    """Raises OSError: as `exists`."""
    return stat.S_ISREG(_mode(path))


def is_dir(path: Path) -> bool:
    """Raises OSError: as `exists`."""
    return stat.S_ISDIR(_mode(path))


def _mode(path: Path) -> int:
    """The mode of what is there, 0 where nothing is."""
    try:
        return path.stat().st_mode
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise
    except ValueError:  # a name that no file can have
        return 0
