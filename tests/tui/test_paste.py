"""What a terminal sends of a paste, whatever is in it, comes as one text and presses no key."""

import asyncio
import os
import signal

import pytest
from textual import events
from textual.app import App
from textual.drivers import web_driver
from textual.message import Message

from tui.textual_private.paste_parser import PasteParser
from tui.textual_private.terminal_driver import TabDriver, TerminalDriver

START, END = "\x1b[200~", "\x1b[201~"


def told(sent: list[str]) -> list[str]:
    """What is told of what a terminal sends in these parts: texts of pastes, names of keys."""
    parser = PasteParser()
    return list(map(word, (each for part in sent for each in parser.feed(part))))


def word(event: Message) -> str:
    if isinstance(event, events.Paste):
        return f"paste {event.text}"
    return event.key if isinstance(event, events.Key) else type(event).__name__


@pytest.mark.parametrize(
    ("pasted", "text"),
    [
        ("one\rtwo", "one\rtwo"),
        ("\x1b[31mred\x1b[0m\r1", "␛[31mred␛[0m\r1"),
        ("\x1b", "␛"),
        ("a\x1b\x1b[2\x1b[20", "a␛␛[2␛[20"),
        (f"{START}1", "␛[200~1"),
        ("\x1b[I\x1b[A\x1b[<0;1;1M\x1bq", "␛[I␛[A␛[<0;1;1M␛q"),
        ("", ""),
    ],
)
def test_a_paste_with_escape_characters_is_one_text(pasted: str, text: str) -> None:
    sent = f"x{START}{pasted}{END}y{START}z{END}"
    expected = ["x", f"paste {text}", "y", "paste z"]
    assert told([sent]) == expected
    assert told(list(sent)) == expected
    for at in range(1, len(sent)):
        assert told([sent[:at], sent[at:]]) == expected


def test_what_is_no_paste_is_keys_as_ever() -> None:
    assert told(["\x1b[A\x1b[5~a\r\x1b[20~"]) == ["up", "pageup", "a", "enter", "f9"]
    assert told(["\x1b[", "B\x1b", "[200", "~\r", "\x1b[201~"]) == ["down", "paste \r"]


def test_the_terminal_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    its_end, end = os.pipe()

    async def with_loop() -> TerminalDriver:
        return TerminalDriver(App())

    driver = asyncio.run(with_loop())
    driver.fileno = its_end
    seen: list[str] = []

    def take(message: Message) -> None:
        seen.append(word(message))
        if seen[-1] == "f1":
            driver.exit_event.set()

    monkeypatch.setattr(driver, "process_message", take)
    os.write(end, f"{START}\x1b[31m1\r2{END}\x1bOP".encode())
    os.close(end)
    driver.run_input_thread()
    os.close(its_end)
    assert seen == ["paste ␛[31m1\r2", "f1"]


def test_a_tab_is_read_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = f"{START}\x1b[31m1\r2{END}\x1bOP".encode()
    packets = iter([b"D" + len(sent).to_bytes(4, "big") + sent])

    class Reader:
        __iter__ = staticmethod(lambda: packets)
        close = staticmethod(lambda: None)

    monkeypatch.setattr(web_driver, "InputReader", Reader)

    async def with_loop() -> TabDriver:
        return TabDriver(App())

    driver = asyncio.run(with_loop())
    seen: list[str] = []
    sent_signals: list[tuple[int, int]] = []
    monkeypatch.setattr(driver, "process_message", lambda message: seen.append(word(message)))
    monkeypatch.setattr(os, "kill", lambda *sent: sent_signals.append(sent))
    driver.run_input_thread()
    assert seen == ["paste ␛[31m1\r2", "f1"]
    assert sent_signals == [(os.getpid(), signal.SIGHUP)]  # the server is gone
    driver.exit_event.set()
    driver.run_input_thread()
    assert len(sent_signals) == 1  # the app has ended by itself
