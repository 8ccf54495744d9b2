"""Files hold the old or the new, and every line that was acknowledged, whatever happens."""

import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.runs import durable, json_lines, record_files, storage
from engine.runs.durable import write_file
from engine.runs.json_lines import to_json
from engine.runs.record_files import (
    Follower,
    append_lines,
    last_records,
    read_records,
    repair_last_line,
    rewrite_records,
)
from engine.runs.storage import StorageError

# -- JSON ----------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_record_becomes_one_strict_line_that_reads_back(record: dict):
    line = json_lines.to_line(record)
    assert line.count(b"\n") == 1
    strict = json.loads(line.decode(), parse_constant=pytest.fail)
    assert strict == json_lines.from_line(line)
    assert to_json(strict) == line.decode().rstrip("\n")


def test_numbers_that_json_does_not_know_become_null():
    record = {"loss": math.nan, "inner": [math.inf, {"x": -math.inf}], "fine": 0.5}
    assert json.loads(to_json(record)) == {"loss": None, "inner": [None, {"x": None}], "fine": 0.5}


def test_scalars_of_array_libraries_are_numbers():
    import numpy as np

    record = {"loss": np.float32(0.5), "step": np.int64(3), "bad": np.float32("nan")}
    assert json.loads(to_json(record)) == {"loss": 0.5, "step": 3, "bad": None}


def test_text_keeps_its_letters_and_loses_its_tricks():
    text = "Grüße 你好 \ud800 \x1b[31m \x9b31m \u202e \u2028"
    written = to_json({"text": text})
    assert "Grüße 你好" in written
    assert not set(written) & set("\ud800\x1b\x9b\u202e\u2028")
    assert json.loads(written)["text"] == text.replace("\ud800", "\ufffd")
    assert json_lines.to_line("a\x1b]52;c;x\x07\tb\r\n").decode() == "a\\x1b]52;c;x\\x07\tb\\x0d\n"


# -- lines ---------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pairs.jsonl"


def steps(file: Path) -> list[int]:
    return [record["step"] for record in read_records(file)]


def test_lines_are_added_and_read_back(file: Path):
    assert steps(file) == []
    append_lines(file, [{"step": 1}, {"step": 2}], sync=True)
    append_lines(file, [{"step": 3}], sync=False)
    assert steps(file) == [1, 2, 3]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("torn", [b'{"step": 3', b"\0" * 5000, b'{"step"', b"\xff\xfe"])
def test_a_torn_last_line_is_not_read_and_is_cut_off(file: Path, torn: bytes):
    append_lines(file, [{"step": 1}, {"step": 2}], sync=False)
    with file.open("ab") as end:
        end.write(torn)
    assert steps(file) == [1, 2]
    assert repair_last_line(file) == len(torn)
    assert repair_last_line(file) == 0
    append_lines(file, [{"step": 3}], sync=False)
    assert steps(file) == [1, 2, 3]


def test_a_whole_last_line_without_its_line_end_is_kept(file: Path):
    file.write_text('{"step": 1}\n{"step": 2}')
    assert repair_last_line(file) == 0
    append_lines(file, [{"step": 3}], sync=False)
    assert steps(file) == [1, 2, 3]


@pytest.mark.parametrize("junk", [b"", b"nonsense", b"[1]", b"\0\0", b"[" * 100_000, b"1" * 5000])
def test_a_damaged_line_costs_no_other(file: Path, junk: bytes):
    file.write_bytes(b'{"step": 1}\n' + junk + b'\n{"step": 2}\n')
    assert steps(file) == [1, 2]
    assert [record["step"] for record in last_records(file, 5)] == [1, 2]


@pytest.mark.parametrize("count", [1, 3, 700, 1000])
def test_the_last_records_are_those_of_a_full_read(file: Path, count: int):
    append_lines(file, ({"step": n, "text": "é" * (n % 90)} for n in range(800)), sync=False)
    assert last_records(file, count) == list(read_records(file))[-count:]


