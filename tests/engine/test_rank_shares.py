"""How a batch is shared out among ranks, and how their sums and states become alike."""

import itertools
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import mlx.core as mx
import numpy as np
import pytest

from engine.data.chat_messages import Message
from engine.data.pairs import Verdict
from engine.data.prompts import Prompt
from engine.distributed.group import Group
from engine.errors import UserError
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text, settled
from engine.runs.archive import versions
from engine.settings.schema import Settings
from engine.train.metrics import Averages
from engine.train.ranks import waits as rank_waits
from engine.train.ranks.checks import check_files, check_hello, file_digests
from engine.train.ranks.shares import (
    by_weight,
    dealt,
    reduced,
    state_arrays,
    state_digest,
    take_state,
    to_bytes,
    zeros,
)
from engine.train.ranks.waits import Waits
from tests.engine.small_models import number, settings, write_model
from tests.engine.test_update import make_update


def batches() -> Iterator[tuple[list[int], int]]:
    chance = random.Random(0)
    for count, ranks in itertools.product((0, 1, 2, 3, 7, 32), (1, 2, 3, 5)):
        yield [chance.randint(1, 100) for _ in range(count)], ranks


def test_each_prompt_is_dealt_to_one_rank_and_all_have_about_as_much() -> None:
    for sizes, ranks in batches():
        shares = dealt(sizes, ranks)
        assert sorted(itertools.chain(*shares)) == list(range(len(sizes)))
        assert all(share == sorted(share) for share in shares)
        counts = [len(share) for share in shares]
        assert max(counts) - min(counts) <= 1
        loads = [sum(sizes[at] for at in share) for share in shares]
        assert max(loads) - min(loads) <= max(sizes, default=0)


def test_pairs_are_cut_in_order_into_parts_of_about_equal_weight() -> None:
    for sizes, ranks in batches():
        parts = by_weight(sizes, ranks)
        assert len(parts) == ranks
        assert list(itertools.chain(*(range(len(sizes))[part] for part in parts))) == list(
            range(len(sizes))
        )
        for part in parts:
            assert sum(sizes[part]) <= sum(sizes) / ranks + max(sizes, default=0)


class OneOther:
    """A group of two, of which the other has these bits to add, by dtype."""

    def __init__(self, others: dict[mx.Dtype, Any]) -> None:
        self.others = others
        self.sums: list[tuple[mx.Dtype, int]] = []

    def sum(self, bits: np.ndarray, dtype: mx.Dtype, alive: Callable[[], None]) -> np.ndarray:
        own = mx.array(bits)
        own = own if own.dtype == dtype else own.view(dtype)
        self.sums.append((dtype, own.size))
        total = own + mx.array(self.others[dtype], dtype)
        return np.array(total.view(mx.uint16) if dtype == mx.bfloat16 else total)


def test_gradients_are_summed_as_one_array_a_dtype_with_the_number_of_pairs() -> None:
    gradients = {
        "b": mx.array([[1.0, 2.0], [3.0, 4.0]]),
        "a": mx.array([0.5], mx.bfloat16),
        "c": mx.array([5.0]),
    }
    other = OneOther({mx.float32: [10, 20, 30, 40, 50, 3], mx.bfloat16: [0.25]})
    total, pairs, check = reduced(cast(Group, other), gradients, 4, lambda: None)
    assert other.sums == [(mx.bfloat16, 1), (mx.float32, 6)]
    assert pairs == 7
    assert list(total) == ["b", "a", "c"]
    assert total["b"].tolist() == [[11, 22], [33, 44]]
    assert (total["a"].tolist(), total["a"].dtype) == ([0.75], mx.bfloat16)
    assert total["c"].tolist() == [55]
    other.others[mx.float32][0] = 11
    assert reduced(cast(Group, other), gradients, 4, lambda: None)[2] != check


