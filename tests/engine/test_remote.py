"""Commands to a run of another process arrive once, in order, and nothing else is taken."""

import os
import time
from pathlib import Path

import pytest

from engine.runs import remote
from engine.runs.folder import Run
from engine.runs.storage import StorageError


def test_commands_are_taken_once_and_in_order(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for command in ("pause", "save", "unpause"):
        remote.post(run, command)
    assert remote.take(run) == ["pause", "save", "unpause"]
    assert remote.take(run) == []


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    folder = tmp_path / remote.COMMANDS_FOLDER
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "1.explode").write_text("")
    remote.post(run, "stop")
    assert remote.take(run) == ["stop"]
    assert sorted(path.name for path in folder.iterdir()) == ["1.explode", "notes.txt"]


def test_only_the_owner_may_command(tmp_path: Path) -> None:
    remote.post(Run(tmp_path), "stop")
    folder = tmp_path / remote.COMMANDS_FOLDER
    assert folder.stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o077 == 0 for path in folder.iterdir())


def test_a_watch_obeys_new_commands_and_ignores_old_ones(tmp_path: Path) -> None:
    run = Run(tmp_path)
    remote.post(run, "stop")
    heard: list[str] = []
    watch = remote.Watch(run, heard.append)
    remote.post(run, "pause")
    deadline = time.monotonic() + 60
    while not heard and time.monotonic() < deadline:
        time.sleep(0.02)
    watch.close()
    assert heard == ["pause"]


def test_a_run_without_a_folder_of_commands_has_no_commands(tmp_path: Path) -> None:
    assert remote.take(Run(tmp_path / "gone")) == []


def test_a_folder_that_others_may_write_is_closed_before_it_is_used(tmp_path: Path) -> None:
    folder = tmp_path / remote.COMMANDS_FOLDER
    folder.mkdir()
    folder.chmod(0o777)
    remote.Watch(Run(tmp_path), lambda command: None).close()
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    posted = remote.post(Run(tmp_path), "stop")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert posted.stat().st_mode & 0o777 == 0o600


def test_a_folder_of_commands_that_is_a_link_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / remote.COMMANDS_FOLDER).symlink_to(tmp_path / "other")
    with pytest.raises(StorageError, match="mailbox"):
        remote.post(Run(tmp_path), "stop")
    assert not list((tmp_path / "other").iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_command_of_another_user_is_not_obeyed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    posted = remote.post(run, "stop")
    os.chown(posted, 12345, -1)
    assert remote.take(run) == []
    assert posted.exists()


def test_what_is_no_file_is_not_obeyed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    remote.post(run, "pause")
    (tmp_path / remote.COMMANDS_FOLDER / "1.stop").symlink_to("/dev/null")
    (tmp_path / remote.COMMANDS_FOLDER / "2.stop").mkdir()
    assert remote.take(run) == ["pause"]


def test_a_command_can_be_taken_back_until_it_is_obeyed(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert remote.withdraw(remote.post(run, "stop"))
    posted = remote.post(run, "stop")
    assert remote.take(run) == ["stop"]
    assert not remote.withdraw(posted)
