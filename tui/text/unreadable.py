"""A file that cannot be read, in one sentence."""

from engine.errors import UserError


def unreadable(error: OSError) -> UserError:
    """Which file it is, and why."""
    return UserError(f"{error.filename} cannot be read: {error.strerror or error}")
