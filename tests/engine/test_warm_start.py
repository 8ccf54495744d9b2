"""Pairs that were there before a run: which of them a step learns from, and what is refused."""

import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.data.chat_messages import Message
from engine.data.pairs import JudgedPair, Verdict
from engine.data.preferences import Preference, read_preferences
from engine.data.rendering import render_answered
from engine.data.sources import read_splits
from engine.errors import UserError
from engine.events import Progress, StepDone
from engine.model import arrays
from engine.notebook import train
from engine.plan.memory import plan
from engine.runs import archive
from engine.runs.folder import CHAT_PAIRS, METRICS, WARM_START, Run
from engine.session import Session
from engine.settings.checks import problems
from engine.settings.schema import Settings
from engine.train import warm_start
from engine.train.online_dpo import learn
from engine.train.warm_start import WarmStart, end_of_turn, tokenized
from tests.engine.small_models import (
    EOS,
    judge_by_alphabet,
    language_model,
    pair,
    run_settings,
    settings,
    tokenizer,
    write_run_files,
)
from tests.engine.test_update import distance, loss_in_float64, make_update, weights
from tests.timing import TIMING

ROWS = [
    {
        "prompt": f"What is thing {i}?",
        "chosen": f"It is {'very ' * (i % 3)}{i}.",
        "rejected": "No idea" * (1 + i % 2),
    }
    for i in range(7)
]


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_run_files(tmp_path_factory.mktemp("files"))
    write(folder / "pairs.jsonl", ROWS)
    return folder


