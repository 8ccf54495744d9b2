"""A judge's card, against numbers made by hand."""

import math
import random
import tracemalloc
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.data.pairs import Verdict, verdict_of
from engine.judges.card import (
    CardPair,
    Label,
    Reading,
    card,
    cohen_kappa,
    kappa_interval,
    length_pull,
    reading,
    shared_bound,
)

F, S = "first", "second"


def read(l1: float, l2: float, label: Label | None = None, lengths: Any = (5, 5)) -> CardPair:
    """A pair that a judge read with these log-odds."""
    return CardPair(verdict_of(l1, l2, margin=0.05, ties="margin"), lengths, label)


def table(*counts: tuple[str, str, int]) -> list[tuple[str | None, str]]:
    return [(label, choice) for label, choice, count in counts for _ in range(count)]


# -- agreement -------------------------------------------------------------------------------------


def test_kappa_of_a_known_table() -> None:
    # 35 of 50 agree; by chance (25 * 30 + 25 * 20) / 50^2 = 0.5 do: (0.7 - 0.5) / 0.5
    assert cohen_kappa(table((F, F, 20), (F, S, 5), (S, F, 10), (S, S, 15))) == pytest.approx(0.4)


def test_an_undecided_pair_agrees_with_no_label() -> None:
    # 3 of 6 agree; by chance 1/2 * 2/6 + 1/2 * 2/6 do
    labels = table((F, F, 2), (F, "tie", 1), (S, S, 1), (S, "first", 0), (S, "invalid", 1))
    labels += table((S, S, 1))
    assert cohen_kappa(labels) == pytest.approx((4 / 6 - 1 / 3) / (1 - 1 / 3))


@pytest.mark.parametrize(("other", "kappa"), [(S, -1.0), ("tie", 0.0)])
def test_kappa_at_its_ends(other: str, kappa: float) -> None:
    assert cohen_kappa(table((F, F, 4), (S, S, 4))) == 1
    flipped = {F: S, S: F} if other == S else {F: "tie", S: "tie"}
    labels = table((F, flipped[F], 4), (S, flipped[S], 4))
    assert cohen_kappa(labels) == pytest.approx(kappa)


def test_labels_that_are_all_the_same_have_no_kappa() -> None:
    assert cohen_kappa(table((F, F, 9), (F, S, 1))) is None
    told = card([read(3, -3, "first")] * 9)
    assert (told.accuracy, told.kappa, told.kappa_low, told.kappa_high) == (1, None, None, None)
    assert told.trust == "usable"
    assert "all labels are the same" in told.sentence


def test_the_interval_is_seeded_and_holds_kappa_as_a_bootstrap_by_hand_does() -> None:
    labels = table((F, F, 20), (F, S, 5), (S, F, 10), (S, S, 15))
    low, high = kappa_interval(labels, seed=0)
    assert low is not None
    assert high is not None
    assert kappa_interval(labels, seed=0) == (low, high)
    assert kappa_interval(labels, seed=1) != (low, high)
    draw = random.Random(5)
    kappas = [cohen_kappa(draw.choices(labels, k=len(labels))) for _ in range(2000)]
    by_hand = np.quantile([each for each in kappas if each is not None], (0.025, 0.975))
    assert (low, high) == pytest.approx(tuple(by_hand), abs=0.03)
    assert low < 0.4 < high


def test_the_interval_of_many_labels_takes_no_more_memory() -> None:
    labels = table((F, F, 20_000), (F, S, 5_000), (S, F, 10_000), (S, "tie", 15_000))
    tracemalloc.start()
    try:
        kappa_interval(labels, seed=0)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 << 20  # bytes; a number for each pair drawn would take 800 MB


def test_under_five_labels_nothing_is_said_of_agreement() -> None:
    labels: list[Label] = ["first", "second", "first", "second"]
    pairs = [read(2, -2, "first") if each == "first" else read(-2, 2, each) for each in labels]
    few = card([*pairs, read(2, -2, "tie")])
    assert few.labels == 4
    assert (few.accuracy, few.kappa, few.kappa_low, few.kappa_high) == (None,) * 4
    enough = card([*pairs, read(2, -2, "first")])
    assert (enough.accuracy, enough.kappa) == (1, 1)


def test_accuracy_counts_an_undecided_pair_as_wrong() -> None:
    pairs = [read(2, -2, "first")] * 3 + [read(-2, 2, "second"), read(0, 0, "second")]
    assert card(pairs).accuracy == pytest.approx(0.8)


# -- two readings ----------------------------------------------------------------------------------


def mirrored(readings: Sequence[Reading]) -> np.ndarray:
    both = [*readings, *((-two, -one) for one, two in readings)]
    return np.array(both)


@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=5, max_size=40))
def test_the_bound_is_fishers_of_both_namings_of_each_pair(readings: list[Reading]) -> None:
    spread = mirrored(readings).std(axis=0)
    bound = shared_bound(readings)
    assert bound is not None
    if spread.min() < 1e-3:
        return
    r = np.corrcoef(mirrored(readings).T)[0, 1]
    if abs(r) < 1 - 1e-9:
        z = math.atanh(r) - 1.6448536269514722 / math.sqrt(len(readings) - 3)
        assert bound == pytest.approx(math.tanh(z), abs=1e-6)