def test_gradients_may_be_sent_in_bfloat16_and_the_number_of_pairs_stays_exact() -> None:
    gradients = {"a": mx.array([1.0, 1 / 3]), "b": mx.array([[3.0]], mx.bfloat16)}
    other = OneOther({mx.float32: [1000], mx.bfloat16: [2.0, 1.0, 0.25]})
    total, pairs, _ = reduced(cast(Group, other), gradients, 1001, lambda: None, short=True)
    assert other.sums == [(mx.bfloat16, 3), (mx.float32, 1)]
    assert pairs == 2001
    assert [total[name].dtype for name in total] == [mx.float32, mx.bfloat16]
    sums = np.array(total["a"])
    assert sums == pytest.approx([3, 4 / 3], rel=2**-8)
    assert sums[1] != pytest.approx(4 / 3, rel=1e-4)
    assert total["b"].tolist() == [[3.25]]


def test_a_rank_that_is_not_finite_is_seen_in_the_sum() -> None:
    other = OneOther({mx.float32: [math.nan, 1]})
    total, pairs, _ = reduced(cast(Group, other), {"a": mx.array([1.0])}, 1, lambda: None)
    assert pairs == 2
    assert math.isnan(number(total["a"]))
    update = make_update()
    sums = zeros(update)
    assert update.add(sums, 0) is None
    name = next(iter(sums.gradients))
    sums.gradients[name] = sums.gradients[name] + math.inf
    assert update.add(sums, 2) == "gradient"
    assert update.gradient_pairs == 0


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor"])
def test_a_rank_becomes_like_rank_0(optimizer: str) -> None:
    first, other = (
        make_update(stirred=stirred, optimizer=optimizer, gradient_accumulation_steps=2)
        for stirred in (True, False)
    )
    first.gradients = {
        name: mx.random.normal(array.shape) for name, array in zeros(first).gradients.items()
    }
    first.gradient_pairs, first.steps_since_update = 3, 1
    assert state_digest(first) != state_digest(other)
    arrays = state_arrays(first)
    shapes = [(key, list(array.shape), str(array.dtype)) for key, array in arrays.items()]
    take_state(other, to_bytes(arrays), shapes, {"pairs": 3, "steps": 1})
    assert state_digest(first) == state_digest(other)
    assert (other.gradient_pairs, other.steps_since_update) == (3, 1)
    first.apply()
    other.apply()
    assert state_digest(first) == state_digest(other)


