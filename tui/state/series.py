"""The points of one metric over a run, in the order of its steps."""

import math
from array import array
from bisect import bisect_right


class Series:
    """Steps, values and times (seconds of training; NaN where unknown) of one metric.

    Values may be NaN or infinite: a step that was not finite is a fact worth showing.
    """

    __slots__ = ("added", "steps", "times", "values")

    def __init__(self) -> None:
        self.steps = array("d")
        self.values = array("d")
        self.times = array("d")
        self.added = 0  # points ever: what tells that something has changed

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: float, value: float, time: float = math.nan) -> None:
        """Append a point; one at the newest step replaces it, one before it cuts what follows."""
        steps = self.steps
        if steps and step <= steps[-1]:
            self.cut(step - 1)
        steps.append(step)
        self.values.append(value)
        self.times.append(time)
        self.added += 1

    def cut(self, step: float) -> None:
        """Forget the points after `step`."""
        keep = bisect_right(self.steps, step)
        for column in (self.steps, self.values, self.times):
            del column[keep:]

    @property
    def latest(self) -> float | None:
        """The newest value, or None."""
        return self.values[-1] if self.values else None