def test_rewriting_changes_drops_and_keeps(file: Path):
    append_lines(file, ({"step": n, "loss": 1 / 3} for n in range(1, 6)), sync=False)
    before = file.read_bytes().splitlines()

    def change(record: dict) -> dict | None:
        if record["step"] == 2:
            return None
        return record | {"loss": 0.0} if record["step"] == 4 else record

    assert rewrite_records(file, change) == 2
    assert steps(file) == [1, 3, 4, 5]
    after = file.read_bytes().splitlines()
    assert [after[0], after[1], after[3]] == [before[0], before[2], before[4]]
    assert rewrite_records(file, lambda record: record) == 0


def test_a_writer_that_waited_for_a_rewrite_writes_to_the_new_file(file: Path):
    """Guards against a line that goes into the file that the rewrite has replaced."""
    import threading

    append_lines(file, [{"step": 1}, {"step": 2}], sync=False)
    writer = threading.Thread(
        target=append_lines, args=(file, [{"step": 3}]), kwargs={"sync": True}
    )

    def change(record: dict) -> dict | None:
        if not writer.is_alive() and record["step"] == 1:
            writer.start()
            time.sleep(0.05)  # it now waits for the lock
        return None if record["step"] == 2 else record

    rewrite_records(file, change)
    writer.join()
    assert steps(file) == [1, 3]


def test_a_follower_sees_each_record_once_and_notices_a_replaced_file(file: Path):
    follower = Follower(file)
    assert follower.read() == (False, [])
    append_lines(file, [{"step": 1}], sync=False)
    assert follower.read() == (False, [{"step": 1}])
    with file.open("ab") as end:
        end.write(b'{"step": 2}\n{"st')
    assert follower.read() == (False, [{"step": 2}])
    repair_last_line(file)
    append_lines(file, [{"step": 3}], sync=False)
    assert follower.read() == (False, [{"step": 3}])
    rewrite_records(file, lambda record: record if record["step"] < 3 else None)
    assert follower.read() == (True, [{"step": 1}, {"step": 2}])
    assert follower.read() == (False, [])


def test_a_follower_can_leave_out_what_is_there(file: Path):
    follower = record_files.Follower(file)
    follower.skip()  # nothing, not even the file
    record_files.append_lines(file, [{"step": 1}], sync=False)
    with file.open("a") as torn:
        torn.write('{"step"')
    follower.skip()
    assert follower.read() == (False, [])
    with file.open("a") as rest:
        rest.write(": 2}\n")
    assert follower.read() == (False, [{"step": 2}])


def test_a_link_or_a_pipe_in_the_place_of_a_file_is_refused(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("untouched\n")
    link, pipe = tmp_path / "link.jsonl", tmp_path / "pipe.jsonl"
    link.symlink_to(elsewhere)
    os.mkfifo(pipe)
    for file in (link, pipe):
        with pytest.raises(StorageError):
            append_lines(file, [{"step": 1}], sync=False)
    with pytest.raises(OSError, match="not a regular file"):
        durable.read_file(pipe, 10)
    assert elsewhere.read_text() == "untouched\n"


def test_a_locale_without_utf8_changes_nothing(file: Path):
    code = (
        "import sys; from pathlib import Path; from engine.runs.record_files import *;"
        "append_lines(Path(sys.argv[1]), [{'text': 'Gr\\u00fc\\u00dfe'}], sync=False);"
        "print(ascii(list(read_records(Path(sys.argv[1])))))"
    )
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, "-c", code, str(file)]
    printed = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
    assert printed.decode().strip() == r"[{'text': 'Gr\xfc\xdfe'}]"
    assert "Grüße".encode() in file.read_bytes()


# -- full and vanished disks ---------------------------------------------------------------------


