"""What the setting `judge` names, by its spelling alone: nothing is opened, asked or imported."""

import re
from typing import Literal
from urllib.parse import urlsplit

JudgeKind = Literal["person", "server", "function", "rule", "model"]

BETWEEN = ", "  # several judges
HYBRID = "hybrid"  # a model and a person
SETTINGS = ("judge", "hybrid_model", "eval_judge")  # that name judges

# Judges that come with the program, as `rule:length`.
RULES = ("length", "matches", "json", "avoid")
RULE = "rule:"

KEY_IN_ADDRESS = (
    "an address may hold no key, user, query or fragment, since a run would keep it; put the key "
    "into an environment variable and name that in judge_key_env"
)

_FUNCTION = re.compile(r"(?P<file>.+\.py):(?P<function>[^\W\d]\w*)")


def split_judges(text: str) -> tuple[str, ...]:
    """The names in a setting that may name several."""
    return tuple(text.split(BETWEEN))


def judge_kind(name: str) -> JudgeKind:
    """Who a name of a judge is. A model may be a folder or on the hub, and a reward model too."""
    if name == "human":
        return "person"
    if name.startswith(("http://", "https://")):
        return "server"
    if name.startswith(RULE):
        return "rule"
    return "function" if _FUNCTION.fullmatch(name) else "model"


def file_and_function(name: str) -> tuple[str, str]:
    """The two parts of `FILE.py:FUNCTION`."""
    match = _FUNCTION.fullmatch(name)
    assert match, name
    return match["file"], match["function"]


def address_problem(name: str) -> str | None:
    """What is wrong with the address of a server, in words that follow "judge:"; None: nothing."""
    unreadable = "it is no address of a server; write it as http://localhost:8080/v1"
    try:
        parts = urlsplit(name)
        _ = parts.port  # raises for one that is no number
    except ValueError:
        return unreadable
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        return KEY_IN_ADDRESS
    printable = all(char.isprintable() and not char.isspace() for char in name)
    return None if parts.hostname and printable else unreadable
