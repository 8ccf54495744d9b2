"""What a setting may become: names and paths of this machine, the data's columns, and the values
that earlier runs had."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tui.setup import completions
from tui.setup.completions import LIMIT

COLUMNS = ("prompt_feature", "system_feature")  # settings that name a column of the data


@dataclass(frozen=True, slots=True)
class Earlier:
    """A value that an earlier run had, as text, and the run's name. Both are untrusted."""

    value: str
    run: str


class Suggestions:
    """Grows as files are read: `columns` are the data's, `runs` the values of earlier runs by
    setting, the newest first."""

    def __init__(self) -> None:
        self.columns: Sequence[str] = ()
        self.runs: Mapping[str, Sequence[Earlier]] = {}

    def completes(self, key: str) -> bool:
        """Whether there may be something to offer for a setting's text."""
        return key in COLUMNS or completions.for_setting(key) is not None

    def offers(self, key: str, text: str) -> list[str]:
        """What a text may become: values of earlier runs first."""
        if key in COLUMNS:
            return [each for each in self.columns if text.lower() in each.lower()][:LIMIT]
        complete = completions.for_setting(key)
        earlier = [each.value for each in self.earlier(key) if text.lower() in each.value.lower()]
        return list(dict.fromkeys([*earlier, *(complete(text) if complete else ())]))[:LIMIT]

    def earlier(self, key: str) -> Sequence[Earlier]:
        """The values that earlier runs had."""
        return self.runs.get(key, ())
