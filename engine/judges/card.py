"""A judge's card: how far it can be trusted with a rubric, from what it says of some pairs.

Pure functions over plain data; `engine.judge_card` asks the judge, and the same bounds hold for a
run that watches its judge (`engine.train.watch.judge_watch`).
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.data.pairs import DECIDED, Verdict
from engine.judges.log_odds import clipped_log_odds

Label = Literal["first", "second", "tie"]
Trust = Literal["usable", "biased", "not to be trusted"]
Reading = tuple[float, float]  # l1 and -l2: log-odds of the first completion in either order

LEAST_VALID = 0.5
LEAST_USABLE = 0.1  # share of pairs with a winner
MOST_POSITION, MOST_LENGTH = 0.1, 0.15  # pulls, in shares
FEWEST = 5  # labels for an agreement, pairs for a correlation: below it is not computed
RESAMPLES = 2000
Z95 = 1.6448536269514722  # normal quantile of a one-sided 95% bound


@dataclass(frozen=True, slots=True)
class CardPair:
    """A pair that the judge was asked about: its verdict, the lengths of both completions in
    characters, and which of them a person finds better."""

    verdict: Verdict
    lengths: tuple[int, int]
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class Card:
    """What some pairs tell of their judge; None where there is nothing to tell it by.

    `valid` and `decided` are shares of all pairs, `flips` of those valid ones that were read in
    two orders. `first_position` and `length_pull` are 0 without a pull, between -0.5 and 0.5.
    `accuracy` and `kappa`, with its 95% interval, are over pairs labelled first or second.
    """

    count: int
    labels: int  # that are first or second
    valid: float | None
    decided: float | None
    flips: float | None
    first_position: float | None
    length_pull: float | None
    accuracy: float | None
    kappa: float | None
    kappa_low: float | None
    kappa_high: float | None
    shared: float | None  # `shared_bound` of its readings
    trust: Trust
    sentence: str


def card(pairs: Sequence[CardPair], *, seed: int = 0) -> Card:
    """The card of a judge; `seed` is the bootstrap's."""
    verdicts = [pair.verdict for pair in pairs]
    orders = [each.q_orders for each in verdicts if each.choice != "invalid" and each.q_orders]
    labels = [(p.label, p.verdict.choice) for p in pairs if p.label in DECIDED]
    enough = len(labels) >= FEWEST
    kappa = cohen_kappa(labels) if enough else None
    low, high = kappa_interval(labels, seed=seed) if kappa is not None else (None, None)
    measured = Card(
        count=len(pairs),
        labels=len(labels),
        valid=_share([verdict.choice != "invalid" for verdict in verdicts]),
        decided=_share([verdict.decided for verdict in verdicts]),
        flips=_share([(a - 0.5) * (b - 0.5) < 0 for a, b in orders]),
        first_position=_mean([(a + 1 - b) / 2 - 0.5 for a, b in orders]),
        length_pull=length_pull(pairs),
        accuracy=_share([label == choice for label, choice in labels]) if enough else None,
        kappa=kappa,
        kappa_low=low,
        kappa_high=high,
        shared=shared_bound([reading(*both) for both in orders]),
        trust="usable",
        sentence="",
    )
    return _with_judgement(measured, read_twice=bool(orders), one_sided=enough and kappa is None)


def length_pull(pairs: Sequence[CardPair]) -> float | None:
    """Share of decided pairs that the longer completion wins, less 0.5; pairs of one length have
    no longer one. None without such a pair."""
    wins = [
        (pair.lengths[0] > pair.lengths[1]) == (pair.verdict.choice == "first")
        for pair in pairs
        if pair.verdict.decided and pair.lengths[0] != pair.lengths[1]
    ]
    share = _share(wins)
    return None if share is None else share - 0.5


def reading(shown_first: float, shown_second: float) -> Reading:
    """Both log-odds of a verdict's `q_orders`."""
    return clipped_log_odds(shown_first), clipped_log_odds(shown_second)


def shared_bound(readings: Sequence[Reading]) -> float | None:
    """The one-sided 95% lower bound of corr(l1, -l2), by Fisher's z; None for fewer than `FEWEST`.

    Not above 0: the two readings share nothing, so that the verdicts say nothing of the answers.
    Which completion of a pair is called the first is arbitrary, so each pair counts by both names,
    as (l1, -l2) and (l2, -l1): else a file whose better answers all come first would have no
    spread to correlate. A judge that names one place whatever it reads shares nothing.
    """
    count = len(readings)
    if count < FEWEST:
        return None
    pull = math.fsum(one - two for one, two in readings) / (2 * count)
    power = math.fsum(one * one + two * two for one, two in readings) / (2 * count)
    product = math.fsum(one * two for one, two in readings) / count
    variance = power - pull * pull
    if variance <= 1e-9 * power:
        return 0.0
    correlation = (product + pull * pull) / variance
    if abs(correlation) >= 1 - 1e-12:
        return math.copysign(1.0, correlation)
    return math.tanh(math.atanh(correlation) - Z95 / math.sqrt(count - 3))


