"""A judge's card in words and rows."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from textual.content import Content

from engine.data.pairs import Verdict
from engine.judges.card import FEWEST, Card, Trust
from tui.state.judge_trial import JudgeTrialView, Side, TrialRow
from tui.text.choice import words
from tui.text.format import number
from tui.text.phase import amount, phase_sentence
from tui.text.prompt_text import prompt_line
from tui.text.safe_text import cut, safe_line
from tui.widgets.bar import bar

ENOUGH = 10  # labels that a person is asked for
GAP = "   "
STYLES: dict[Trust, str] = {"usable": "$good", "biased": "$warning", "not to be trusted": "$bad"}
SIDES: dict[Side, str] = {"left": "1", "right": "2", "tie": "tie"}
HEADER = f"{'pair':>4} {'you':<4} {'judge':<6}{'q':>4} {'as is':>5} {'swapped':>7}  prompt"
HIDDEN = "·"
LINE = 300  # characters of a prompt that a row may show
WAITING_BAR = 24
NOTE, NOTES = 300, 2  # characters of a note that is shown, and how many are


def title(view: JudgeTrialView, judge: str, rubric: str, width: int) -> Content:
    """The judge and its rubric, how many pairs, and how long one takes, on one line."""
    asked = len(view.judged)
    facts = f"{asked} pair{'' if asked == 1 else 's'}" if asked else ""
    if view.seconds_per_pair is not None:
        facts += f" · {number(view.seconds_per_pair, 2)} s a pair"
    name = cut(safe_line(judge, 200), max(12, width // 3))
    room = width - len("judge  ") - cell_len(name) - len(facts) - 2 * len(GAP) - 5
    quoted = f' · "{safe_line(rubric, max(8, room))}"' if rubric else ""
    return Content.assemble(
        ("judge  ", "$muted"), (name, "bold $foreground"), (quoted, "$foreground"), GAP, facts
    )


def sums(view: JudgeTrialView, card: Card, width: int) -> Content:
    """What the verdicts say together, in as many lines as it takes, and a person's labels."""
    lines = [*_filled(_facts(view, card), width), *_filled(_agreement(view, card), width)]
    if view.blind and view.labelled and view.labelled < ENOUGH:
        room = width - lines[-1].cell_length - len(GAP)
        lines[-1] = Content.assemble(
            lines[-1], GAP if room > 0 else "", bar(view.labelled / ENOUGH, min(ENOUGH, room))
        )
    return Content("\n").join(lines)


def _facts(view: JudgeTrialView, card: Card) -> list[str]:
    count = card.count
    facts: list[str] = []
    if card.valid is not None and card.decided is not None:
        facts.append(f"answers {round(card.valid * count)} of {count}")
        facts.append(f"decides {round(card.decided * count)} of {count}")
    if card.flips is not None:
        twice = sum(_read_twice(row.verdict) for row in view.judged)
        handled = " (handled)" if card.flips else ""
        facts.append(f"swaps flip {round(card.flips * twice)} of {twice}{handled}")
    if card.first_position is not None:
        facts.append(f"first place {card.first_position:+.2f}")
    if card.length_pull is not None:
        facts.append(f"length {card.length_pull:+.2f}")
    if left_out := sum(not row.askable for row in view.rows):
        facts.append(f"{left_out} more with equal or empty answers")
    return facts


