"""What `lora-studio rates` prints: margin and kl against the learning rate, and the one picked."""

import contextlib
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from types import FrameType
from typing import NoReturn

from engine.events import Event, Log
from engine.rate_search import RUNS, UPDATES, RateSearch, ShortRun, search_rate
from engine.runs.json_lines import to_json
from engine.settings.schema import Settings
from tui.cli.arguments import print_lines, print_note
from tui.terminal.exit_status import DONE, NOTHING_LEARNED, STOPPED_BY
from tui.text.format import duration

BAR = 20  # cells
_EIGHTHS = " ▏▎▍▌▋▊▉█"
CLEAR = "\r\x1b[K"  # the line that tells how far a run is


def rates(settings: Settings, *, json: bool) -> int:
    """Search the rate of a run with these settings and print what came of it; returns the exit
    status.

    Raises:
        UserError: settings, models or data do not serve.
        RunError: it could not go on.
    """
    began = time.monotonic()
    in_terminal = sys.stderr.isatty()

    def progress(rate: float, run: int, update: int) -> None:
        if in_terminal:
            words = f"run {run} of at most {RUNS}, {rate:g}: update {update} of {UPDATES}"
            print(f"{CLEAR}{words}", end="", file=sys.stderr, flush=True)

    def over(run: ShortRun) -> None:
        line = f"{run.rate:g}: {_words(run)}"
        print(f"{CLEAR if in_terminal else ''}{line}", file=sys.stderr, flush=True)

    ending = [signal.SIGINT]

    def interrupt(number: int, frame: FrameType | None) -> NoReturn:
        ending[0] = signal.Signals(number)
        raise KeyboardInterrupt

    before = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        result = search_rate(settings, over, progress, _Notes().take)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(f"{CLEAR if in_terminal else ''}stopped: nothing is kept", file=sys.stderr)
        return STOPPED_BY + ending[0]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    seconds = time.monotonic() - began
    print_lines([to_json(record(result, seconds))] if json else picture(result, seconds))
    return DONE if result.picked is not None else NOTHING_LEARNED


def record(result: RateSearch, seconds: float) -> dict[str, object]:
    """What came of it as a JSON object."""
    return {
        "picked": result.picked,
        "reason": result.reason,
        "kl_limit": result.kl_limit,
        "updates": UPDATES,
        "seconds": seconds,
        "runs": [asdict(run) for run in result.runs],
    }


def picture(result: RateSearch, seconds: float) -> Iterator[str]:
    """A row a rate, with a bar for its margin and one for its kl."""
    margins = [run.margin or 0.0 for run in result.runs if run.outcome != "broken"]
    most = max([*margins, 1e-9])
    yield ""
    yield f"{'rate':>8}  {'margin':>7}  {'':<{BAR}}  {'kl':>7}  {'':<{BAR}}"
    for run in result.runs:
        mark = "◀ picked" if run.rate == result.picked else _verdict(run)
        margin = bar((run.margin or 0.0) / most) if run.outcome != "broken" else " " * BAR
        # The limit is half of the bar.
        kl = bar((run.kl or 0.0) / (2 * result.kl_limit))
        row = f"{run.rate:>8g}  {_number(run.margin)}  {margin}  {_number(run.kl)}  {kl}  {mark}"
        yield row.rstrip()
    yield ""
    yield f"after {UPDATES} updates each, in {duration(seconds)}; kl in nats a completion, half of "
    yield f"its bar is the limit of {result.kl_limit:g}"
    if result.picked is None:
        yield f"no rate is picked: {result.reason}"
    else:
        yield f"learning_rate: {result.picked:g}"
        yield f"  {result.reason}"


def bar(share: float) -> str:
    """A bar of `BAR` cells, in eighths of one."""
    eighths = round(min(max(share, 0.0), 1.0) * BAR * 8)
    full, rest = divmod(eighths, 8)
    return f"{'█' * full}{_EIGHTHS[rest] if rest else ''}".ljust(BAR)


def _number(value: float | None) -> str:
    return f"{'–':>7}" if value is None else f"{value:>7.3g}"


def _verdict(run: ShortRun) -> str:
    return {"sound": "", "far": "too far", "broken": f"broke at {run.updates}"}[run.outcome]


def _words(run: ShortRun) -> str:
    if run.outcome == "broken":
        return f"broke at update {run.updates}"
    far = ", too far" if run.outcome == "far" else ""
    return f"margin {_number(run.margin).strip()}, kl {_number(run.kl).strip()}{far}"


class _Notes:
    """What a person should know of the data and the models, said once for all runs."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def take(self, event: Event) -> None:
        """Say a warning that was not said yet."""
        if isinstance(event, Log) and event.level in ("warning", "error"):
            if event.text not in self._texts:
                print_note(event.text)
            self._texts.add(event.text)
