"""What a run prints while it trains without the app: JSON, plain lines or a live display."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import IO, Protocol, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from engine.events import (
    EndedEarly,
    Evaluated,
    Event,
    Guarded,
    HealthChanged,
    Log,
    PairJudged,
    PairSampled,
    Paused,
    PhaseName,
    Progress,
    Report,
    RunEnded,
    RunStarted,
    Saved,
    StepDone,
)
from engine.runs.json_lines import to_json
from tui.run.ending import ending
from tui.state.run_view import NOT_MEASURED, RunView
from tui.terminal.requirements import DUMB, in_foreground
from tui.text.format import several
from tui.text.phase import activity, speeds, time_left
from tui.text.safe_text import safe_line
from tui.text.suite_changes import table
from tui.text.win_rates import WinRate, win_rates

SHOWN_METRICS = ("loss", "margin", "accuracy", "kl")
# Phases that are long enough, and seldom enough, for a line of their own.
SAID_PHASES: set[PhaseName] = {"loading", "downloading", "evaluating", "fusing", "paused"}
EXAMPLES = 4


class Output(Protocol):
    """Where the events of a run are shown. May raise OSError once nobody reads any more."""

    def show(self, events: list[Event]) -> None:
        """Take in events; called several times a second, also with none."""
        ...

    def close(self) -> None:
        """Give the terminal back and print how it went."""
        ...


class _Console(Console):
    """A console that says when its reader is gone; Rich's own would end the process."""

    def on_broken_pipe(self) -> None:
        raise


def make_output(stream: TextIO, view: RunView, *, json: bool) -> Output:
    """The output that fits the stream: JSON where asked, else by what kind of stream it is."""
    if json:
        return JsonLines(stream)
    console = _Console(file=stream, highlight=False, markup=False, emoji=False)
    if console.is_terminal and os.environ.get("TERM", "") not in DUMB and _is_ours(stream):
        return LiveDisplay(console, view)
    console.soft_wrap = True  # a line of a pipe or a file has no width
    return PlainLines(console, view)


def _is_ours(stream: IO[str]) -> bool:
    """Whether a terminal is not that of another job, as after `train … &`, whose prompt stays."""
    try:
        return in_foreground(stream.fileno())
    except OSError:  # a terminal that is none of the system's
        return True


class Silence:
    """For a run that goes on after its terminal is gone."""

    def show(self, events: list[Event]) -> None:
        pass

    def close(self) -> None:
        pass


class JsonLines:
    """One JSON object a line: an `event` and its fields, metrics side by side with them."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def show(self, events: list[Event]) -> None:
        for event in events:
            if not isinstance(event, Progress):
                self._stream.write(to_json(as_record(event)) + "\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.flush()


def as_record(event: Event) -> dict[str, object]:
    """An event as a flat mapping: `event` says which."""
    facts = asdict(event)
    metrics = facts.pop("metrics", {})
    return {"event": _EVENT_NAMES[type(event)]} | facts | metrics


_EVENT_NAMES: dict[type[Event], str] = {
    RunStarted: "started",
    Log: "log",
    StepDone: "step",
    Report: "report",
    Evaluated: "evaluated",
    HealthChanged: "health",
    Guarded: "guard",
    PairSampled: "sampled",
    PairJudged: "pair",
    Saved: "saved",
    Paused: "paused",
    EndedEarly: "ended_early",
    RunEnded: "ended",
}


class PlainLines:
    """A line for everything worth one: for pipes, files and terminals that can do no more."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console, self._view = console, view
        self._summary = Summary(view)
        self._phase = ""

    def show(self, events: list[Event]) -> None:
        self._summary.fold(events)
        for event in events:
            for line in self._lines(event):
                self._console.print(Text(line))

    def close(self) -> None:
        self._console.print(self._summary.closing())

    def _lines(self, event: Event) -> Iterable[str]:
        view = self._view
        match event:
            case RunStarted():
                yield from opening(event)
            case Report():
                metrics = figures(event.metrics) or "no pair to learn from"
                left = time_left(view.seconds_left(), warming=view.warming)
                yield f"step {event.step}/{view.total_steps}  {metrics}  {left}".rstrip()
            case Evaluated():
                yield f"step {event.step}/{view.total_steps}  win rate {rate(event)}"
            case Log() if wants_attention(event, view):
                yield f"{event.level}: {safe_line(event.text)}"
            case Progress() if event.phase != self._phase:
                self._phase = event.phase
                if event.phase in SAID_PHASES:
                    yield f"{event.phase} …"
            case _:
                pass


