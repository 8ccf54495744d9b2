"""The update that ranks share: what happens to it where a rank is lost."""

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.compute.sampling import Interrupted
from engine.data.pairs import JudgedPair
from engine.distributed.links import RankLost
from engine.session import Session
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.ranks import Alone
from engine.train.ranks.update import SharedUpdate
from engine.train.update import Sums, Update
from tests.engine.small_models import (
    policy_and_reference,
    settings,
    stir,
    write_model,
    write_prompts,
)
from tests.engine.test_update import judged, make_update, weights


class LostInTheDigest:
    """Ranks of which one is lost while they compare their weights; rank 0 has all pairs."""

    def __init__(self) -> None:
        self.commands: list[str] = []

    def sums(
        self,
        compute: Callable[[Sequence[JudgedPair], int], Sums],
        none: Callable[[], Sums],
        decided: Sequence[JudgedPair],
        step: int,
    ) -> Sums:
        return compute(decided, 0)

    def tell(self, **message: Any) -> None:
        self.commands.append(message["do"])

    def watched(self, kind: str) -> contextlib.AbstractContextManager[None]:
        self.commands.append(f"watch {kind}")
        return contextlib.nullcontext()

    def agree(self, update: Update) -> None:
        self.commands.append("digest")
        raise RankLost("rank 1 is gone")


def shared_update(
    ranks: LostInTheDigest, stop: Callable[[], bool] = lambda: False, **values: Any
) -> SharedUpdate:
    chosen = settings(optimizer="sgd", learning_rate=0.01, max_grad_norm=0.0, **values)
    policy, reference = policy_and_reference(chosen)
    stir(policy.model)
    optimizer = build_optimizer(chosen, 100)
    return SharedUpdate(
        ranks, policy, reference, chosen, optimizer, lambda *_: None, stop, lambda text: None
    )


def test_a_step_counts_where_a_rank_is_lost_after_it() -> None:
    """Else a checkpoint of the step before would hold the weights of this one, which then would be
    learned again."""
    ranks = LostInTheDigest()
    update, alone = shared_update(ranks, save_every=2), make_update()
    for step in (1, 2):
        result = learn(update, judged(), step=step)
        wanted = learn(alone, judged(), step=step)
        assert math.isfinite(result.grad_norm)
        assert result == wanted
    taken = ["add", "watch add", "apply", "watch apply"]
    assert ranks.commands == [*taken, *taken, "digest"]
    for name, array in weights(update).items():
        assert (array == weights(alone)[name]).all()


def test_an_update_is_given_up_where_it_is_to_stop() -> None:
    ranks = LostInTheDigest()
    update = shared_update(ranks, stop=lambda: True)
    before = weights(update)
    with pytest.raises(Interrupted):
        learn(update, judged(), step=1)
    assert ranks.commands == []
    assert update.gradients is None
    for name, array in weights(update).items():
        assert (array == before[name]).all()


def test_a_run_that_is_over_lacks_nothing_of_a_rank_that_is_lost_then(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As while rank 0 alone still fuses."""
    monkeypatch.setattr(Alone, "lost", "rank 1 is gone")
    write_model(tmp_path / "model", scale=1.0)
    write_prompts(tmp_path / "prompts.jsonl", 4)
    chosen = settings(
        model=str(tmp_path / "model"),
        judge="rule:length",
        data=str(tmp_path / "prompts.jsonl"),
        iters=1,
        batch_size=4,
        max_completion_length=8,
        steps_per_eval=-1,
    )
    session = Session(chosen)
    session.start()
    assert session.join(60)
    assert (session.status, session.error) == ("finished", None)