def test_readings_that_agree_share_much_also_where_the_first_is_always_better() -> None:
    draw = random.Random(0)
    strengths = [draw.uniform(1, 4) for _ in range(20)]
    noisy = [(s + draw.gauss(0, 0.5), s + draw.gauss(0, 0.5)) for s in strengths]
    assert (shared_bound(noisy) or 0) > 0.8
    assert shared_bound([(3.0, 3.0)] * 20) == 1


def test_a_place_that_is_liked_takes_nothing_from_what_two_readings_share() -> None:
    draw = random.Random(1)
    strengths = [draw.gauss(0, 2) for _ in range(20)]
    assert shared_bound([(s + 3, s - 3) for s in strengths]) == 1


@pytest.mark.parametrize("place", [2.0, -2.0, 0.0])
def test_a_judge_that_names_a_place_shares_nothing(place: float) -> None:
    assert shared_bound([(place, -place)] * 20) == 0


def test_a_judge_at_chance_is_seen_nineteen_times_in_twenty() -> None:
    draw = random.Random(2)
    seen = [
        (shared_bound([(draw.gauss(1, 1), draw.gauss(-1, 1)) for _ in range(32)]) or 0) <= 0
        for _ in range(2000)
    ]
    assert np.mean(seen) == pytest.approx(0.95, abs=0.02)


def test_certain_orders_have_readings_too() -> None:
    assert reading(1.0, 0.0) == (pytest.approx(13.8, abs=0.1), pytest.approx(-13.8, abs=0.1))
    assert shared_bound([reading(1.0, 1.0), reading(0.0, 0.0)] * 5) == 1
    assert shared_bound([reading(1.0, 0.0)] * 10) == 0


# -- the card --------------------------------------------------------------------------------------

GOOD = [read(2.0, -1.5), read(-1.0, 1.2), read(3.0, -2.0), read(-2.5, 2.0), read(1.5, -1.4)]


def test_shares_and_pulls_by_hand() -> None:
    odds = math.log(3)  # 0.75
    pairs = [
        read(odds, -odds, lengths=(9, 4)),  # 0.75 and 0.75 for the first: the longer
        read(odds, odds, lengths=(9, 4)),  # 0.75 and 0.25: a flip, and a tie
        read(-odds, odds, lengths=(7, 7)),  # the second, of one length
        read(-odds, 3 * odds, lengths=(3, 8)),  # the second, the longer
        CardPair(Verdict("invalid"), (1, 2)),
    ]
    told = card(pairs)
    assert (told.count, told.valid, told.decided) == (5, 0.8, 0.6)
    assert told.flips == pytest.approx(0.25)
    # P(first shown) of each: (q1 + 1 - q2) / 2 with q2 = sigmoid(-l2)
    by_hand = [(0.75 + 0.25) / 2, (0.75 + 0.75) / 2, (0.25 + 0.75) / 2, (0.25 + 27 / 28) / 2]
    assert told.first_position == pytest.approx(np.mean(by_hand) - 0.5)
    assert told.length_pull == pytest.approx(0.5)
    assert length_pull([pairs[2]]) is None


def test_a_judge_without_orders_has_no_flips() -> None:
    pairs = [(Verdict("first", 0.9), (4, 3)), (Verdict("second", 0.1), (3, 4))]
    told = card([CardPair(*each) for each in pairs])
    assert (told.flips, told.first_position, told.shared) == (None, None, None)
    assert told.length_pull == pytest.approx(0.5)


def test_a_good_judge_is_usable_and_what_labels_alone_show_is_said() -> None:
    told = card(GOOD * 3)
    assert told.trust == "usable"
    assert "shows with labels alone" in told.sentence


def test_too_few_pairs_are_said() -> None:
    assert "fewer than 5 pairs" in card(GOOD[:3]).sentence


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([], "no pair"),
        ([*GOOD[:4], *[CardPair(Verdict("invalid"), (1, 2))] * 5], "44% of its verdicts are valid"),
        ([read(0.01, -0.01)] * 19 + [read(2, -2)], "a winner in 5%"),
        ([read(3, 2.9), read(2.9, 3), read(3, 2.7), read(2.8, 3), read(3, 3.1)] * 4, "share noth"),
        ([read(2, -2, "first"), read(2, -2, "second")] * 5, "may be chance"),
        ([read(2, -2, "second"), read(-2, 2, "first")] * 5, "may be chance (kappa from -1.00)"),
    ],
)
def test_a_judge_is_not_to_be_trusted(pairs: list[CardPair], words: str) -> None:
    told = card(pairs)
    assert told.trust == "not to be trusted"
    assert told.sentence.startswith("not to be trusted with this rubric: ")
    assert words in told.sentence


def test_a_judge_is_biased_by_a_place_or_by_length() -> None:
    placed = card([read(3.5, 0.5), read(0.5, 3.5), read(4.0, 0.5), read(0.2, 3.5)] * 4)
    assert placed.trust == "biased"
    assert "the place shown first draws it" in placed.sentence
    shorter = card([read(2, -2, lengths=(3, 9)), read(-2, 2, lengths=(9, 3))] * 5)
    assert shorter.trust == "biased"
    assert "the shorter answer wins 100%" in shorter.sentence