class LiveDisplay:
    """A calm display that stays in place; what has to be kept scrolls away above it. Behind its
    shell, as after `bg`, it draws nothing over what is typed there."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console, self._view = console, view
        self._summary = Summary(view)
        self._held: list[Text] = []  # lines that wait until the terminal is this program's
        # What others print is captured where it ends up, and not drawn above the display.
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def show(self, events: list[Event]) -> None:
        self._summary.fold(events)
        for event in events:
            match event:
                case RunStarted():
                    self._held += [Text(line, "dim") for line in opening(event)]
                case Evaluated():
                    self._held.append(Text(f"step {event.step}  win rate {rate(event)}"))
                case Log() if wants_attention(event, self._view):
                    self._held.append(Text(f"{event.level}: {safe_line(event.text)}", "yellow"))
                case _:
                    pass
        if _is_ours(self._console.file):
            self._print_held()
            self._live.update(self._picture(), refresh=True)

    def _print_held(self) -> None:
        while self._held:
            self._console.print(self._held.pop(0))

    def close(self) -> None:
        self._print_held()
        self._live.update(Text())
        self._live.stop()
        self._console.print(self._summary.closing())

    def _picture(self) -> RenderableType:
        view = self._view
        title = Table.grid(expand=True)
        title.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        title.add_column(no_wrap=True, justify="right")
        name = safe_line(view.name) or "starting"
        facts = " · ".join(safe_line(fact) for fact in (view.model, view.judge) if fact)
        steps = f"step {view.step} / {view.total_steps}" if view.total_steps else ""
        title.add_row(Text.assemble((name, "bold"), ("  " + facts, "dim")), Text(steps))
        bar = Table.grid(expand=True, padding=(0, 1, 0, 0))
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        share = view.step / view.total_steps if view.total_steps else 0.0
        left = time_left(view.seconds_left(), warming=view.warming)
        bar.add_row(
            ProgressBar(total=max(1, view.total_steps), completed=view.step),
            Text(f"{share:.0%}{' · ' + left if left else ''}"),
        )
        newest = figures({name: view.latest(name) for name in SHOWN_METRICS})
        return Group(title, bar, Text(_doing(view), "dim"), Text(newest))


class Summary:
    """What is told at the end: win rates, a few answers before and after, how the run ended, what
    was wrong with it, and where it is."""

    def __init__(self, view: RunView) -> None:
        self._view = view
        self._evaluations: list[Evaluated] = []

    def fold(self, events: Iterable[Event]) -> None:
        """Remember the first and the last evaluation of a split."""
        for event in events:
            if isinstance(event, Evaluated):
                prompts = _prompts_of(event)
                same = [one for one in self._evaluations if _prompts_of(one) == prompts]
                self._evaluations = [*same[:1], event]

    def closing(self) -> Text:
        """The last words of a run."""
        view, text = self._view, Text()
        if self._evaluations and view.status not in ("failed", "untrained"):
            text.append_text(self._win_rate())
        text.append(f"{ending(view)}\n")
        for line in table(view.suites):
            text.append(f"guard: {line}\n", "dim")
        for finding in view.findings:
            if finding.text in (view.error or ""):  # said beside this
                continue
            text.append(f"health: {safe_line(finding.text)}\n", "yellow")
        if view.folder:
            text.append(f"the run is kept in {safe_line(view.folder)}")
        return text

    def _win_rate(self) -> Text:
        """What the newest evaluation found, unless it is of the model against itself."""
        first, last, step = self._evaluations[0], self._evaluations[-1], self._view.step
        if last.step == 0 < step:
            return Text(f"\nheld-out win rate: {NOT_MEASURED}\n")
        text = Text()
        for example in last.examples[:EXAMPLES]:
            text.append(f"\n> {safe_line(example.prompt)}\n")
            text.append(f"  before  {safe_line(example.before)}\n", "dim")
            text.append(f"  after   {safe_line(example.after)}\n")
        after = f" after step {last.step:,}" if last.step < step else " after"
        before = {each.who: each.rate for each in win_rates(first)}
        text.append("\n")
        for each in win_rates(last):
            text.append(f"held-out win rate {each.who}".rstrip() + ": ")
            if last is not first and each.who in before:
                text.append(f"{before[each.who]:.1%} before, ")
            text.append(f"{each.rate:.1%}", "bold")
            text.append(f"{after if last is not first else ''} {interval(each)}\n")
        return text


def _prompts_of(event: Evaluated) -> str:
    """Which prompts a win rate is of."""
    return "test" if event.split == "test" else "valid"


def opening(event: RunStarted) -> Iterable[str]:
    """What is said once the model is loaded."""
    dropped = ", ".join(f"{count} {why}" for why, count in event.dropped_prompts.items() if count)
    trained = f"{event.trainable_parameters:,} of {event.total_parameters:,} parameters"
    yield (
        f"{safe_line(event.name)}: {several(event.total_steps, 'step')}, "
        f"{several(event.prompts, 'prompt')}"
        f"{f' ({dropped} dropped)' if dropped else ''}, {trained}, {safe_line(event.device)}"
    )
    if event.step or event.pairs:
        yield f"going on after step {event.step:,}, with {several(event.pairs, 'label')} kept"


def wants_attention(event: Log, view: RunView) -> bool:
    """Whether a line of the log is worth a line here: no traces, nor what is told at the end."""
    serious = event.level in ("warning", "error")
    return serious and "\n" not in event.text and event.text != view.error


def figures(metrics: Mapping[str, float | None]) -> str:
    """Metrics in one line, those that have a value."""
    values = ((name, metrics.get(name)) for name in SHOWN_METRICS)
    return "  ".join(f"{name} {value:.3f}" for name, value in values if value is not None)


def _doing(view: RunView) -> str:
    """What the run is doing now, and how fast it goes."""
    return " · ".join([activity(view.phase, view.progress), *speeds(view.latest)])


def rate(event: Evaluated) -> str:
    """A win rate with its interval."""
    return ", ".join(
        f"{each.rate:.1%} {interval(each)} {each.who}".rstrip() for each in win_rates(event)
    )


def interval(each: WinRate) -> str:
    """How sure a win rate is."""
    return f"({each.low:.0%} to {each.high:.0%}, {each.prompts} prompts)"