def _read_twice(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.choice != "invalid" and bool(verdict.q_orders)


def _filled(facts: Iterable[str], width: int) -> list[Content]:
    """Facts in lines that they fill, none of them broken."""
    lines: list[str] = []
    for fact in facts:
        if lines and len(lines[-1]) + len(GAP) + len(fact) <= width:
            lines[-1] += GAP + fact
        else:
            lines.append(fact)
    return [Content(line) for line in lines]


def _agreement(view: JudgeTrialView, card: Card) -> list[str]:
    """How far the judge agrees with the person, or else with the winners that a file names."""
    facts: list[str] = []
    if card.accuracy is not None:
        facts.append(f"with {view.whose} {round(card.accuracy * card.labels)} of {card.labels}")
    if card.kappa is not None and card.kappa_low is not None and card.kappa_high is not None:
        facts.append(f"kappa {card.kappa:.2f} ({card.kappa_low:.2f} to {card.kappa_high:.2f})")
    elif card.labels >= FEWEST:
        facts.append("no kappa: the labels are all alike")
    elif view.whose:
        facts.append(f"with {view.whose}: {card.labels} with a winner, kappa from {FEWEST} on")
    if not view.labelled:
        facts += ["L: label 10 to 20 blind", "a: show its verdicts"] if view.blind else []
    elif view.labelled < ENOUGH and view.blind:
        facts.append(f"{view.labelled} of {ENOUGH} labels")
    return facts


def sentence(view: JudgeTrialView, card: Card) -> Content:
    """The verdict on the judge; while pairs are still to come, only so far."""
    if not view.judged:
        return Content("")
    so_far = "" if view.over else "so far "
    missing = ENOUGH - view.labelled
    labels = "label" if missing == 1 else "labels"
    more = (
        f" · {missing} more {labels} would say more" if 0 < missing < ENOUGH and view.blind else ""
    )
    return Content.assemble(
        (so_far, "$muted"), (safe_line(card.sentence), f"bold {STYLES[card.trust]}"), more
    )


def state(view: JudgeTrialView, *, stopped: bool) -> Content:
    """What is waited for and how far it is, and what a person should know of it; empty once all is
    there and there is nothing to say."""
    notes = [each for each in view.notes if not view.over or each.level in ("warning", "error")]
    lines = [Content(safe_line(each.text, NOTE)) for each in notes[-NOTES:]]
    if view.error:
        lines = [Content.styled(safe_line(view.error, 2000), "$bad")]
    elif stopped:
        lines = [Content("stopped · esc goes back")]
    elif not view.over:
        lines.append(_waiting(view))
    return Content("\n").join(lines)


def _waiting(view: JudgeTrialView) -> Content:
    """What is waited for and how far it is."""
    progress = view.progress
    phase = progress.phase if progress else "starting"
    begins = {"starting": "Starting", "sampling": "Sampling pairs"}.get(phase)
    if phase == "judging" and view.rows and progress:
        done, total = view.done + progress.done % max(1, progress.total), len(view.rows)
        far, share = f"{done} of {total} pairs", done / total
    else:
        far = amount(progress) if progress else ""
        share = progress.done_share if progress and progress.total else None
    text = f"{begins or phase_sentence(phase)} {far}".rstrip() + " · esc stops"
    return Content(text) if share is None else Content.assemble(bar(share, WAITING_BAR), " ", text)


def row_line(row: TrialRow, width: int) -> Content:
    """A pair in a row: the person's label, the judge's verdict and both orders, the prompt."""
    verdict = row.visible_verdict
    side = row.side
    cells = f"{_choice_cells(verdict) if verdict else HIDDEN if row.verdict else '…':<6}"
    one, two = (verdict and verdict.q_orders) or (None, None)
    numbers = f"{_number(verdict and verdict.q)} {_number(one, 5)} {_number(two, 7)}"
    prompt = prompt_line(row.pair.prompt.text, row.pair.prompt.conversation)
    return Content.assemble(
        (f"{row.number:>4} ", "$muted"),
        (f"{SIDES[side] if side else '':<4} ", "$accent"),
        (cells, "$foreground" if verdict and verdict.decided else "$muted"),
        (f"{numbers}  ", "$muted"),
        (safe_line(prompt, min(LINE, max(1, width - 36))), "$foreground"),
    )


def _choice_cells(verdict: Verdict) -> str:
    if verdict.decided:
        return "1" if verdict.choice == "first" else "2"
    return words(verdict.choice).cells


def _number(value: float | None, width: int = 4) -> str:
    return f"{'' if value is None else f'{value:.2f}':>{width}}"


def both_say(row: TrialRow) -> str:
    """What the person and the judge say of a pair, once both may be shown."""
    verdict, facts = row.visible_verdict, [f"you {SIDES[row.side]}"] if row.side else []
    if verdict is None:
        hidden = "1 2 t: which is better? What the judge says is shown then"
        return hidden if row.verdict or row.askable else ""
    choice = {"first": "1", "second": "2"}.get(verdict.choice) or words(verdict.choice).phrase
    facts.append(f"the judge {choice}")
    if verdict.q is not None:
        facts.append(f"q {verdict.q:.2f} for 1")
    if verdict.q_orders:
        facts.append("as is {:.2f}, swapped {:.2f}".format(*verdict.q_orders))
    if row.file_side:
        facts.append(f"the file {SIDES[row.file_side]}")
    for text in (verdict.note, *verdict.rationale):
        facts += [safe_line(text, 120)] if text else []
    return " · ".join(facts)


def first_blind(rows: Sequence[TrialRow], blind: Sequence[TrialRow], after: int) -> int | None:
    """Where the next pair to label stands: the first one after a row, or before it."""
    at = [rows.index(row) for row in blind]
    return next((each for each in at if each > after), at[0] if at else None)
