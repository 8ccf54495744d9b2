"""The key for a server, which an environment variable has."""

import os

from engine.errors import UserError
from engine.secrets import keep_secret


def key_of(variable: str | None, setting: str) -> str | None:
    """The key in an environment variable, which nothing then tells; None where none is named.

    Raises:
        UserError: it is not there, or no request can have it; `setting` is named.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise UserError(
            f"{setting}: the environment variable {variable} is not set; put the server's key "
            "into it"
        )
    # The errors of libraries about such a key quote it.
    if not all("!" <= char <= "~" for char in key):
        raise UserError(
            f"{setting}: the environment variable {variable} holds a space or a character that is "
            "in no key, such as a typographic quote; put the bare key into it"
        )
    keep_secret(key)
    return key
