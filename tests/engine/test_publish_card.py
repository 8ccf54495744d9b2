"""What the card of a published model says: of the judge, from the run's own pairs, and of the
weights that are published."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from engine.data.pairs import CUT, JudgedPair, Verdict
from engine.publish import MAKING, Parts, prepared, remove_leftovers
from engine.publish.card import model_card
from engine.publish.judge import judge_card
from engine.publish.public import judge_of, public_judge, public_settings
from engine.publish.upload import HubError, owned
from engine.runs.checkpoints import Best
from engine.runs.folder import CARD_PAIRS, METRICS, PAIRS, UNDECIDED, Run
from engine.runs.relabel import relabelled
from engine.runs.storage import sole_writer
from engine.settings import local_paths
from engine.settings.files import preset
from engine.train.results import TrainedWeights
from tests.engine.small_models import write_model
from tests.engine.test_peft import trained
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


# -- of which step -------------------------------------------------------------------------------

BEST = TrainedWeights(Path("w"), 20, Best(20, 0.8, 0.7, 1.0))


def measured(step: int, rate: float, split: str = "valid") -> dict[str, Any]:
    rates = {"win_rate": rate, "win_rate_low": rate - 0.1, "win_rate_high": rate + 0.1}
    return {"step": step, "split": split, "prompts": 40, **rates}


def card_of(
    lines: list[dict[str, Any]], weights: TrainedWeights, *, shown: int, steps: int = 40
) -> str:
    """The card of a run with these lines, whose answers in run.json are of the step `shown`."""
    run = make_run("polite", steps=0, pairs=0)
    run.append(METRICS, lines)
    answers = {"prompt": "Why?", "before": "No.", "after": "Because."}
    guard = {"suite": "sums", "items": 9, "kept": 5, "lost": 1, "gained": 0, "p": 1.0}
    run.update(step=steps, win_rate_step=shown, examples=[answers], guard=[guard], guard_step=20)
    return model_card(run, "me/it", {"adapters": ""}, gguf=None, picture=False, weights=weights)


FINISHED = [
    *(measured(step, rate) for step, rate in ((0, 0.5), (20, 0.8), (40, 0.6))),
    measured(20, 0.75, "kept"),
    {"step": 40, "split": "valid", "prompts": 0, "win_rate": None},  # no valid verdict
]


def test_the_best_goes_out_with_what_was_measured_of_it_anew() -> None:
    card = card_of(FINISHED, BEST, shown=20)
    assert "| the judge | 75.0% | 65.0% to 85.0% | 40 |" in card
    assert "with answers drawn anew:" in card
    assert "after: Because." in card
    assert "these are the weights of step 20, the best by its win rate." in card
    assert "measured at step" not in card


def test_the_last_step_goes_out_with_its_own_win_rate_and_no_other_one_s_answers() -> None:
    card = card_of(FINISHED, TrainedWeights(Path("w"), 40, None), shown=20)
    assert "| the judge | 60.0% |" in card
    assert "Because." not in card
    assert "the weights of step" not in card
    assert "before and after (measured at step 20):" in card  # by the guard


def test_the_best_of_a_stopped_run_goes_out_without_the_newest_win_rate() -> None:
    card = card_of(FINISHED[:3], BEST, shown=40)
    assert "| the judge | 80.0% |" in card
    assert "Because." not in card
    assert "measured at step" not in card


def test_a_step_that_was_not_measured_has_the_win_rate_from_before_it() -> None:
    weights = TrainedWeights(Path("w"), 47, None)
    card = card_of(FINISHED[:3], weights, shown=40, steps=47)
    assert "| the judge | 60.0% |" in card
    assert "that it was not trained on (measured at step 40):" in card
    assert "after: Because." in card


@pytest.mark.parametrize("lines", [[], FINISHED[:1]])
def test_the_start_against_itself_is_no_win_rate(lines: list[dict[str, Any]]) -> None:
    card = card_of(lines, TrainedWeights(Path("w"), 40, None), shown=0)
    assert "No win rate was measured." in card
    assert "Because." not in card


def test_a_test_is_surer_than_what_came_before_it() -> None:
    card = card_of([*FINISHED, measured(20, 0.7, "test")], BEST, shown=20)
    assert "| the judge | 70.0% |" in card
    assert "on the test prompts:" in card


def test_no_folder_of_this_machine_is_told(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine.jsonl", "rules.py"):
        (tmp_path / name).write_text("")
    files = dict.fromkeys(local_paths.NAMED, str(tmp_path / "mine"))
    functions = dict.fromkeys(local_paths.FUNCTIONS, f"{tmp_path}/rules.py:kind")
    suites = {"guard_suites": [str(tmp_path / "mine.jsonl")]}
    settings = preset("starter").model_copy(update={**files, **functions, **suites})
    told = public_settings(settings)
    assert {*files, *functions, *suites} <= set(told)
    assert str(tmp_path) not in str(told)
    asked = dict.fromkeys(("judge", "eval_judge"), "http://me:1/v1")
    models = dict.fromkeys(("judge_model", "eval_judge_model"), f"{tmp_path}/larger.gguf")
    settings = preset("starter").model_copy(update={**asked, **models})
    told = public_settings(settings)
    assert [told[key] for key in models] == ["larger.gguf"] * 2
    assert judge_of(settings) == "larger.gguf"
    several = f"starter, {tmp_path}/rules.py:kind, http://me:1/v1, larger at http://me:1/v1"
    assert public_judge(several) == "starter, rules.py:kind, a model on a server, larger"


@pytest.mark.parametrize("model", ["josé", "starter"])
def test_no_file_that_is_published_names_a_folder(tmp_path: Path, model: str) -> None:
    """Neither as JSON escapes it, nor as it is where a link was followed."""
    if model != "starter":
        (tmp_path / "link").symlink_to(write_model(tmp_path / "real" / model).parent)
    run, _ = trained(model if model == "starter" else tmp_path / "link" / model)
    parts = Parts(adapters=True, peft=True)
    with prepared(run, parts, "me/mine", say=lambda text: None) as (folder,):
        files = [
            folder.path / name for name in ("adapter_config.json", "adapters/adapter_config.json")
        ]
        adapted = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    assert [adapted[0]["base_model_name_or_path"], adapted[1]["model"]] == [model, model]


def test_what_another_container_puts_together_stays(tmp_path: Path) -> None:
    """Its process has no number here."""
    (folder := tmp_path / f"{MAKING}{2**22 + 1}-a").mkdir()
    with sole_writer(folder):
        remove_leftovers(tmp_path)
        assert folder.exists()
    remove_leftovers(tmp_path)
    assert not folder.exists()


def test_a_library_that_the_hub_s_own_lacks_is_one_sentence() -> None:
    class Api:
        def whoami(self) -> dict[str, str]:
            raise ImportError("Using SOCKS proxy, but the 'socksio' package is not installed.")

    with pytest.raises(HubError, match=r"^publish: the hub's library failed \(Using SOCKS proxy"):
        owned(cast("Any", Api()), "mine")
