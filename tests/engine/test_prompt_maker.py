"""`lora-studio prompts make`: prompts written by a model here or on a server."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from engine import prompt_maker
from engine.data.prompts import load_prompts
from engine.prompt_maker import make_prompts, prompts_in, request_for, writer_of
from engine.settings.schema import Settings
from tests.command import Command
from tests.engine.small_models import settings, write_model

ANSWER = """Here are some:
1. How do I bake bread?
2) **Why is my dough flat?**
- "Name three kinds of flour."
how do I  bake BREAD?
## Others
ok
"""
FOUND = ["How do I bake bread?", "Why is my dough flat?", "Name three kinds of flour."]


def test_lines_of_an_answer_are_prompts_without_their_marks() -> None:
    assert list(prompts_in(ANSWER))[:3] == FOUND
    assert list(prompts_in("\x1b[31mWhat is red?")) == ["[31mWhat is red?"]
    assert list(prompts_in("1.\tHow long are 10\u00a0km?")) == ["How long are 10 km?"]
    assert list(prompts_in("می\u200cخواهم بخوانم")) == ["می\u200cخواهم بخوانم"]
    assert list(prompts_in("x" * 3000)) == []
    assert list(prompts_in("3.5 is what share of 7?")) == ["3.5 is what share of 7?"]


def test_duplicates_are_dropped_and_the_writer_is_asked_again() -> None:
    requests: list[str] = []

    def write(text: str, number: int) -> str:
        requests.append(text)
        return ANSWER + f"What is bread number {number}?"

    notes: list[str] = []
    made = list(make_prompts(write, "bread", 5, known=["WHY is my dough flat?"], say=notes.append))
    assert made == [FOUND[0], FOUND[2], *(f"What is bread number {n}?" for n in (1, 2, 3))]
    assert "about: bread" in requests[0]
    assert FOUND[0] not in requests[0]
    assert FOUND[0] in requests[1]  # so that it does not come again
    assert "said the same as another" in notes[0]


def test_a_writer_that_has_no_more_is_not_asked_for_ever() -> None:
    count = 0

    def write(text: str, number: int) -> str:
        nonlocal count
        count += 1
        return ANSWER

    notes: list[str] = []
    assert list(make_prompts(write, "bread", 100, say=notes.append)) == FOUND
    assert count == 1 + prompt_maker.IN_VAIN
    assert "the model had no more after 3" in notes[-1]


def test_examples_set_the_manner() -> None:
    assert "In the manner of these:\nYo!" in request_for("x", 3, ["Yo!"], [])


def test_a_model_here_writes_by_its_chance(tmp_path: Path) -> None:
    write_model(tmp_path / "model", scale=1.0)
    chosen = settings(quantization="none", max_seq_length=2048)
    write = writer_of(str(tmp_path / "model"), chosen)
    first, second = write("Write.", 1), write("Write.", 2)
    assert first
    assert first != second
    again = writer_of(str(tmp_path / "model"), chosen)
    assert again("Write.", 1) == first


# -- a server, and the command ---------------------------------------------------------------------


class Server:
    """Gives answers in turn; a number is a status in place of one."""

    def __init__(self) -> None:
        self.answers: list[str | int] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.models = ["only"]
        self.address = ""


@pytest.fixture
def server() -> Iterator[Server]:
    owner = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": name} for name in owner.models]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            owner.bodies.append(body)
            owner.keys.append(self.headers.get("Authorization"))
            answer = owner.answers.pop(0) if owner.answers else ANSWER
            status, text = (answer, "") if isinstance(answer, int) else (200, answer)
            self.reply(status, {"choices": [{"message": {"content": text}}]})

        def reply(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True).start()
        owner.address = f"http://127.0.0.1:{httpd.server_address[1]}/v1"
        try:
            yield owner
        finally:
            httpd.shutdown()


@pytest.fixture
def make(server: Server, tmp_path: Path, command: Command) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str, to: str = "made.jsonl") -> tuple[int, str, str]:
        words = ("--about", "bread", "--model", server.address, "--to", str(tmp_path / to))
        return command("prompts", "make", *words, *arguments)

    return run


def test_a_server_writes_a_file_that_trains(
    server: Server, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", "a-key-of-mine")
    server.answers = [503, ANSWER]
    status, out, err = make("--count", "3", "--key-env", "A_KEY")
    assert (status, out.startswith("3 prompts written to ")) == (0, True), err
    assert server.keys[-1] == "Bearer a-key-of-mine"
    assert server.bodies[-1]["model"] == "only"
    found = load_prompts(Settings(data=str(tmp_path / "made.jsonl"), judge="human"))
    assert {prompt.text for prompt in found.train} == set(FOUND)
    # More of them, and none twice, below a last line that an editor has left without its end.
    made = tmp_path / "made.jsonl"
    made.write_bytes(made.read_bytes().rstrip())
    server.answers = [ANSWER, "Is rye better than wheat?\n"]
    status, out, err = make("--count", "1", "--add")
    assert (status, out.startswith("1 prompt written to ")) == (0, True), err
    assert "\r" not in err  # which is no terminal
    lines = made.read_text().splitlines()
    assert [json.loads(line)["prompt"] for line in lines] == [*FOUND, "Is rye better than wheat?"]


def test_bytes_that_are_no_text_are_none_to_the_writer(
    server: Server, make: Callable[..., Any]
) -> None:
    server.answers = [ANSWER]
    status, _, err = make("--about", "caf\udce9", "--count", "1")
    assert status == 0, err
    assert "caf\ufffd" in str(server.bodies[-1]["messages"])


def test_what_cannot_be_is_one_sentence(
    server: Server, make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_maker, "TRIES", 1)
    (tmp_path / "there.jsonl").write_text('{"prompt": "x"}\n')
    monkeypatch.delenv("NO_KEY", raising=False)
    for arguments, to, status, words in (
        ((), "made.txt", 2, "name it made.jsonl"),
        ((), "there.jsonl", 2, "say --add"),
        ((), "no/made.jsonl", 2, "there is no folder"),
        (("--key-env", "NO_KEY"), "made.jsonl", 2, "variable NO_KEY is not set"),
        (("--like", str(tmp_path / "none.jsonl")), "made.jsonl", 2, "there is no file"),
        (("--model", "http://127.0.0.1:9/v1"), "made.jsonl", 1, "cannot be reached"),
        (("--model", "http://127.0.0.300/v1"), "made.jsonl", 1, "cannot be reached"),
    ):
        done = make(*arguments, to=to)
        assert (done[0], words in done[2]) == (status, True), done
        assert len(done[2].splitlines()) == 1
    monkeypatch.setenv("ALL_PROXY", "ftp://127.0.0.1:1")
    assert "--model: a proxy or the certificates" in make()[2]
    monkeypatch.delenv("ALL_PROXY")
    server.models = ["a", "b"]
    assert "--server-model: say which one writes" in make()[2]
    server.models = ["only"]
    server.answers.append(401)
    assert "answers with status 401" in make()[2]
    server.answers = ["no\n"] * 10
    assert "it wrote nothing that can be used" in make()[2]
    assert not (tmp_path / "made.jsonl").exists()


def test_a_fault_is_told_of_what_has_it(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> prompt_maker.Writer:
        def write(text: str, number: int) -> str:
            raise OSError(5, "Input/output error", "weights")

        return write

    monkeypatch.setattr(prompt_maker, "writer_of", broken)
    status, _, err = make()
    assert (status, "--model" in err, "--to" in err) == (1, True, False), err
    assert not (tmp_path / "made.jsonl").exists()


def test_notes_that_nobody_reads_end_nothing(
    make: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gone:
        def write(self, text: str) -> int:
            raise BrokenPipeError

        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Gone())
    status, out, _ = make("--count", "2")
    assert (status, out.startswith("2 prompts written to ")) == (0, True)
    assert len((tmp_path / "made.jsonl").read_text().splitlines()) == 2
