"""A judge tried on pairs before anything is trained: what `lora-studio judge` prints."""

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from engine.errors import RunError
from engine.events import Event, Log, Progress
from engine.judge_card import COUNT, Trial, TriedPair, read_pairs, try_judge
from engine.judges import JudgeAway
from engine.judges.card import Card
from engine.runs.json_lines import to_json
from engine.settings.schema import Settings
from tui.cli.arguments import print_lines, print_note
from tui.terminal.exit_status import DONE, STOPPED_BY
from tui.text.safe_text import cut, safe_line

PROMPT_WIDTH = 40  # cells
HEADER = f"{'pair':>4}  {'choice':<9}  {'q':>4}  {'shown 1st':>9}  {'shown 2nd':>9}  winner"


def judge(settings: Settings, file: Path | None, count: int | None, *, json: bool) -> int:
    """Print the verdicts and the card of a judge, on the pairs of a file or on sampled ones;
    returns the exit status.

    Raises:
        UserError: settings, pairs or judge do not serve.
        RunError: a server was away for too long.
    """
    pairs = read_pairs(file) if file else None
    shown = 0

    def show(tried: TriedPair) -> None:
        nonlocal shown
        if not shown:
            print_lines([f"{HEADER}  prompt"])
        shown += 1
        print_lines([_line(shown, tried)])

    try:
        trial = try_judge(
            settings,
            pairs,
            count=count or COUNT,
            on_event=_tell(),
            on_pair=(lambda tried: None) if json else show,
        )
    except JudgeAway as away:
        raise RunError(str(away)) from away
    except KeyboardInterrupt:
        return STOPPED_BY + signal.SIGINT
    print_lines([to_json(record(trial))] if json else summary(trial))
    return DONE


def record(trial: Trial) -> dict[str, object]:
    """The card as a JSON object; None for what there is nothing to tell by."""
    card = trial.card
    return {
        "judge": trial.judge,
        "verdict": card.trust,
        "sentence": card.sentence,
        "valid": card.valid,
        "decided": card.decided,
        "flips": card.flips,
        "first_position": card.first_position,
        "length_pull": card.length_pull,
        "accuracy": card.accuracy,
        "kappa": card.kappa,
        "kappa_low": card.kappa_low,
        "kappa_high": card.kappa_high,
        "labels": card.labels,
        "seconds_per_pair": trial.seconds_per_pair,
        "pairs": [_pair_record(tried) for tried in trial.pairs],
    }


def _pair_record(tried: TriedPair) -> dict[str, object]:
    pair, verdict = tried.pair, tried.verdict
    return {
        "prompt": pair.prompt.text,
        "first": pair.first,
        "second": pair.second,
        "winner": pair.label,
        "choice": verdict.choice,
        "valid": verdict.choice != "invalid",
        "q": verdict.q,
        "q_orders": list(verdict.q_orders) if verdict.q_orders else None,
        "note": verdict.note,
        "rationale": list(verdict.rationale),
    }


def summary(trial: Trial) -> Iterator[str]:
    """The card in lines."""
    card = trial.card
    left_out = len(trial.pairs) - card.count
    yield ""
    yield f"judge           {safe_line(trial.judge)}"
    unasked = f", {left_out:,} more with two equal or empty answers" if left_out else ""
    yield f"pairs           {card.count:,}{unasked}"
    yield f"valid           {_percent(card.valid)}"
    yield f"decided         {_percent(card.decided)}"
    yield f"flips           {_percent(card.flips)}  two orders that pick different answers"
    yield f"first position  {_signed(card.first_position)}  what the place shown first adds"
    yield f"length pull     {_signed(card.length_pull)}  what being longer adds"
    yield f"accuracy        {_percent(card.accuracy)}  of {card.labels:,} pairs with a winner"
    yield f"kappa           {_kappa(card)}"
    if trial.seconds_per_pair is not None:
        yield f"a pair takes    {trial.seconds_per_pair:.3g} s"
    yield ""
    yield safe_line(card.sentence)


def _line(number: int, tried: TriedPair) -> str:
    verdict = tried.verdict
    one, two = verdict.q_orders or (None, None)
    prompt = cut(safe_line(tried.pair.prompt.text, PROMPT_WIDTH), PROMPT_WIDTH)
    return (
        f"{number:>4}  {verdict.choice:<9}  {_number(verdict.q):>4}  {_number(one):>9}  "
        f"{_number(two):>9}  {tried.pair.label or '':<6}  {prompt}"
    ).rstrip()


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "   -" if value is None else f"{value:>4.0%}"


def _signed(value: float | None) -> str:
    return "    -" if value is None else f"{value:+.2f}"


def _kappa(card: Card) -> str:
    if card.kappa is None or card.kappa_low is None or card.kappa_high is None:
        return "   -"
    return f"{card.kappa:.2f}  95% interval {card.kappa_low:.2f} to {card.kappa_high:.2f}"


def _tell() -> Callable[[Event], None]:
    """What is loaded and what a person should know goes to standard error, with phases as they
    begin where that is a terminal."""
    phase = ""

    def tell(event: Event) -> None:
        nonlocal phase
        if isinstance(event, Log):
            print_note(event.text)
        elif isinstance(event, Progress) and event.phase != phase and sys.stderr.isatty():
            phase = event.phase
            print(f"{phase} ...", file=sys.stderr)

    return tell
