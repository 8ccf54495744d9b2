"""A run that a model and a person judge together, on the screens."""

import pytest

from engine.data.pairs import JudgedPair, Verdict
from engine.runs.folder import PAIRS
from engine.settings.schema import Settings
from tests.tui.archive import make_run
from tests.tui.person import PersonSession, pair
from tui.archive.pair_table import FILTERS, PairTable, pair_facts, pair_line
from tui.review.label_queue import LabelQueue
from tui.review.words import idle_reason, place_facts
from tui.run.header import _facts  # pyright: ignore[reportPrivateUsage]
from tui.run.metric_labels import ALL
from tui.setup.completions import for_setting
from tui.setup.presets import describe, prospect
from tui.state.run_view import RunView
from tui.text.choice import outcome

pytestmark = pytest.mark.quick

HYBRID = Settings(judge="hybrid", hybrid_model="starter", run_name="both")


def test_kappa_is_in_the_head_of_a_run() -> None:
    view = RunView()
    view.add_metrics(1, {"both_judged": 4})
    assert _facts(view, 0) == []
    view.add_metrics(2, {"both_judged": 34, "kappa": 0.618, "kappa_low": 0.41, "kappa_high": 0.79})
    assert _facts(view, 0)[0] == "kappa 0.62 (0.41 to 0.79) of 34 pairs"
    assert {"kappa", "both_judged", "asked_rate", "unanswered_rate"} <= ALL.keys()


def test_review_says_why_no_pair_waits_and_counts_without_a_goal() -> None:
    session = PersonSession(HYBRID)
    view = RunView("both", settings=HYBRID)
    assert "starter labels those that it is sure of" in idle_reason(session, view)  # type: ignore[arg-type]
    session.judge.submit([pair(1), pair(2)])
    queue = LabelQueue(session)
    queue.refresh()
    assert place_facts(queue, None)[0] == "label 1"


def test_the_pairs_of_a_run_tell_what_the_model_said() -> None:
    run = make_run("one", pairs=0)
    model = Verdict("second", 0.31, (0.3, 0.32), judge="a model")
    verdicts = (
        Verdict("first", judge="human", model=model),
        Verdict("unanswered", judge="hybrid", model=model),
        Verdict("second", 0.2, judge="a model"),
    )
    lines = [JudgedPair(pair(at), each).to_record("hybrid") for at, each in enumerate(verdicts)]
    run.append(PAIRS, lines)
    table = PairTable(run)
    table.read()
    table.take()
    held = {each.name: count for each, count in table.counts()}
    assert (held["model overruled"], held["not answered"]) == (1, 1)
    assert pair_facts(lines[0])[0] == "the model, not sure: the second won at 0.31"
    lines[0]["model"]["audit"] = True
    assert pair_facts(lines[0])[0].startswith("the model, checked at random:")
    assert "late" in pair_line(lines[1], 60).plain
    assert outcome("unanswered") == "not answered in time"
    overruled = next(each for each in FILTERS if each.name == "model overruled")
    assert not any(map(overruled.holds, ({"model": "no"}, {"model": {}}, {"choice": "first"})))


def test_the_form_offers_it() -> None:
    complete = for_setting("judge")
    assert complete
    assert "hybrid" in complete("hyb")
    assert "judged by starter, and by you where it is not sure" in describe(HYBRID)
    assert "as long as 4 steps take" in prospect(HYBRID)
