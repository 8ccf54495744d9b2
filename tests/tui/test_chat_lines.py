"""`lora-studio chat`: what comes in by lines."""

import sys
from io import BytesIO, TextIOWrapper

import pytest

from engine.chat import ChatAnswer, ChatAnswered, ChatEvent, ChatReady, ChatRequest
from engine.message import Message
from engine.runs.folder import Run
from tests.tui.archive import make_run
from tui.cli import chat


class Answering:
    """Stands in for `engine.chat.Chat`, and says yes."""

    id = "c0ffee"
    asked: list[tuple[Message, ...]]

    def __init__(self, run: Run) -> None:
        self.asked = Answering.asked = []
        self._events: list[ChatEvent] = [ChatReady(40, 0.8, "", 512)]

    def start(self) -> None:
        """Nothing is loaded."""

    def ask(self, request: ChatRequest) -> None:
        self.asked.append(request.messages)
        answer = ChatAnswer("policy", "Yes.", (1,), True)
        self._events.append(ChatAnswered(request.turn, (answer,), ()))

    def drain(self, timeout: float = 0.0) -> list[ChatEvent]:
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """Nothing goes on."""


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_bytes_that_are_no_text_are_asked_as_replacement_characters(
    errors: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = BytesIO(b"caf\xe9?\n\n  why\n")
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(lines, encoding="utf-8", errors=errors))
    monkeypatch.setattr(chat, "Chat", Answering)
    chat.talk(make_run("polite", pairs=0), ("policy",), system="th\udce9")
    first, second = Answering.asked
    assert first == (Message("system", "th\ufffd"), Message("user", "caf\ufffd?"))
    assert second[-1].content == "why"
    assert capsys.readouterr().out == "Yes.\n\nYes.\n\n"


def test_answers_that_go_to_a_file_are_all_that_is_in_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = TextIOWrapper(BytesIO(b"why?\n"))
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)
    monkeypatch.setattr(chat, "Chat", Answering)
    chat.talk(make_run("polite", pairs=0), ("policy",))
    printed = capsys.readouterr()
    assert printed.out == "Yes.\n\n"
    assert "Ctrl+D ends" in printed.err