def cohen_kappa(labels: Sequence[tuple[str | None, str]]) -> float | None:
    """Cohen's kappa (1960, "A coefficient of agreement for nominal scales") of labels, first or
    second, with a judge's choices; any other choice agrees with no label. None where all labels
    are the same: then agreement by chance cannot be told from agreement."""
    return _kappas(_counts(labels)[None])[0] if labels else None


def kappa_interval(
    labels: Sequence[tuple[str | None, str]], *, seed: int
) -> tuple[float | None, float | None]:
    """The 95% interval of `cohen_kappa` by a seeded bootstrap over pairs. Samples without both
    labels, which have no kappa, are left out."""
    counts = _counts(labels)
    # Pairs drawn one by one, without a number for each: there may be many.
    drawn = np.random.default_rng(seed).multinomial(
        len(labels), counts.ravel() / len(labels), RESAMPLES
    )
    kappas = [each for each in _kappas(drawn.reshape(-1, *counts.shape)) if each is not None]
    if not kappas:
        return None, None
    low, high = np.quantile(kappas, (0.025, 0.975))
    return float(low), float(high)


def _counts(labels: Sequence[tuple[str | None, str]]) -> np.ndarray:
    """How many pairs have each label, first or second, with each choice, neither after them:
    int (2, 3)."""
    numbers = {"first": 0, "second": 1}
    counts = np.zeros((2, 3), np.int64)
    for (label, choice), count in Counter(labels).items():
        counts[numbers[label or ""], numbers.get(choice, 2)] += count
    return counts


def _kappas(counts: np.ndarray) -> list[float | None]:
    """Cohen's kappa of each table of counts, (tables, 2, 3); None for one of one label alone."""
    totals = counts.sum(axis=(1, 2))
    agreement = (counts[:, 0, 0] + counts[:, 1, 1]) / totals
    of_labels, of_choices = counts.sum(axis=2) / totals[:, None], counts.sum(axis=1)[:, :2]
    by_chance = (of_labels * of_choices / totals[:, None]).sum(axis=1)
    mixed = (of_labels > 0).all(axis=1)
    return [
        float((a - c) / (1 - c)) if both else None
        for a, c, both in zip(agreement, by_chance, mixed, strict=True)
    ]


def _with_judgement(measured: Card, *, read_twice: bool, one_sided: bool) -> Card:
    """The card with its judgement, in a word and in a sentence."""
    trust: Trust
    if faults := _faults(measured):
        trust, text = "not to be trusted", f"not to be trusted with this rubric: {faults[0]}"
        text += "".join(f"; {fault}" for fault in faults[1:])
    elif pulls := _pulls(measured):
        trust, text = "biased", f"biased, and handled: {'; '.join(pulls)}"
    else:
        trust = "usable"
        text = f"usable: {measured.decided or 0:.0%} of {measured.count:,} pairs have a winner"
    if read_twice and measured.shared is None:
        text += f"; fewer than {FEWEST} pairs do not tell whether its two readings agree"
    if one_sided:
        text += "; all labels are the same, so kappa cannot be told: mix which answer is better"
    elif measured.kappa is None:
        text += "; a judge that is consistently wrong shows with labels alone"
    return replace(measured, trust=trust, sentence=text)


def _faults(card: Card) -> list[str]:
    if card.valid is None or card.decided is None:
        return ["there was no pair to ask it about"]
    faults = []
    if card.valid < LEAST_VALID:
        faults.append(f"only {card.valid:.0%} of its verdicts are valid")
    elif card.decided < LEAST_USABLE:
        faults.append(f"it finds a winner in {card.decided:.0%} of the pairs")
    if card.shared is not None and card.shared <= 0:
        faults.append("its readings of a pair and of the same pair swapped share nothing")
    if card.kappa_low is not None and card.kappa_low <= 0:
        faults.append(
            f"its agreement with the labels may be chance (kappa from {card.kappa_low:.2f})"
        )
    return faults


def _pulls(card: Card) -> list[str]:
    pulls = []
    if card.first_position is not None and abs(card.first_position) > MOST_POSITION:
        place = "first" if card.first_position > 0 else "second"
        pulls.append(
            f"the place shown {place} draws it by {abs(card.first_position):.2f}, which asking in "
            "both orders cancels"
        )
    if card.length_pull is not None and abs(card.length_pull) > MOST_LENGTH:
        kind = "longer" if card.length_pull > 0 else "shorter"
        pulls.append(
            f"the {kind} answer wins {0.5 + abs(card.length_pull):.0%} of the pairs, which the "
            "rubric has to forbid where it is not wanted"
        )
    return pulls


def _share(truths: Sequence[bool]) -> float | None:
    return _mean([float(truth) for truth in truths])


def _mean(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
