"""What a run will take, in words."""

from pathlib import Path

import pytest

from engine.plan.memory import MemoryPlan
from engine.settings.files import preset
from engine.settings.local_paths import anchored
from engine.settings.schema import Settings
from tests.tui.archive import make_run
from tui.setup.cost import Cost, cost, earlier_pace, length, sentence, table
from tui.text.format import size

pytestmark = pytest.mark.quick


PLAN = MemoryPlan(
    policy=10**9,
    reference=0,
    judge=0,
    adapters=10**7,
    optimizer=4 * 10**7,
    cache=10**8,
    activations=2 * 10**9,
    download=1_200_000_000,
    machine_total=24 * 10**9,
    machine_available=20 * 10**9,
)


def test_the_line_that_is_always_true() -> None:
    line = sentence(Settings(), Cost(PLAN, None, 4.04, "earlier"))
    assert line == "needs 3.3 of 24 GB · downloads 1.2 GB · about 4.0 s a step · 1,000 steps"
    many = sentence(Settings(completions=4, batch_size=2), Cost(PLAN, None, None))
    assert many.endswith("1,000 steps · at most 6 judgements a prompt, 12,000 in all")
    assert sentence(Settings(), None) == "looking at the model … · 1,000 steps"


def test_what_is_not_known_is_not_made_up() -> None:
    from dataclasses import replace

    unknown = replace(PLAN, judge=None, download=None)
    line = sentence(Settings(judge="human"), Cost(unknown, None, None))
    assert line == "needs 3.3+ of 24 GB · downloads the model · as fast as you judge · 1,000 steps"
    rows = {name: size for name, size, _ in table(Cost(unknown, None, None))}
    assert rows["judge"] == rows["download"] == "?"
    assert rows["needs"] == "over 3.3 GB"
    assert "a step" not in rows


def test_parts_are_those_of_the_plan() -> None:
    rows = {name: (size, remark) for name, size, remark in table(Cost(PLAN, None, 4.0, "x"))}
    assert rows["policy"] == ("1.0 GB", "")
    assert rows["judge"] == ("–", "shares those above")
    assert rows["machine"] == ("24.0 GB", "20.0 GB free now")
    assert rows["a step"][1] == "as in x"


def test_length() -> None:
    assert length(Settings(iters=1)) == "1 step"
    assert length(Settings(epochs=1)) == "1 pass over the prompts"
    assert length(Settings(epochs=2.5)) == "2.5 passes over the prompts"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (999_949, "1000 kB"), (12_345_678, "12.3 MB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) in (text, "1.0 MB")


def test_the_pace_of_an_earlier_run_of_the_same_kind() -> None:
    assert earlier_pace(preset("starter")) == (None, "")
    make_run("earlier")
    assert earlier_pace(preset("starter")) == (0.9, "earlier")
    other = preset("starter").model_copy(update={"batch_size": 3})
    assert earlier_pace(other) == (None, "")
    assert earlier_pace(Settings()) == (None, "")


def test_nor_does_it_matter_how_a_model_of_ones_own_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    typed = preset("starter").model_copy(update={"model": "mine"})
    make_run("earlier", settings=anchored(typed))
    assert earlier_pace(typed) == (0.9, "earlier")


def test_the_cost_of_the_starter_is_known_without_a_network() -> None:
    found = cost(preset("starter"))
    assert found.plan.total
    assert found.plan.download == 0
    assert found.refusal is None
