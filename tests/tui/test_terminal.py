"""What is written beside the screen, and where the app does not open."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tui.run_app import wants_mouse
from tui.terminal.captured_output import CapturedOutput, Lines
from tui.terminal.requirements import refusal
from tui.terminal.sequences import COPY_LIMIT, copy_sequence, notify_sequence


def test_copying_goes_through_osc_52() -> None:
    sequence = copy_sequence("grün", {})
    assert sequence == f"\x1b]52;c;{base64.b64encode('grün'.encode()).decode()}\x07"
    assert copy_sequence("\ud800", {}) is not None
    assert copy_sequence("x" * (COPY_LIMIT + 1), {}) is None


def test_tmux_is_asked_to_pass_it_on() -> None:
    sequence = copy_sequence("x", {"TMUX": "/tmp/tmux,1,0"})
    assert sequence is not None
    assert "\x1bPtmux;\x1b\x1b]52;c;eA==\x07\x1b\\" in sequence


def test_screen_gets_it_in_pieces() -> None:
    sequence = copy_sequence("x" * 3000, {"STY": "1.pts"})
    assert sequence is not None
    pieces = sequence.split("\x1bP")[1:]
    assert all(len(piece) <= 512 + 2 for piece in pieces)
    assert "".join(piece.removesuffix("\x1b\\") for piece in pieces) in sequence.replace(
        "\x1bP", ""
    )


def test_a_notification_cannot_be_broken_out_of() -> None:
    sequence = notify_sequence("run \x1b]52;c;x\x07\nended", {})
    assert sequence.count("\x1b") == 1
    assert sequence.endswith("\x07")
    assert notify_sequence("x", {"TERM": "linux"}) == "\x07"


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, True),
        ({"SSH_CONNECTION": "1 2 3 4"}, False),
        ({"SSH_TTY": "/dev/pts/1", "LORA_STUDIO_MOUSE": "1"}, True),
        ({"LORA_STUDIO_MOUSE": "0"}, False),
    ],
)
def test_the_mouse_is_off_over_ssh(environ: dict[str, str], wanted: bool) -> None:
    assert wants_mouse(environ) is wanted


def test_without_a_terminal_one_line_says_what_to_do() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tui.main"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "TERM": "xterm"},
    )
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "lora-studio train starter" in result.stderr
    assert refusal() is not None  # nor does a test have one


def test_nothing_is_lost_while_the_output_moves_to_a_log(tmp_path: Path) -> None:
    program = f"""
import os, threading
from pathlib import Path
from tui.terminal.captured_output import CapturedOutput
log = Path({str(tmp_path)!r}, "log.txt")
def write():
    for number in range(20_000):
        os.write(2, b"line %d\\n" % number)
with CapturedOutput() as captured:
    writer = threading.Thread(target=write)
    writer.start()
    while not captured.unread():
        pass
    captured.move_to(log)
    writer.join()
lines = log.read_text().splitlines()
assert sorted(lines) == sorted(f"line {{number}}" for number in range(20_000)), len(lines)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_closed_pipe_did_not_take_goes_nowhere_else(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stdout = os.dup(1)
    os.dup2(writing, 1)
    try:
        with CapturedOutput() as output:
            number = output.out.fileno()
            with pytest.raises(BrokenPipeError):
                print("late", file=output.out, flush=True)
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(writing)
    with (tmp_path / "next").open("wb") as file:
        os.dup2(file.fileno(), number)
    del output
    os.close(number)
    assert (tmp_path / "next").read_bytes() == b""


def test_printed_text_becomes_lines() -> None:
    lines = Lines()
    assert lines.feed("one\ntw") == ["one"]
    assert lines.feed("o\r\n\n") == ["two"]
    assert lines.feed("  5%\r 50%\r100%") == []
    assert lines.feed("\n") == ["100%"]
    lines.feed("x" * 1_000_000)
    assert len(lines.feed("\n")[0]) <= 4000


def test_what_libraries_print_is_read_back_and_its_file_stays_small() -> None:
    with CapturedOutput() as output:
        assert output.unread() == ""
        os.write(1, b"from C\n")
        os.write(2, "wärning\n".encode())
        assert output.unread() == "from C\nwärning\n"
        assert output.unread() == ""
        for _ in range(30):
            os.write(1, b"x" * 50_000)
            output.unread()
        os.write(2, b"after\n")
        assert output.unread().endswith("after\n")
        assert os.fstat(output._waiting.fileno()).st_size < 1_200_000
