"""The setting that a message about a failed run speaks of."""

import re

from engine.settings.schema import fields


def setting_at_fault(message: str) -> str | None:
    """The key of the first setting that is named in a message; keys that are no words of the
    language, such as `max_completion_length`, before those that are."""
    keys = {each.key for each in fields()}
    named = [word for word in re.findall(r"[\w.]*\w", message) if word in keys]
    return next((key for key in named if "_" in key or "." in key), named[0] if named else None)
