"""The start of a run of several ranks, where it does not come about."""

import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.control import Control
from engine.distributed.group import Group, SumTimeout
from engine.distributed.links import Hub, RankLost
from engine.errors import UserError
from engine.machine.launch import Place
from engine.plan.memory import checkpoint_bytes
from engine.rank_session import RankSession
from engine.runs.folder import Run
from engine.train.journal import Journal
from engine.train.optimizers import build_optimizer
from engine.train.ranks.checks import check_disk
from engine.train.ranks.lead import Lead
from engine.train.ranks.refusal import REFUSED, refusal
from engine.train.ranks.shares import HEADER, state_arrays, zeros
from engine.train.ranks.worker import RankWorker
from engine.train.roles import load_roles
from engine.train.update import Update
from tests.engine.small_models import settings, write_model
from tests.engine.test_update import make_update

SOON = 60.0  # seconds, on a machine that is busy


def test_an_address_of_another_machine_is_refused_by_name(tmp_path: Path) -> None:
    control = Control()
    journal = Journal(Run(tmp_path), lambda event: None, control)
    elsewhere = Place(0, 2, "ring", "192.0.2.1")  # of no machine, by RFC 5737
    with pytest.raises(UserError, match=r"rank 0 cannot be reached at 192\.0\.2\.1, the address"):
        Lead(elsewhere, journal, control)


def test_a_network_that_is_cut_is_told_of_by_what_did_not_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut(*_: object, **__: object) -> None:
        raise SumTimeout

    control = Control()
    journal = Journal(Run(tmp_path), lambda event: None, control)
    monkeypatch.setattr(Group, "spread", cut)
    monkeypatch.setattr(Hub, "ask", lambda *_: 1)
    monkeypatch.setattr(Hub, "answers", lambda *_: {})
    lead = Lead(Place(0, 2, "ring", "127.0.0.1"), journal, control)
    lost = "^the weights of rank 0 do not reach the others: the network between"
    with pytest.raises(RankLost, match=lost):
        lead.spread(make_update())
    assert str(lead.lost).startswith("the weights of rank 0")


def test_whatever_fails_before_ranks_are_linked_ends_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: RankWorker) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(RankWorker, "work", fail)
    session = RankSession(Place(1, 2, "ring", "127.0.0.1"), None)
    session.start()
    assert session.join(SOON)
    assert session.status == 1
    assert session.error == "rank 1 has failed: OSError: [Errno 24] Too many open files"


def test_a_reason_of_any_length_and_script_fits_into_what_rank_0_spreads() -> None:
    for reason in ("no room", "ж" * 10_000, "\x01" * 10_000, ""):
        data = refusal(reason)
        assert len(data) == HEADER
        told = json.loads(data)[REFUSED]
        assert reason.startswith(told)
        assert len(told) >= min(len(reason), 500)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adafactor", "lion"])
@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
def test_a_checkpoint_needs_what_is_counted_for_it(
    optimizer: str, train_type: str, tmp_path: Path
) -> None:
    write_model(tmp_path / "model")
    chosen = settings(
        model=str(tmp_path / "model"),
        judge="rule:length",
        optimizer=optimizer,
        train_type=train_type,
        gradient_accumulation_steps=2,
    )
    roles = load_roles(chosen)
    update = Update(roles.policy, roles.reference, chosen, build_optimizer(chosen, 10))
    update.gradients = zeros(update).gradients
    arrays = state_arrays(update)
    kept = sum(each.nbytes for each in arrays.values())
    left = sum(each.nbytes for name, each in arrays.items() if name.startswith("weights/"))
    assert checkpoint_bytes(chosen) == pytest.approx(kept + left, rel=0.1)


def test_a_disk_without_room_for_a_checkpoint_is_refused(
    small_disk: Path, fill_disk: Callable[[], Path], tmp_path: Path
) -> None:
    write_model(tmp_path / "model")
    chosen = settings(model=str(tmp_path / "model"))
    needed = checkpoint_bytes(chosen)
    assert needed
    check_disk("rank 0", small_disk, chosen)
    ballast = fill_disk()
    pages = 4096 * math.ceil(needed / 4096)
    os.truncate(ballast, ballast.stat().st_size - pages)
    check_disk("rank 0", small_disk, chosen)
    ballast.write_bytes(b"")
    fill_disk()
    with pytest.raises(UserError, match=r"rank 0 has 0\.0 MB free for the run in .*disk, where"):
        check_disk("rank 0", small_disk, chosen)