def test_a_full_disk_loses_nothing_and_goes_on_when_there_is_room(
    small_disk: Path, fill_disk: Callable[[], Path]
):
    lines, whole = small_disk / "pairs.jsonl", small_disk / "run.json"
    write_file(whole, "old")
    append_lines(lines, [{"step": 1}], sync=True)
    ballast = fill_disk()
    long = {"step": 2, "text": "x" * 100_000}  # its start would still fit into the last block
    for _ in range(3):
        with pytest.raises(StorageError, match="free some space") as raised:
            append_lines(lines, [long], sync=True)
        assert raised.value.errno == errno.ENOSPC
        with pytest.raises(StorageError):
            write_file(whole, "new" * 100_000)
    assert lines.read_bytes() == b'{"step": 1}\n'
    assert whole.read_text() == "old"
    assert sorted(os.listdir(small_disk)) == ["ballast", "pairs.jsonl", "run.json"]
    ballast.unlink()
    append_lines(lines, [long], sync=True)
    assert steps(lines) == [1, 2]


def test_a_vanished_folder_is_a_storage_error_that_passes(tmp_path: Path):
    folder = tmp_path / "run"
    with pytest.raises(StorageError, match="put its folder back"):
        append_lines(folder / "log.txt", ["line"], sync=True)
    with pytest.raises(StorageError, match="put its folder back"):
        write_file(folder / "run.json", "{}")
    folder.mkdir()
    append_lines(folder / "log.txt", ["line"], sync=True)
    assert (folder / "log.txt").read_text() == "line\n"


# -- whole folders -------------------------------------------------------------------------------


def fill(path: Path, text: str, *, private: bool = True) -> None:
    with durable.new_folder(path, private=private) as folder:
        (folder / "inner").mkdir()
        (folder / "inner" / "file").write_text(text)


def modes(folder: Path) -> set[str]:
    return {oct(path.stat().st_mode & 0o777) for path in (folder, *folder.rglob("*"))}


def test_a_folder_takes_the_place_of_another_and_is_its_owners_alone(tmp_path: Path):
    previous = os.umask(0o022)
    try:
        for text in ("old", "new"):
            fill(tmp_path / "mine", text)
            fill(tmp_path / "yours", text, private=False)
    finally:
        os.umask(previous)
    assert {(tmp_path / name / "inner" / "file").read_text() for name in ("mine", "yours")} == {
        "new"
    }
    assert modes(tmp_path / "mine") == {"0o600", "0o700"}
    assert modes(tmp_path / "yours") == {"0o644", "0o755"}
    assert sorted(os.listdir(tmp_path)) == ["mine", "yours"]