def test_digests_are_of_the_files_of_each_model(tmp_path: Path) -> None:
    for folder, seed in (("policy", 0), ("same", 0), ("judge", 1)):
        write_model(tmp_path / folder, seed=seed)
    policy, same, judge = (str(tmp_path / each) for each in ("policy", "same", "judge"))
    digests = file_digests(settings(model=policy, judge=judge))
    assert {key: name for key, (name, _) in digests.items()} == {"model": policy, "judge": judge}
    assert digests["model"][1] != digests["judge"][1]
    other = file_digests(settings(model=same, judge=same))
    assert other["model"][1] == digests["model"][1] == other["judge"][1]


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors",
        "config.json",
        "chat_template.jinja",
        "tokenizer.model",
        "merges.txt",
        "cl100k.tiktoken",
        "modeling_own.py",
    ],
)
def test_digests_are_of_all_that_a_model_is_read_from(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    write_model(folder)
    chosen = settings(model=str(folder), judge="rule:length")
    file = folder / name
    before = file_digests(chosen)
    file.write_bytes((file.read_bytes() if file.exists() else b"") + b" ")
    with pytest.raises(UserError, match="model: rank 1 has other files"):
        check_files("rank 1", file_digests(chosen), before)
    changed = file_digests(chosen)
    (folder / "README.md").write_text("notes")
    check_files("rank 1", file_digests(chosen), changed)


def test_each_package_that_computes_has_the_same_version_everywhere() -> None:
    own = settings()
    hello = {"versions": versions(), "settings": None}
    check_hello("rank 1", hello, own)
    for package in ("lora-studio", "mlx", "mlx-lm", "numpy", "transformers"):
        other = {**hello, "versions": {**versions(), package: "0.0.1"}}
        with pytest.raises(UserError, match=rf"rank 1 has {package} 0\.0\.1, and rank 0 has"):
            check_hello("rank 1", other, own)


def test_adapters_to_start_from_are_needed_on_rank_0_alone(tmp_path: Path) -> None:
    saved = Settings(num_layers=2)
    (tmp_path / ADAPTER_CONFIG).write_text(config_text(saved))
    (tmp_path / WEIGHTS).touch()
    chosen = Settings(resume_adapter_file=str(tmp_path))
    own, _ = settled(chosen)
    assert own != chosen

    def hello(theirs: Settings) -> dict[str, Any]:
        told = theirs.model_dump(mode="json", exclude_defaults=True)
        return {"versions": versions(), "settings": told}

    check_hello("rank 1", hello(chosen), own)
    check_hello("rank 1", hello(own), own)
    others = {"num_layers": 3}, {"resume_adapter_file": str(tmp_path / "others")}
    for other in others:
        with pytest.raises(UserError, match=f"^{next(iter(other))}: rank 1 has"):
            check_hello("rank 1", hello(chosen.model_copy(update=other)), own)


def test_ranks_wait_for_the_slowest_of_each_phase(monkeypatch: pytest.MonkeyPatch) -> None:
    now, sent = 110.0, 5_000_000
    monkeypatch.setattr(rank_waits, "time", SimpleNamespace(monotonic=lambda: now))
    waits = Waits(3, lambda: sent)
    assert waits.in_words() is None
    waits.add(100.0, 104.0, {1: {"seconds": 10.0}, 2: {"seconds": 7.0}})
    now = 120.0
    waits.add(110.0, 120.0, {1: {"seconds": 1.0}})  # the third had no share
    waits.add_sum(118.0)
    sent += 3_000_000
    assert waits.of_step() == {
        "sent_mb": 3.0,
        "sum_seconds": 2.0,
        "wait_seconds": pytest.approx((6 + 9 + 13) / 3),
        "longest_wait_seconds": 13.0,
    }
    # What is waited and sent between two steps, as in an evaluation, is in none of them.
    waits.add(100.0, 101.0, {})
    sent += 7_000_000
    waits.restart()
    now = 121.0
    waits.add(120.0, 121.0, {1: {"seconds": 0.5}, 2: {"seconds": 1.0}})
    sent += 1_000_000
    assert waits.of_step() == {
        "sent_mb": 1.0,
        "sum_seconds": 0.0,
        "wait_seconds": pytest.approx(0.5 / 3),
        "longest_wait_seconds": 0.5,
    }
    words = "waited for other ranks, a step: rank 0 3.000 s, rank 1 4.750 s, rank 2 6.500 s"
    assert waits.in_words() == words


def test_metrics_of_ranks_are_means_since_the_last_report() -> None:
    averages = Averages()
    assert "sent_mb" not in averages.report()
    averages.add("sent_mb", 1.0)
    averages.add("sent_mb", 4.0)
    assert averages.report()["sent_mb"] == 2.5
    assert "wait_seconds" not in averages.report()


def test_digests_are_of_the_functions_that_judge_too(tmp_path: Path) -> None:
    write_model(tmp_path / "policy")
    file = tmp_path / "mine.py"
    chosen = settings(model=str(tmp_path / "policy"), judge=f"{file}:better")
    with pytest.raises(UserError, match=r"judge: there is no file .*mine\.py"):
        file_digests(chosen)
    file.write_text("def better(prompt, completion): return 1\n", encoding="utf-8")
    before = file_digests(chosen)
    assert set(before) == {"model", "judge"}
    file.write_text("def better(prompt, completion): return 2\n", encoding="utf-8")
    after = file_digests(chosen)
    assert after["judge"] != before["judge"]
    assert after["model"] == before["model"]
    with pytest.raises(UserError, match=r"judge: rank 1 has other files of .*better than rank 0"):
        check_files("rank 1", after, before)


def test_prompts_and_verdicts_go_through_json() -> None:
    tools = ({"type": "function", "function": {"name": "now", "parameters": {}}},)
    prompt = Prompt((Message("system", "be brief"), Message("user", "hello")), "hello", tools)
    assert Prompt.from_json(json.loads(json.dumps(asdict(prompt)))) == prompt
    model = Verdict("second", 0.2, (0.1, 0.3), judge="a model", audit=True)
    for verdict in (
        Verdict("tie"),
        Verdict(
            "first",
            0.75,
            (0.7, 0.8),
            "a note",
            flagged=True,
            cut=True,
            votes=(0.5, 1.0),
            rationale=("It is.", "It is not."),
            judge="a judge",
            model=model,
        ),
    ):
        assert Verdict.from_json(json.loads(json.dumps(asdict(verdict)))) == verdict
