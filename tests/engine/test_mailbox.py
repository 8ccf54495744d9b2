"""Commands to a run of another process arrive once, in order, and nothing else is taken."""

import time
from pathlib import Path

from engine import mailbox
from engine.run_folder import Run


def test_commands_are_taken_once_and_in_order(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for command in ("pause", "save", "unpause"):
        mailbox.post(run, command)
    assert mailbox.take(run) == ["pause", "save", "unpause"]
    assert mailbox.take(run) == []


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    folder = tmp_path / mailbox.MAILBOX
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "1.explode").write_text("")
    mailbox.post(run, "stop")
    assert mailbox.take(run) == ["stop"]
    assert sorted(path.name for path in folder.iterdir()) == ["1.explode", "notes.txt"]


def test_only_the_owner_may_command(tmp_path: Path) -> None:
    mailbox.post(Run(tmp_path), "stop")
    folder = tmp_path / mailbox.MAILBOX
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_watch_obeys_new_commands_and_ignores_old_ones(tmp_path: Path) -> None:
    run = Run(tmp_path)
    mailbox.post(run, "stop")
    heard: list[str] = []
    watch = mailbox.Watch(run, heard.append)
    mailbox.post(run, "pause")
    deadline = time.monotonic() + 10
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    watch.close()
    assert heard == ["pause"]


def test_a_run_without_a_mailbox_has_no_commands(tmp_path: Path) -> None:
    assert mailbox.take(Run(tmp_path / "gone")) == []