def test_a_folder_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fill(tmp_path / "mine", "old")
    rename = Path.rename

    def refused(path: Path, to: Path) -> Path:
        if path == durable.making_of(tmp_path / "mine"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(StorageError, match="Input/output error"):
        fill(tmp_path / "mine", "new")
    assert (tmp_path / "mine" / "inner" / "file").read_text() == "old"
    assert os.listdir(tmp_path) == ["mine"]


def test_beside_a_users_folder_nothing_is_touched_that_is_not_the_programs(tmp_path: Path):
    for name in (".out.tmp", ".out.old", ".out.gone", ".else.lora-studio.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text(name)
    left = durable.making_of(tmp_path / "out", private=False)
    left.mkdir()
    (left / "half").write_text("of a killed export")
    before = sorted({*os.listdir(tmp_path), "out"} - {left.name})
    for _ in range(2):
        fill(tmp_path / "out", "whole", private=False)
    assert sorted(os.listdir(tmp_path)) == before
    for name in (".out.tmp", ".out.old", ".out.gone"):
        assert (tmp_path / name / "precious").read_text() == name


def test_what_another_process_is_writing_is_left_to_it(tmp_path: Path):
    out = tmp_path / "out"
    with durable.new_folder(out, private=False) as theirs:
        (theirs / "half").write_text("more to come")
        code = (
            "import sys; from pathlib import Path; from engine.runs import durable\n"
            "out = Path(sys.argv[1]); durable.tidy_folder(out, private=False)\n"
            "with durable.new_folder(out, private=False): pass"
        )
        command = [sys.executable, "-c", code, str(out)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert "another process is writing it" in done.stderr
    assert os.listdir(out) == ["half"]
    assert os.listdir(tmp_path) == ["out"]


def test_a_killed_process_of_the_same_number_is_in_nobodys_way(
    file: Path, monkeypatch: pytest.MonkeyPatch
):
    """As in a container, where every process of the program has the same number."""
    monkeypatch.setattr(durable, "_temporary_names", iter(range(2)))
    left = file.with_name(f".{file.name}.lora-studio-{os.getpid()}-0.tmp")
    left.write_text("half")
    write_file(file, "whole")
    assert file.read_text() == "whole"


def test_a_file_that_is_written_tidies_what_kills_left_of_it_alone(tmp_path: Path):
    others = [".notes.json.lora-studio-7-0.tmp", ".run.json.tmp", ".run.json.7-0.tmp", "run.json"]
    for name in (*others, ".run.json.lora-studio-7-0.tmp"):
        (tmp_path / name).write_text("half")
    write_file(tmp_path / "run.json", "whole")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


# -- kill -9 -------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from engine.runs.durable import *
from engine.runs.json_lines import *
from engine.runs.record_files import *
folder, number = Path(sys.argv[1]), int(sys.argv[2])
repair_last_line(folder / "pairs.jsonl")
while True:
    append_lines(folder / "pairs.jsonl", [{"number": number, "text": "x" * (number % 7000)}],
                 sync=number % 2 == 0)
    print("line", number, flush=True)
    write_file(folder / "run.json", to_json({"number": number, "text": "y" * (number % 9000)}))
    print("state", number, flush=True)
    if number % 5 == 0:
        rewrite_records(folder / "pairs.jsonl", lambda record: record | {"seen": number})
    number += 1
"""


def kill_and_check(folder: Path, number: int, after: float) -> int:
    """Start the writer at `number`, kill it after so many seconds; return where to go on."""
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder), str(number)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout
    said = [writer.stdout.readline()]  # it is running
    time.sleep(after)
    writer.send_signal(signal.SIGKILL)
    said += writer.stdout.readlines()
    writer.stdout.close()
    writer.wait()
    acknowledged = [line.split() for line in said if line.endswith("\n")]
    lines = [int(n) for kind, n in acknowledged if kind == "line"]
    states = [int(n) for kind, n in acknowledged if kind == "state"]

    found = [record["number"] for record in read_records(folder / "pairs.jsonl")]
    assert found == list(range(len(found)))  # all, once, in order
    assert lines[-1] <= found[-1] <= lines[-1] + 1
    if states:
        state = json.loads((folder / "run.json").read_text())
        assert states[-1] <= state["number"] <= states[-1] + 1
        assert state["text"] == "y" * (state["number"] % 9000)
    return len(found)


def kill_often(folder: Path, times: int) -> None:
    instants = random.Random(0)
    number = 0
    for _ in range(times):
        number = kill_and_check(folder, number, instants.uniform(0, 0.06))
    assert number > times


def test_a_writer_killed_at_random_instants_loses_nothing(tmp_path: Path):
    kill_often(tmp_path, 24)


@pytest.mark.slow
def test_a_writer_killed_at_a_thousand_random_instants_loses_nothing(tmp_path: Path):
    kill_often(tmp_path, 1000)


def test_a_short_write_is_told_by_what_the_disk_says_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = OSError("3 requested and 2 written")  # as numpy has it, without a number
    assert storage.storage_cause(short, tmp_path) is short
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(storage, "_refusal", lambda folder: full)
    assert storage.storage_cause(short, tmp_path) is full
    assert str(storage.StorageError(tmp_path, full)).endswith("free some space and go on")
    denied = PermissionError(errno.EACCES, "Permission denied")
    assert storage.storage_cause(denied, tmp_path) is denied
