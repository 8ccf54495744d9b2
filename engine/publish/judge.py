"""What a run's own pairs tell of its judge, for the card of the model."""

from collections.abc import Iterator
from typing import cast

from engine.data.pairs import CUT, DECIDED, Verdict
from engine.data.recorded_pairs import RecordedPair
from engine.events import Choice
from engine.judges.card import Card, CardPair, Label, card
from engine.markdown import inline, table
from engine.runs.folder import CARD_PAIRS, PAIRS, UNDECIDED, Run
from engine.runs.json_lines import Record
from engine.runs.labels import PERSON

ASKED = {*DECIDED, "tie", "invalid"}  # verdicts of a judge that was asked


def judge_card(run: Run) -> list[str]:
    """How far its judge is to be trusted, where one that is no person judged the run."""
    pairs = list(_pairs(run))
    if not pairs:
        return []
    measured = card(pairs)
    labels = sum(1 for line in run.read(CARD_PAIRS) if line.get("choice") in (*DECIDED, "tie"))
    intro = f"What its verdicts on the {measured.count:,} pairs of this run tell of it: "
    paragraphs = [
        intro + inline(measured.sentence) + ".",
        table(("what", "value"), _rows(measured)),
    ]
    if labels:
        paragraphs.append(f"A person labelled {labels:,} pairs to try it before the run.")
    return paragraphs


def _rows(measured: Card) -> list[tuple[str, str]]:
    shares = (
        ("verdicts that could be read", measured.valid),
        ("pairs with a winner", measured.decided),
        ("pairs whose verdict flips once the answers are swapped (handled)", measured.flips),
        ("agreement with a person, on pairs that were picked at random", measured.accuracy),
    )
    rows = [(about, f"{value:.1%}") for about, value in shares if value is not None]
    pulls = (
        ("pull of the place shown first (0: none)", measured.first_position),
        ("pull of the longer answer (0: none)", measured.length_pull),
    )
    rows += [(about, f"{value:+.2f}") for about, value in pulls if value is not None]
    if measured.kappa is not None:
        interval = (
            f" ({measured.kappa_low:.2f} to {measured.kappa_high:.2f})"
            if measured.kappa_low is not None and measured.kappa_high is not None
            else ""
        )
        about = f"Cohen's kappa of that agreement, {measured.labels:,} labels"
        rows.append((about, f"{measured.kappa:.2f}{interval}"))
    return rows


def _pairs(run: Run) -> Iterator[CardPair]:
    for file in (UNDECIDED, PAIRS):
        for line in run.read(file):
            pair = RecordedPair.from_record(line)
            verdict = _of_judge(line, pair)
            if verdict and verdict.choice in ASKED:
                lengths = len(pair.first), len(pair.second)
                yield CardPair(verdict, lengths, _label(pair))


def _of_judge(line: Record, pair: RecordedPair) -> Verdict | None:
    """What the judge said, whatever a person said later; None where it was not asked."""
    if pair.verdict.model:
        return pair.verdict.model
    match line.get("was"):
        case {"choice": str(choice), "judge": str(judge)} if judge not in (PERSON, CUT):
            return Verdict(cast("Choice", choice), pair.verdict.q, pair.verdict.q_orders)
        case None if pair.judge not in (PERSON, CUT):
            return pair.verdict
    return None


def _label(pair: RecordedPair) -> Label | None:
    """What a person said of a pair that was put before them to check on the judge: other pairs that
    a person sees are those of which the judge was unsure."""
    model, choice = pair.verdict.model, pair.verdict.choice
    checked = model and model.audit and pair.judge == PERSON
    return choice if checked and choice in ("first", "second", "tie") else None
