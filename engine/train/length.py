"""A price on length: what the judge prefers, less so much for each token more."""

import math
from dataclasses import replace

from engine.data.pairs import JudgedPair, Verdict
from engine.judges.contest import CONTRARY
from engine.judges.log_odds import clipped_log_odds
from engine.settings.schema import Settings


def with_length_penalty(judged: JudgedPair, settings: Settings) -> JudgedPair:
    """The pair with the verdict to train on: logit q - length_penalty (n1 - n2) / 100, where n1
    and n2 are the tokens of the first and the second completion.

    What the judge gave no probability for stays as it is, and so does a tie that is not by the
    margin: of two orders that pick different completions, or of a verdict against what was said of
    the two among more. What is stored is the judge's own verdict.
    """
    verdict, penalty = judged.verdict, settings.length_penalty
    contrary = verdict.choice == "tie" and (
        verdict.note == CONTRARY or (settings.judge_ties == "orders" and _disagrees(verdict))
    )
    if not penalty or verdict.q is None or contrary or verdict.choice == "invalid":
        return judged
    pair = judged.pair
    more = len(pair.first_ids) - len(pair.second_ids)
    logit = clipped_log_odds(verdict.q) - penalty * more / 100
    q = 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
    choice = "first" if q > 0.5 else "second"
    if q == 0.5 or abs(q - 0.5) < settings.judge_margin:
        choice = "tie"
    return replace(judged, verdict=replace(verdict, choice=choice, q=q))


def _disagrees(verdict: Verdict) -> bool:
    """Whether the two orders of a pair pick different completions."""
    if verdict.q_orders is None:
        return False
    shown_first, shown_second = verdict.q_orders
    return (shown_first - 0.5) * (shown_second - 0.5) <= 0
