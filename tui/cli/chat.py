"""`lora-studio chat`: a line in is a turn, and what the models answer are lines out."""

import sys
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from typing import TextIO

from engine.chat import (
    Author,
    Chat,
    ChatAnswered,
    ChatEvent,
    ChatFailed,
    ChatReady,
    ChatRequest,
    ChatText,
)
from engine.data.chat_messages import clean
from engine.errors import UserError
from engine.runs.folder import Run
from tui.cli.arguments import print_note
from tui.state.conversation import NAMES, Conversation
from tui.text.safe_text import safe
from tui.text.temperature import how

POLL_SECONDS = 0.5  # between two chances for Ctrl+C while nothing is told


def talk(
    run: Run,
    authors: tuple[Author, ...],
    *,
    system: str | None = None,
    temperature: float | None = None,
) -> None:
    """Answer each line of standard input until its end. Ctrl+C stops an answer, or ends the chat.

    Raises:
        UserError: the run's models cannot be loaded.
        KeyboardInterrupt: Ctrl+C where no answer was being written.
    """
    chat = Chat(run)
    chat.start()
    try:
        ready = _wait_until_ready(chat)
        conversation = Conversation(
            chat.id,
            ready.system if system is None else clean(system),
            ready.temperature if temperature is None else temperature,
        )
        if sys.stdin.isatty():
            who = " and ".join(NAMES[each] for each in authors)
            print_note(f"{run.name}, step {ready.step:,}: {who}, {how(conversation.temperature)}")
            print_note("a line is a turn · Ctrl+C stops an answer · Ctrl+D ends")
        output = Output(sys.stdout, authors)
        for prompt in prompts():
            _answer(chat, conversation.ask(prompt, authors), conversation, output)
    finally:
        chat.close()


def prompts() -> Iterator[str]:
    """The lines of standard input that say something; on a terminal, with arrows for what was
    typed before. Bytes that are no text become replacement characters."""
    if isinstance(sys.stdin, TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    if sys.stdin.isatty():
        import readline  # noqa: F401  what `input` edits the line with

        answers_here = sys.stdout.isatty()  # else a file or a pipe gets them, and nothing else
        while True:
            try:
                line = input("> " if answers_here else "")
            except EOFError:
                if answers_here:
                    print()
                return
            if line.strip():
                yield line.strip()
    for line in sys.stdin:
        if line.strip():
            yield line.strip()


def _wait_until_ready(chat: Chat) -> ChatReady:
    while True:
        for event in chat.drain(POLL_SECONDS):
            if isinstance(event, ChatReady):
                return event
            _raise_failure(event)


def _raise_failure(event: ChatEvent) -> None:
    if isinstance(event, ChatFailed):
        raise UserError(event.error)


def _answer(chat: Chat, request: ChatRequest, conversation: Conversation, output: "Output") -> None:
    chat.ask(request)
    while True:
        try:
            for event in chat.drain(POLL_SECONDS):
                match event:
                    case ChatText():
                        output.stream(event.texts)
                    case ChatAnswered():
                        assert conversation.last
                        conversation.last.answers += event.answers
                        output.finish([each.text for each in event.answers])
                        for note in event.notes:
                            print_note(note)
                        return
                    case _:
                        _raise_failure(event)
        except KeyboardInterrupt:
            chat.stop()


class Output:
    """One answer as it is written; two one after the other, each with its author, once both are
    there. An empty line stands after the answers of a turn."""

    def __init__(self, stream: TextIO, authors: Sequence[Author]) -> None:
        self._stream = stream
        self._authors = authors
        self._printed = ""

    def stream(self, texts: Sequence[str]) -> None:
        """Print what is new of the only answer."""
        if len(self._authors) == 1:
            self._print_to(safe(texts[0]))

    def finish(self, texts: Sequence[str]) -> None:
        """Print the rest."""
        if len(texts) == 1:
            self._print_to(safe(texts[0]))
            self._write("\n\n")
        elif texts:
            for author, text in zip(self._authors, texts, strict=True):
                self._write(f"{NAMES[author]}: {safe(text)}\n")
            self._write("\n")
        self._printed = ""

    def _print_to(self, text: str) -> None:
        pairs = zip(self._printed, text, strict=False)
        differs = (at for at, (old, new) in enumerate(pairs) if old != new)
        self._write(text[next(differs, min(len(self._printed), len(text))) :])
        self._printed = text

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, errors="replace").decode(encoding))
        self._stream.flush()