@pytest.fixture
def chosen(files: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    judge_by_alphabet(monkeypatch)

    def make(**values: Any) -> Settings:
        small = {
            "warm_start": str(files / "pairs.jsonl"),
            "warm_start_epochs": 2,
            "batch_size": 3,
            "iters": 4,
            "eval_prompts": 6,
            "steps_per_eval": -1,
            "steps_per_report": 1,
            "save_every": 2,
        }
        return run_settings(files, **{**small, **values})

    return make


Choose = Callable[..., Settings]


def work(chosen: Settings, run: Run | None = None, stop_at: int | None = None) -> Session:
    session = Session(chosen, run)
    session.start()
    while session.alive and stop_at:
        for event in session.drain():
            if isinstance(event, StepDone) and event.step >= stop_at:
                session.stop()
    session.join()
    return session


def read(run: Run) -> list[list[dict[str, Any]]]:
    return [
        [{k: v for k, v in line.items() if k not in TIMING} for line in run.read(file)]
        for file in (METRICS, "pairs.jsonl", "undecided.jsonl")
    ]


# -- which pairs a step takes --------------------------------------------------------------------


def started(count: int, epochs: float, **values: Any) -> WarmStart:
    pairs = tuple(JudgedPair(pair(index), Verdict("first")) for index in range(count))
    learned = math.ceil(epochs * count)
    steps = math.ceil(learned / values.get("batch_size", 1))
    return WarmStart(pairs, steps, learned, **values)


def test_each_pair_comes_once_an_epoch_in_an_order_of_the_seed() -> None:
    made = started(7, 2, batch_size=3)
    steps = [[each.pair.pair_id for each in made.of_step(step)] for step in range(1, 6)]
    assert [len(step) for step in steps] == [3, 3, 3, 3, 2]
    drawn = [each for step in steps for each in step]
    assert set(Counter(drawn[:7]).values()) == set(Counter(drawn[7:]).values()) == {1}
    assert drawn[:7] != drawn[7:]
    assert drawn[:7] != [each.pair.pair_id for each in made.pairs]
    other = started(7, 2, batch_size=3, seed=1)
    assert [each.pair.pair_id for each in other.of_step(1)] != steps[0]
    assert made.of_step(6) == []  # without replay


def test_a_share_of_them_is_mixed_into_later_steps() -> None:
    made = started(7, 1, batch_size=4, replay=0.3)
    assert made.steps == 2
    later = [made.of_step(step) for step in range(3, 23)]
    assert {len(step) for step in later} == {1, 2}
    assert sum(map(len, later)) == math.floor(0.3 * 4 * 20)
    first = [each.pair.pair_id for step in later for each in step][:7]
    assert len(set(first)) == 7
    alone = started(3, 0, batch_size=2, replay=0.5)
    assert alone.steps == 0
    assert len(alone.of_step(1)) == 1


# -- token ids -----------------------------------------------------------------------------------


def test_an_answer_is_tokenised_once_and_ends_in_the_end_of_turn() -> None:
    policy = language_model()
    question, good = Message("user", "Why?"), Message("assistant", "It <|im_end|> is.")
    preference = Preference((question,), (good,), (Message("assistant", "No."),))
    assert end_of_turn(policy) == EOS
    made = tokenized(preference, policy, settings(), EOS, 1)
    assert made is not None
    assert made.offline
    assert made.decided
    assert made.chosen_ids.count(EOS) == 1  # what the text spells is data
    assert (made.chosen_ids[-1], made.rejected_ids[-1]) == (EOS, EOS)
    whole = render_answered(tokenizer(), (question, good))
    ids = [*made.pair.prompt_ids, *made.chosen_ids]
    assert whole[: len(ids)] == ids


def test_a_system_prompt_stands_before_what_brings_none() -> None:
    policy, chosen = language_model(), settings(system_prompt="Be brief.")
    turns = Message("user", "Why?"), Message("assistant", "So."), Message("assistant", "No.")
    plain = tokenized(Preference(turns[:1], turns[1:2], turns[2:]), policy, settings(), EOS, 1)
    own = (Message("system", "Be brief."), *turns[:1])
    briefed = tokenized(Preference(own, turns[1:2], turns[2:]), policy, settings(), EOS, 1)
    by_setting = tokenized(Preference(turns[:1], turns[1:2], turns[2:]), policy, chosen, EOS, 1)
    assert by_setting
    assert briefed
    assert plain
    assert by_setting.pair.prompt_ids == briefed.pair.prompt_ids != plain.pair.prompt_ids


def test_what_is_copied_is_read_as_it_was(tmp_path: Path) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": {"at": [1, "a"]}}}
    tools = ({"type": "function", "function": {"name": "look", "parameters": {"a": 1}}},)
    turns = (
        Message("system", "Be brief."),
        Message("user", "Look."),
        Message("assistant", "", tool_calls=(call,)),
        Message("tool", "A \u2028 door.", name="look"),
        Message("user", "So?"),
    )
    good, bad = (Message("assistant", text) for text in ("A door.", "é\x1b[0m"))
    several = [
        Preference((Message("user", "Why?"),), (good,), (bad,)),
        Preference(turns, (good,), (), tools),
    ]
    lines = [warm_start._line(each, equipped=True) for each in several]
    file = write(tmp_path / WARM_START, lines)
    [split] = read_splits(file).values()
    assert [each for _, each in read_preferences(split)] == several


def test_the_gradient_of_a_batch_is_the_slope_of_its_loss() -> None:
    policy = language_model()
    rows = [
        Preference(
            (Message("user", row["prompt"]),),
            (Message("assistant", row["chosen"]),),
            (Message("assistant", row["rejected"]),),
        )
        for row in ROWS[:4]
    ]
    batch = [tokenized(each, policy, settings(), EOS, at) for at, each in enumerate(rows)]
    existing = [each for each in batch if each]
    made, start = make_update(), make_update()
    before = weights(made)
    result = learn(made, existing, step=1)
    gradient = {name: (before[name] - after) / 0.01 for name, after in weights(made).items()}
    surely = [replace(each, verdict=Verdict("first", q=1.0)) for each in existing]
    assert result.means["loss"] == pytest.approx(loss_in_float64(start, surely), rel=1e-4)
    assert (result.pairs, result.offline) == (0, 4)
    assert {"kl", "entropy"}.isdisjoint(result.means)

    def loss_at(step: float) -> float:
        moved = {name: before[name] + step * gradient[name] / result.grad_norm for name in before}
        made = {name: mx.array(array, mx.float32) for name, array in moved.items()}
        start.policy.model.update(arrays.tree(made))
        return loss_in_float64(start, surely)

    slope = (loss_at(3e-4) - loss_at(-3e-4)) / 6e-4
    assert slope == pytest.approx(result.grad_norm, rel=1e-2)
    assert result.grad_norm == pytest.approx(distance(before, weights(made)) / 0.01, rel=1e-3)


def test_means_are_of_the_own_pairs_where_there_are_any() -> None:
    own = [JudgedPair(pair(at, first=f"It is {at}."), Verdict("first")) for at in range(2)]
    earlier = replace(own[0], pair=replace(pair(5, first="Never mind."), weights_step=-1))
    made, alone = make_update(), make_update()
    result, wanted = learn(made, [*own, earlier], step=1), learn(alone, own, step=1)
    assert (result.pairs, result.offline) == (2, 1)
    assert result.tokens == sum(len(each.chosen_ids) + len(each.rejected_ids) for each in own)
    for name in ("margin", "kl", "entropy", "chosen_logp"):
        assert result.means[name] == pytest.approx(wanted.means[name], rel=1e-5)
    assert result.means["loss"] != pytest.approx(wanted.means["loss"], rel=1e-3)
    assert any(np.any(weights(made)[name] != weights(alone)[name]) for name in weights(made))


# -- a run ---------------------------------------------------------------------------------------


def test_a_run_learns_from_them_first_and_counts_them_apart(chosen: Choose) -> None:
    phases: list[Progress] = []

    def keep(event: object) -> None:
        if isinstance(event, Progress) and event.phase in ("warming", "sampling"):
            phases.append(event)

    result = train(chosen(replay=0.5), keep, run_folder=True)
    run = result.run
    assert run
    lines = list(run.read(METRICS))
    assert [line["step"] for line in lines] == [*range(1, 10)]  # 14 pairs, and 4 steps
    assert [line["offline_pairs"] for line in lines] == [3, 3, 3, 3, 2, 1, 2, 1, 2]
    assert all(line["trained_pairs"] == 0 and line["kl"] is None for line in lines[:5])
    assert all(line["trained_pairs"] > 0 for line in lines[5:])
    assert lines[0]["margin"] == 0  # against the same frozen reference
    assert lines[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert lines[4]["margin"] > 0.005
    assert min(line["step"] for line in run.read("pairs.jsonl")) == 6
    assert run.state()["warm_start"] == {
        "source": chosen().warm_start,
        "epochs": 2.0,
        "pairs": 7,
        "steps": 5,
    }
    names = [each.phase for each in phases]
    assert "warming" not in names[names.index("sampling") :]
    amounts = [(each.done, each.total, each.unit) for each in phases if each.phase == "warming"]
    assert amounts[0] == (0, 14, "pairs")
    assert amounts[-1] == (14, 14, "pairs")


def test_a_rate_decays_over_all_updates_of_both_parts(chosen: Choose) -> None:
    decay = {"name": "linear_schedule", "decay_fraction": 1, "warmup": 0, "final_rate": 0}
    values = {"gradient_accumulation_steps": 2, "lr_schedule": decay, "learning_rate": 1e-3}
    run = train(chosen(**values, iters=3), run_folder=True).run
    assert run
    lines = list(run.read(METRICS))
    rates = [line["learning_rate"] for line in lines if line["grad_norm"] is not None]
    # After steps 2, 4 and 5, the last of the warm start, and after 7 and 8.
    assert rates == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4, 2e-4])


