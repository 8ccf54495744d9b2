"""What a rank other than 0 does about its own machine."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from engine.distributed.group import Group
from engine.distributed.links import Link
from engine.errors import RunError
from engine.machine.launch import Place
from engine.rank_session import RankSession
from engine.settings.schema import Settings
from engine.train.ranks import worker
from engine.train.ranks.worker import RankWorker

SOON = 60.0  # seconds, on a machine that is busy


class Rank0:
    """A link to a rank 0 that begins a run."""

    def __init__(self) -> None:
        self.end: dict[str, Any] | None = None
        self.lost: str | None = None
        self.sent: list[dict[str, Any]] = []

    @property
    def is_alive(self) -> bool:
        return not self.lost

    def next(self) -> dict[str, Any]:
        return {"do": "begin", "number": 1, "settings": {"judge": "rule:length"}, "start": None}

    def answer(self, message: dict[str, Any], **answer: Any) -> None:
        pass

    def send(self, **message: Any) -> None:
        self.sent.append(message)


def test_a_rank_needs_no_disk_and_leaves_nothing_on_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told, loads_on = threading.Event(), threading.Event()

    def load(settings: Settings, on_download: Callable[[str], None], start: Path | None) -> None:
        (folder,) = tmp_path.glob("lora-studio-rank-*")
        shutil.rmtree(folder)  # as what tidies up in such places does after some days
        on_download("a model")
        folder.mkdir()
        told.set()
        loads_on.wait(SOON)
        raise RunError("enough")

    monkeypatch.setattr(worker, "load_roles", load)
    monkeypatch.setattr(worker, "file_digests", lambda settings: {})
    monkeypatch.setattr(worker.tempfile, "tempdir", str(tmp_path))
    rank, link = RankWorker(Place(1, 2, "ring"), None), Rank0()
    rank._link = cast(Link, link)

    def obey() -> None:
        with pytest.raises(RunError):
            rank._obey(cast(Group, None), cast(Link, link))

    thread = threading.Thread(target=obey)
    thread.start()
    assert told.wait(SOON)
    assert {"do": "log", "level": "info", "text": "downloading a model"} in link.sent
    session = RankSession(Place(1, 2, "ring"), None)
    assert not session.outlives_terminal
    session._worker = rank
    assert session.outlives_terminal
    link.lost = "rank 0 is gone"
    end = rank.end_of_load()
    assert end is not None
    assert "rank 0 is gone, so rank 1 ends" in end.text
    assert list(tmp_path.iterdir()) == []
    loads_on.set()
    thread.join(SOON)


def test_rank_0_hears_what_failed_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        link.lost = "rank 0 is gone"  # so that nothing is waited for
        raise OSError(28, f"No space left for {key}", "/a/disk")

    link, key = Rank0(), "a-key-of-rank-1"
    monkeypatch.setenv("HF_TOKEN", key)
    monkeypatch.setattr(RankWorker, "_connect", lambda *_: link)
    monkeypatch.setattr(RankWorker, "_obey", fail)
    RankWorker(Place(1, 2, "ring"), None).work()
    text = "OSError: [Errno 28] No space left for …: '/a/disk'"
    assert link.sent == [{"do": "fault", "text": text}]
