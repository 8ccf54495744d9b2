"""What the card of a published model says of the judge, from the run's own pairs."""

from dataclasses import replace
from typing import Any

from engine.data.pairs import CUT, JudgedPair, Verdict
from engine.publish.judge import judge_card
from engine.runs.folder import CARD_PAIRS, PAIRS, UNDECIDED, Run
from engine.runs.relabel import relabelled
from tests.tui.archive import judged, make_run


def row(run: Run, about: str) -> str:
    """The value of a row of the table."""
    lines = "\n".join(judge_card(run)).splitlines()
    (line,) = (line for line in lines if line.startswith(f"| {about}"))
    return line.split("|")[2].strip()


def add(run: Run, number: int, verdict: Verdict, judge: str = "starter", **how: Any) -> None:
    pair = judged(number).pair
    record = JudgedPair(pair, verdict).to_record(judge)
    run.append(PAIRS if verdict.decided else UNDECIDED, [{**record, **how}])


def test_it_is_of_all_pairs_that_the_judge_was_asked_about() -> None:
    run = make_run("polite", pairs=0)
    for number in range(6):
        add(run, number, Verdict("first", 0.9, (0.9, 0.9)))
    add(run, 6, Verdict("tie", 0.5, (0.9, 0.1)))  # flips
    add(run, 7, Verdict("invalid"))
    add(run, 8, Verdict("identical"))  # nobody was asked
    add(run, 9, Verdict("first"), CUT)
    add(run, 10, Verdict("second"), "human")
    assert row(run, "verdicts that could be read") == "87.5%"  # 7 of 8
    assert row(run, "pairs with a winner") == "75.0%"
    assert row(run, "pairs whose verdict flips") == "14.3%"
    assert row(run, "pull of the place") == "+0.06"  # (0.9 - 0.1) / 2 of one in seven


def test_what_a_person_changed_counts_as_the_judge_said_it() -> None:
    run = make_run("polite", pairs=0)
    record = JudgedPair(judged(0).pair, Verdict("first", 0.9, (0.9, 0.9))).to_record("starter")
    run.append(UNDECIDED, [relabelled(record, "tie")])
    assert row(run, "pairs with a winner") == "100.0%"


def test_agreement_is_of_pairs_that_were_picked_at_random_alone() -> None:
    run = make_run("polite", pairs=0)
    for number in range(8):
        said = Verdict("first" if number % 2 else "second", 0.5, (0.5, 0.5), audit=True)
        agrees = number > 1
        choice = said.choice if agrees else ("second" if number % 2 else "first")
        add(run, number, Verdict(choice, model=said), "human")
    for number in range(8, 20):  # the judge was unsure, and wrong
        said = Verdict("first", 0.5, (0.5, 0.5))
        add(run, number, Verdict("second", model=replace(said, audit=False)), "human")
    assert row(run, "agreement with a person") == "75.0%"
    assert row(run, "Cohen's kappa").startswith("0.50 (")


def test_a_run_that_a_person_judged_has_no_card_of_a_judge() -> None:
    run = make_run("mine", pairs=0)
    add(run, 0, Verdict("first"), "human")
    run.append(CARD_PAIRS, [{"choice": "first"}])
    assert judge_card(run) == []