@pytest.mark.parametrize("stop_at", [2, 7])
def test_it_goes_on_exactly_where_it_was(
    stop_at: int, chosen: Choose, tmp_path: Path, files: Path
) -> None:
    source = tmp_path / "pairs.jsonl"
    values = {"replay": 0.4, "gradient_accumulation_steps": 2, "save_every": 100}
    whole = work(chosen(**values, run_name="whole", warm_start=write(source, ROWS)))
    broken = work(chosen(**values, run_name="broken", warm_start=str(source)), stop_at=stop_at)
    assert whole.run
    assert broken.run
    assert broken.status == "stopped"
    source.unlink()  # the run has a copy
    again = work(broken.run.settings(), broken.run)
    assert (again.status, again.error) == ("finished", None)
    assert read(broken.run) == read(whole.run)
    ends = [run.checkpoints()[-1] / "adapters.safetensors" for run in (broken.run, whole.run)]
    assert ends[0].read_bytes() == ends[1].read_bytes()


def test_a_run_s_labels_are_a_warm_start(chosen: Choose) -> None:
    first = work(chosen(run_name="first", warm_start=None)).run
    assert first
    name = first.name
    folder = str(first.path)
    labels = sum(1 for _ in first.read("pairs.jsonl"))
    for source in (name, folder):
        second = work(chosen(run_name="second", warm_start=source))
        assert second.error is None
        assert second.run
        assert second.run.state()["warm_start"]["pairs"] == labels
    picked = {"pair_id": "chat-1", "choice": "first", "judge": "human"}
    sides = {"prompt": "Hello?", "chosen": "Hello.", "rejected": "What?"}
    turns = {
        name: [{"role": "user" if name == "prompt" else "assistant", "content": text}]
        for name, text in sides.items()
    }
    first.append(CHAT_PAIRS, [{**turns, **picked}])
    third = work(chosen(run_name="third", warm_start=name)).run
    assert third
    assert third.state()["warm_start"]["pairs"] == labels + 1
    line = next(iter(first.read("pairs.jsonl")))
    copied = next(iter(second.run.read(WARM_START)))
    assert copied["prompt"] == [{"role": "user", "content": line["prompt"]}]


