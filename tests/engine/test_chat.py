"""A chat with real models: what is answered, kept and picked; a run is not touched by it."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import pytest

from engine.chat import (
    Author,
    Chat,
    ChatAnswered,
    ChatEvent,
    ChatFailed,
    ChatHeldOut,
    ChatReady,
    ChatRequest,
    ChatText,
)
from engine.data.pairs import Pair
from engine.events import Report
from engine.message import Message
from engine.model import arrays
from engine.runs import archive, chat_pairs
from engine.runs.folder import ADAPTERS, CHAT, CHAT_PAIRS, METRICS, PAIRS, Run
from engine.runs.labels import labels, select
from engine.runs.relabel import relabel
from engine.session import Session
from engine.settings.schema import Settings
from tests.engine.small_models import (
    TEMPLATE,
    judge_by_alphabet,
    settings,
    write_model,
    write_prompts,
)

TIMEOUT = 120.0  # seconds
BOTH: tuple[Author, ...] = ("policy", "reference")
# Knows no system message.
STRICT = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    + TEMPLATE
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 24)
    return folder


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    judge_by_alphabet(monkeypatch)


def chosen(files: Path, **changes: Any) -> Settings:
    known = {
        "model": str(files / "policy"),
        "judge": str(files / "policy"),
        "data": str(files / "prompts.jsonl"),
        "batch_size": 2,
        "iters": 2,
        "eval_prompts": 4,
        "steps_per_report": 1,
        "max_completion_length": 8,
    }
    return settings(**known | changes)


def train(settings: Settings) -> Run:
    session = Session(settings)
    session.start()
    assert session.join(TIMEOUT)
    assert session.status == "finished", session.error
    assert session.run
    return session.run


@pytest.fixture
def trained(files: Path) -> Run:
    """A finished run."""
    return train(chosen(files, run_name="basil"))


class Listening:
    """A chat that is open, and what it has told."""

    def __init__(self, run: Run) -> None:
        self.chat = Chat(run)
        self.heard: list[ChatEvent] = []
        self.chat.start()

    def __enter__(self) -> "Listening":
        return self

    def __exit__(self, *_: object) -> None:
        self.chat.close()
        assert self.chat.join(TIMEOUT)

    def until(self, kind: type[Any]) -> Any:
        """Wait for the next event of a kind."""
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            for event in self.chat.drain(0.5):
                self.heard.append(event)
                if isinstance(event, kind):
                    return event
                assert not isinstance(event, ChatFailed), event
        raise TimeoutError(self.heard)

    def ask(self, *texts: str, authors: tuple[Author, ...] = ("policy",), **more: Any) -> Any:
        """The answers to a conversation whose turns take turns."""
        roles = ("user", "assistant")
        messages = [Message(roles[at % 2], text) for at, text in enumerate(texts)]
        if system := more.pop("system", ""):
            messages.insert(0, Message("system", system))
        known = {"turn": 1 + len(texts) // 2, "temperature": 0.7} | more
        self.chat.ask(ChatRequest(messages=tuple(messages), authors=authors, **known))
        return self.until(ChatAnswered)


def test_several_turns_are_answered_kept_and_the_same_again(trained: Run) -> None:
    with Listening(trained) as talk:
        ready = talk.until(ChatReady)
        assert (ready.step, ready.window) == (2, 2048)
        first = talk.ask("Why?")
        answer = first.answers[0]
        second = talk.ask("Why?", answer.text, "And then?", authors=BOTH)
        assert [each.author for each in second.answers] == ["policy", "reference"]
        assert first == talk.ask("Why?")
        assert first != talk.ask("Why?", draw=1)
        greedy = talk.ask("Why?", temperature=0.0)
        assert greedy.answers == talk.ask("Why?", temperature=0.0, draw=1).answers
    lines = list(trained.read(CHAT))
    assert [line["prompt"] for line in lines] == ["Why?", "And then?", *["Why?"] * 4]
    assert {line["chat"] for line in lines} == {talk.chat.id}
    assert lines[0]["answers"] == [
        {
            "author": "policy",
            "text": answer.text,
            "tokens": len(answer.ids),
            "finished": answer.finished,
        }
    ]
    assert (trained.path / CHAT).stat().st_mode & 0o777 == 0o600


def test_what_is_written_comes_as_it_grows_and_a_stop_keeps_it(trained: Run) -> None:
    with Listening(trained) as talk:
        talk.until(ChatReady)
        messages = (Message("user", "Tell me all."),)
        # A random model hardly ever ends by itself: it would write 1,024 tokens.
        talk.chat.ask(ChatRequest(1, messages, BOTH, 1.0))
        begun = [talk.until(ChatText), talk.until(ChatText)]
        talk.chat.stop()
        answered = talk.until(ChatAnswered)
        texts = [*begun, *(each for each in talk.heard if isinstance(each, ChatText))]
        for place, answer in enumerate(answered.answers):
            assert not answer.finished
            assert 0 < len(answer.ids) < 1_024
            assert all(answer.text.startswith(each.texts[place]) for each in texts)
        talk.chat.stop()  # comes after the end, and stops nothing
        assert talk.ask("Why?", temperature=0.0).answers[0].ids
    assert [line["stopped"] for line in trained.read(CHAT)] == [True, False]


def test_a_held_out_prompt_is_given_on_request(trained: Run) -> None:
    with Listening(trained) as talk:
        talk.until(ChatReady)
        given = []
        for _ in range(5):
            talk.chat.next_held_out()
            given.append(talk.until(ChatHeldOut).messages)
    assert len({messages[0].content for messages in given}) == 4
    assert given[4] == given[0]


def test_what_has_no_room_is_left_out_and_said(files: Path, trained: Run) -> None:
    """The window of the model is smaller than the conversation."""
    config = json.loads((files / "policy" / "config.json").read_text())
    small = files / "small"
    small.mkdir()
    for file in (files / "policy").iterdir():
        (small / file.name).write_bytes(file.read_bytes())
    (small / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 128}))
    run = train(chosen(files, run_name="small", model=str(small), max_seq_length=128))
    with Listening(run) as talk:
        assert talk.until(ChatReady).window == 128
        assert talk.ask("Why?", temperature=0.0).notes == ()
        full = talk.ask("one " * 8, "two", "three " * 2, "four", "five?", temperature=0.0)
        assert full.notes == (
            "the oldest 2 turns are left out: the model's window of 128 tokens is full",
        )
        long = talk.ask("why " * 100, temperature=0.0)
        assert long.notes == (
            "only the end of the prompt is read: it is longer than the model's window",
        )
        assert all(each.answers[0].ids for each in (full, long))


@pytest.mark.parametrize("takes", [True, False])
def test_a_template_without_system_messages_says_so(files: Path, takes: bool) -> None:
    model = files / f"template-{takes}"
    model.mkdir()
    for file in (files / "policy").iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    if not takes:
        config = json.loads((model / "tokenizer_config.json").read_text())
        config.pop("chat_template", None)
        (model / "tokenizer_config.json").write_text(json.dumps(config))
        (model / "chat_template.jinja").write_text(STRICT)
    run = train(chosen(files, run_name="strict", model=str(model)))
    with Listening(run) as talk:
        talk.until(ChatReady)
        answered = talk.ask("Why?", system="Be brief.")
        assert answered.answers
        told = [note for note in answered.notes if "takes no system message" in note]
        assert bool(told) is not takes
        assert not talk.ask("Why?").notes


def test_what_cannot_be_loaded_is_said_in_a_sentence(files: Path) -> None:
    with Listening(archive.create(chosen(files, run_name="new"))) as talk:
        failed = talk.until(ChatFailed)
    assert "no trained weights yet" in failed.error


# -- picks ----------------------------------------------------------------------------------------

PAIR = Pair(
    pair_id=chat_pairs.pair_id("c0ffee", 1),
    step=2,
    weights_step=2,
    prompt="And then?",
    messages=(
        Message("system", "Be brief."),
        Message("user", "Why?"),
        Message("assistant", "Because."),
        Message("user", "And then?"),
    ),
    prompt_ids=(),
    first="Nothing.",
    second="All of it.",
    first_ids=(1, 2),
    second_ids=(1, 2, 3),
    first_finished=True,
    second_finished=False,
)
EITHER = ("policy", "reference")


def test_a_pick_is_a_label_of_the_run_until_it_is_taken_back(files: Path) -> None:
    run = archive.create(chosen(files, run_name="basil"))
    chat_pairs.label(run, PAIR, "first", EITHER)
    chat_pairs.label(run, replace(PAIR, pair_id="chat-c0ffee-002"), "first", EITHER)
    chat_pairs.label(run, PAIR, "second", EITHER)
    lines = list(run.read(CHAT_PAIRS))
    assert [line["pair_id"] for line in lines] == [PAIR.pair_id, "chat-c0ffee-002"]
    assert lines[0]["chosen"] == [{"role": "assistant", "content": "All of it."}]
    assert (lines[0]["first_by"], lines[0]["second_by"]) == EITHER

    label = labels(run)[0]
    assert (label.choice, label.judge, label.confidence) == ("second", "human", 1.0)
    assert label.preference.prompt == PAIR.messages
    assert label.preference.chosen[0].content == "All of it."

    relabel(run, PAIR.pair_id, "tie")
    assert labels(run)[-1].choice == "tie"  # what was changed comes last
    assert select([run], ties=True).labels[-1].pair_id == PAIR.pair_id
    chat_pairs.take_back(run, PAIR.pair_id)
    assert [each.pair_id for each in labels(run)] == ["chat-c0ffee-002"]


def test_one_may_pick_while_the_run_is_held(files: Path) -> None:
    run = archive.create(chosen(files, run_name="basil"))
    with run.lock():
        chat_pairs.label(run, PAIR, "first", EITHER)
    assert len(labels(run)) == 1


def test_a_resumed_run_knows_nothing_of_chats(files: Path) -> None:
    """It goes on exactly as one that nobody talked with, and keeps what was said and picked."""
    unbroken = train(chosen(files, run_name="unbroken", iters=6, save_every=1))
    broken = Session(chosen(files, run_name="broken", iters=6, save_every=1))
    broken.start()
    while not any(isinstance(event, Report) and event.step >= 2 for event in broken.drain()):
        assert broken.alive, broken.error
        time.sleep(0.002)
    broken.stop()
    assert broken.join(TIMEOUT)
    run = broken.run
    assert run
    with Listening(run) as talk:
        talk.until(ChatReady)
        talk.ask("Why?", authors=BOTH)
    chat_pairs.label(run, PAIR, "first", EITHER)
    kept = [(run.path / file).read_bytes() for file in (CHAT, CHAT_PAIRS)]

    resumed = Session(run.settings(), run)
    resumed.start()
    assert resumed.join(TIMEOUT)
    assert resumed.status == "finished", resumed.error
    assert [(run.path / file).read_bytes() for file in (CHAT, CHAT_PAIRS)] == kept
    assert [*run.read(PAIRS)] == [*unbroken.read(PAIRS)]
    for name in ("loss", "margin", "win_rate"):
        now, then = ([line.get(name) for line in each.read(METRICS)] for each in (run, unbroken))
        assert now == then
    weights = [
        arrays.load(each.path / ADAPTERS / "adapters.safetensors") for each in (run, unbroken)
    ]
    assert all(bool(mx.array_equal(weights[0][name], weights[1][name])) for name in weights[1])
