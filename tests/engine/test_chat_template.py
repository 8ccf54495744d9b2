"""Chat templates are programs of strangers: one that never ends, or makes too much, is refused."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from engine.data import chat_template
from engine.data.chat_template import apply, knows_thinking
from engine.data.prompts import Message, Prompt
from engine.data.rendering import render_prompt
from engine.data.template_renderer import RENDERER, TemplateRenderer
from engine.errors import UserError
from engine.settings.schema import Settings
from tests.engine.small_models import TEMPLATE, byte_tokenizer, tokenizer

TURNS = [{"role": "user", "content": "Why?"}]
ROOT = Path(__file__).parents[2]

ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
HOLDS_ALL_THREADS = "{{ 7 ** (7 ** 10) }}"
TOO_MUCH = {
    "characters": "{{ 'a' * 5000000 }}",
    "memory": "{{ 'a' * 100000000000 }}",
    "doubled": "{% set x = namespace(s='ab') %}"
    "{% for i in range(50) %}{% set x.s = x.s ~ x.s %}{% endfor %}",
}


def named(template: str) -> Any:
    found = byte_tokenizer(template)
    found.name_or_path = "some/model"
    return found


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("template", [ENDLESS, HOLDS_ALL_THREADS], ids=["loop", "one operation"])
def test_a_template_that_does_not_end_is_named(template: str) -> None:
    found: list[str] = []

    def ask() -> None:
        try:
            apply(named(template), TURNS)
        except UserError as error:
            found.append(str(error))

    thread = threading.Thread(target=ask)  # the engine's is not the main one either
    thread.start()
    thread.join()
    assert [text.startswith("the chat template of some/model did not end") for text in found] == [
        True
    ]
    assert apply(tokenizer(), TURNS) == "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.parametrize("template", TOO_MUCH.values(), ids=TOO_MUCH)
def test_a_template_that_makes_too_much_is_named(template: str) -> None:
    with pytest.raises(UserError, match=r"the chat template of some/model makes more than"):
        apply(named(template), TURNS)


def test_a_book_in_a_message_is_not_the_templates_fault() -> None:
    book = "x" * 2 * chat_template.CHARACTERS
    text = apply(tokenizer(), [{"role": "user", "content": book}])
    assert text is not None
    assert book in text


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("role", ["policy", "judge"])
def test_policy_and_judge_name_it(role: str) -> None:
    from engine.judges.presentation import render_frame

    prompt = Prompt((Message("user", "Why?"),), "Why?")
    render = {
        "policy": lambda: render_prompt(named(ENDLESS), prompt, Settings(), 100),
        "judge": lambda: render_frame(named(ENDLESS), "Be brief."),
    }
    with pytest.raises(UserError, match="chat template of some/model"):
        render[role]()


@pytest.mark.parametrize("template", ["{{ raise_exception('no') }}", "{% if", "{{ 1 / 0 }}", None])
def test_what_a_template_refuses_is_nothing(template: str | None) -> None:
    assert apply(tokenizer(template), TURNS) is None


def test_every_text_goes_through() -> None:
    content = "\ud800 \x00 é \u2028 \\ \" '"
    text = apply(tokenizer(), [{"role": "user", "content": content}])
    assert text == f"<|im_start|>user\n{content}<|im_end|>\n<|im_start|>assistant\n"


def test_a_process_that_was_ended_is_replaced() -> None:
    wanted = apply(tokenizer(), TURNS)
    process = RENDERER._process
    assert process
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert apply(tokenizer(), TURNS) == wanted


def test_it_may_begin_before_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = TemplateRenderer()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", Mock(side_effect=OSError("no memory")))
        renderer.begin()  # says nothing yet
        with pytest.raises(UserError, match="could not be started a second time"):
            renderer.render({}, 0)
    renderer.begin()
    process = renderer._process
    assert process
    renderer.begin()
    values = {"conversations": [TURNS], "chat_template": "{{ messages[0].content }}"}
    assert renderer.render(values, 100) == {"text": "Why?"}
    assert process is renderer._process
    renderer.close()
    assert process.poll() is not None
    renderer.begin()
    ended = renderer._process
    assert ended
    ended.kill()  # before it was ready
    assert renderer.render(values, 100) == {"text": "Why?"}
    assert renderer._process is not ended
    renderer.close()


def test_who_is_interrupted_leaves_no_reply_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = chat_template.apply(tokenizer(), TURNS)
    process = RENDERER._process
    assert process is not None
    assert process.stdout is not None

    class Interrupted:
        def readline(self) -> bytes:
            raise KeyboardInterrupt

        def close(self) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(process, "stdout", Interrupted())
        with pytest.raises(KeyboardInterrupt):
            chat_template.apply(tokenizer(), [{"role": "user", "content": "another"}])
    assert chat_template.apply(tokenizer(), TURNS) == wanted


def test_the_process_ends_with_its_program() -> None:
    code = (
        "import os, signal\n"
        "from engine.data import chat_template\n"
        "from engine.data.template_renderer import RENDERER\n"
        "from tests.engine.test_chat_template import TURNS, tokenizer\n"
        "chat_template.apply(tokenizer(), TURNS)\n"
        "print(RENDERER._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    child = int(done.stdout)
    for _ in range(600):
        if not psutil.pid_exists(child) or psutil.Process(child).status() == "zombie":
            return
        time.sleep(0.05)
    raise AssertionError(f"process {child} goes on")


def test_whether_a_template_knows_a_thinking_mode() -> None:
    assert not knows_thinking(tokenizer())
    assert knows_thinking(tokenizer(TEMPLATE + "{% if not enable_thinking %}<think>{% endif %}"))