def test_pairs_without_room_are_counted_and_left_out(chosen: Choose, tmp_path: Path) -> None:
    rows = [*ROWS, {**ROWS[0], "chosen": "It is so. " * 60}, {**ROWS[0], "prompt": "Why? " * 99}]
    run = work(chosen(warm_start=write(tmp_path / "p.jsonl", rows), max_seq_length=300)).run
    assert run
    assert run.state()["warm_start"]["pairs"] == 7
    told = "2 pairs of 9 left out: longer than max_seq_length 300, prompt and answer together"
    assert told in (run.path / "log.txt").read_text()


UNUSABLE: dict[str, tuple[list[dict[str, Any]], str]] = {
    "no rows": ([], "holds no pair to learn from; `lora-studio pairs check`"),
    "other columns": ([{"prompt": "Why?", "answer": "So."}], "has no column 'chosen'"),
    "all equal": (
        [{**row, "rejected": f" {row['chosen']}"} for row in ROWS],
        "holds no pair to learn from; left out: 7 whose answers are equal",
    ),
    "ties": ([{**row, "choice": "tie"} for row in ROWS], "left out: 7 ties"),
    "empty": ([{**row, "chosen": ""} for row in ROWS], "7 whose chosen answer is empty"),
    "unreadable": ([{"prompt": "Why?", "chosen": 3.5j.real, "rejected": True}], "left out: 1"),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_what_cannot_be_learned_from_is_told_before_anything_is_loaded(
    name: str, chosen: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, told = UNUSABLE[name]
    monkeypatch.setattr("engine.train.loading.load_roles", lambda *_: pytest.fail("loaded"))
    session = work(chosen(warm_start=write(tmp_path / "bad.jsonl", rows)))
    assert session.error_is_users
    assert session.error
    assert session.error.startswith("warm_start: ")
    assert told in session.error
    assert "\n" not in session.error
    assert not session.has_folder


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("nowhere.jsonl", "warm_start: there is no file nowhere.jsonl"),
        ("./nowhere", "warm_start: there is no file or folder './nowhere'"),
        ("nobody", "warm_start: there is no run 'nobody'"),
        ("~nobody-here/a", "warm_start: "),
        ("one", "warm_start: one is this run itself; name another one, or a file"),
    ],
)
def test_a_source_that_is_not_there_is_told(source: str, told: str, chosen: Choose) -> None:
    session = work(chosen(warm_start=source))
    assert session.error
    assert session.error.startswith(told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"warm_start": None}, "this run began with warm_start: "),
        ({"warm_start_epochs": 1.0}, "warm_start_epochs: this run began with 2"),
        ({"batch_size": 2}, "batch_size: this run is in its warm start, of 5 steps"),
    ],
)
def test_a_resume_with_another_warm_start_is_refused(
    changes: dict[str, Any], told: str, chosen: Choose
) -> None:
    run = work(chosen(), stop_at=2).run
    assert run
    session = work(run.settings().model_copy(update=changes), run)
    assert session.error
    assert told in session.error
    assert work(run.settings(), run).status == "finished"


def test_a_run_without_one_gets_none_later(chosen: Choose, files: Path) -> None:
    run = work(chosen(warm_start=None), stop_at=2).run
    assert run
    later = run.settings().model_copy(update={"warm_start": str(files / "pairs.jsonl")})
    session = work(later, run)
    assert session.error
    assert "this run began with no warm_start" in session.error


@pytest.mark.slow
def test_once_it_is_over_the_batch_size_may_change(chosen: Choose) -> None:
    run = work(chosen(), stop_at=6).run
    assert run
    session = work(run.settings().model_copy(update={"batch_size": 2}), run)
    assert (session.status, session.error) == ("finished", None)
    assert run.state()["total_steps"] == 9


def test_settings_that_learn_nothing_from_it_are_a_problem(chosen: Choose) -> None:
    assert [each.key for each in problems(chosen(warm_start_epochs=0))] == ["warm_start"]
    assert [each.key for each in problems(chosen(warm_start=" "))] == ["warm_start"]
    assert problems(chosen(warm_start_epochs=0, replay=0.5)) == []


def test_memory_is_told_for_answers_as_long_as_the_limit(chosen: Choose) -> None:
    by_hand = {"judge": "human"}  # a judge would read more than is scored
    without = plan(chosen(**by_hand, warm_start=None)).activations
    withal = plan(chosen(**by_hand)).activations
    longest = plan(chosen(**by_hand, warm_start=None, max_completion_length=511)).activations
    assert without
    assert withal
    assert longest
    assert without < withal
    assert withal == max(longest, without)


def test_no_run_of_another_process_is_needed_to_refuse(chosen: Choose) -> None:
    with pytest.raises(UserError, match="there is no run"):
        train(chosen(warm_start="nobody"))
    assert archive.list_runs() == []
