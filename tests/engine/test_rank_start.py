"""The start of a run of several ranks, where it does not come about."""

from pathlib import Path

import pytest

from engine.control import Control
from engine.errors import UserError
from engine.machine.launch import Place
from engine.rank_session import RankSession
from engine.runs.folder import Run
from engine.train.journal import Journal
from engine.train.ranks.lead import Lead
from engine.train.ranks.worker import RankWorker

SOON = 60.0  # seconds, on a machine that is busy


def test_an_address_of_another_machine_is_refused_by_name(tmp_path: Path) -> None:
    control = Control()
    journal = Journal(Run(tmp_path), lambda event: None, control)
    elsewhere = Place(0, 2, "ring", "192.0.2.1")  # of no machine, by RFC 5737
    with pytest.raises(UserError, match=r"rank 0 cannot be reached at 192\.0\.2\.1, the address"):
        Lead(elsewhere, journal, control)


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
