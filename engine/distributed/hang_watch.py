"""Whether what a rank computes goes on. Its heartbeats only tell that the process lives."""

import contextlib
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from engine.compute import headway

TICK_SECONDS = 1.0
HUNG_SECONDS = 35.0  # without a sign, which a layer, a token or a part of a batch gives
FIRST_SECONDS = 600.0  # the same of work of a kind that is new, for which kernels are compiled
SLOWER = 4.0  # so many times the longest recent gap between signs is no fault yet, for equal work
RECENT = 4  # pieces of work of a kind: gaps before them, as of a slow start, are forgotten


@dataclass(frozen=True, slots=True)
class _Work:
    kind: str
    size: int
    number: int
    first: float


class HangWatch:
    """Looks, on a thread of its own, whether work goes on, and tells where it does not.

    Time is counted in looks, so that a process that was stopped, or gets little of a busy machine,
    is not at fault: it looks as seldom as it computes. Nor is a slow machine: the time that it
    needed for a unit of work before, it may need again, several times over.
    """

    def __init__(self, hung: Callable[[str], None]) -> None:
        """`hung` is told once, on the other thread, what does not go on, as the end of a
        sentence."""
        self._hung = hung
        self._work: _Work | None = None
        self._number = 0
        self._known: set[str] = set()  # kinds of which some work was ended
        # By kind, the longest gap between signs in each recent piece of work, in seconds per unit.
        self._slowest: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=RECENT))
        threading.Thread(target=self._look, name="hang watch", daemon=True).start()

    @contextlib.contextmanager
    def over(self, kind: str, size: int, first: float | None = None) -> Iterator[None]:
        """Watch over work of a kind, on the thread that does it. `size` is in tokens, or whatever
        its time depends on; `first` is for how many seconds the first work of this kind may give
        no sign."""
        self._number += 1
        seconds = FIRST_SECONDS if first is None else first
        self._work = _Work(kind, max(1, size), self._number, seconds)
        try:
            yield
            self._known.add(kind)
        finally:
            self._work = None

    def _look(self) -> None:
        seen, still, slowest = None, 0, 0
        while True:
            time.sleep(TICK_SECONDS)
            work, signs = self._work, headway.signs()
            if work is None or seen != (work, signs):
                slowest = max(slowest, still)
                if seen and seen[0] != work:
                    self._slowest[seen[0].kind].append(slowest * TICK_SECONDS / seen[0].size)
                    slowest = 0
                seen, still = work and (work, signs), 0
                continue
            still += 1
            if still * TICK_SECONDS >= self._limit(work):
                self._hung(f"{work.kind} has not gone on for {still * TICK_SECONDS:.0f} seconds")
                return

    def _limit(self, work: _Work) -> float:
        if work.kind not in self._known:
            return work.first
        slowest = max(self._slowest[work.kind], default=0.0) * work.size
        return max(HUNG_SECONDS, SLOWER * slowest)
