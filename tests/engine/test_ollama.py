"""The Modelfile beside a GGUF file: its template makes the text that the model was trained on."""

import re
from typing import Any

import pytest

from engine.data import chat_template
from engine.export.ollama import modelfile
from engine.export.readme import gguf_lines
from tests.engine.small_models import TEMPLATE, tokenizer

CHATML = TEMPLATE
DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are a stone.<|im_end|>\n"
    "{% endif %}" + CHATML
)
THOUGHTLESS = CHATML.replace("assistant\n", "assistant\n<think>\n\n</think>\n\n")
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
OTHER = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[assistant]"


def of(template: str | None, **changes: Any) -> tuple[str, str]:
    given: dict[str, Any] = {"system": None, "enable_thinking": False, "stops": ["<|im_end|>"]}
    return modelfile("model.gguf", tokenizer(template), **given | changes)


def made_by_ollama(file: str, turns: list[dict[str, str]]) -> str:
    """What Ollama's template makes of a conversation; only what these templates use of Go's."""
    (template,) = re.findall(r'^TEMPLATE """(.*?)"""', file, re.DOTALL | re.MULTILINE)
    start, turn, rest = re.split(r"\{\{- range .Messages \}\}|\{\{ end \}\}", template)
    systems = re.findall(r'^SYSTEM """(.*?)"""', file, re.DOTALL | re.MULTILINE)
    if systems and turns[0]["role"] != "system":
        turns = [{"role": "system", "content": systems[0]}, *turns]
    said = [
        turn.replace("{{ .Role }}", each["role"]).replace("{{ .Content }}", each["content"])
        for each in turns
    ]
    text = start + "".join(said) + rest
    assert "{{" not in text
    return text


TALKS = [
    [("user", "Why?")],
    [("system", "Be kind."), ("user", "Why?")],
    [("user", "Why?"), ("assistant", "So."), ("user", "Is it?")],
]


@pytest.mark.parametrize("template", [CHATML, DEFAULT_SYSTEM, THOUGHTLESS, LLAMA3])
def test_the_template_makes_what_the_models_own_makes(template: str) -> None:
    file, about = of(template)
    assert "is written out" in about
    for talk in TALKS:
        turns = [{"role": role, "content": text} for role, text in talk]
        own = chat_template.apply(tokenizer(template), turns)
        assert made_by_ollama(file, turns) == own


def test_the_file_names_the_model_the_system_message_and_what_ends_an_answer() -> None:
    file, _ = of(CHATML, system='Say "no".', stops=["<|im_end|>", "<|endoftext|>"])
    lines = file.splitlines()
    assert lines[0] == "FROM ./model.gguf"
    assert 'SYSTEM """Say "no"."""' in lines
    assert lines[-2:] == ['PARAMETER stop "<|im_end|>"', 'PARAMETER stop "<|endoftext|>"']
    assert "SYSTEM" not in of(CHATML)[0]
    assert 'SYSTEM """You are a stone."""' in of(DEFAULT_SYSTEM)[0]
    assert 'SYSTEM """Be a tree."""' in of(DEFAULT_SYSTEM, system="Be a tree.")[0]


def test_the_mode_of_thinking_is_that_of_the_training() -> None:
    template = (
        CHATML.removesuffix("{% endif %}")
        + "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
    )
    assert "</think>" in of(template)[0]
    assert "</think>" not in of(template, enable_thinking=True)[0]


@pytest.mark.parametrize("template", [OTHER, None])
def test_a_template_that_is_not_known_is_left_out(template: str | None) -> None:
    file, about = of(template)
    assert "TEMPLATE" not in file
    assert about.startswith("TEMPLATE is left out")
    assert ("no chat template" in about) == (template is None)


def test_a_system_message_that_would_end_its_own_quotes_is_left_out() -> None:
    file, about = of(CHATML, system='""" PARAMETER num_ctx 1')
    assert "SYSTEM is left out" in about
    assert "SYSTEM" not in file
    assert "num_ctx" not in file


@pytest.mark.parametrize(
    ("run", "name"),
    [("first_Run.2", "first_run.2"), ("sweep-01-beta=0.1", "sweep-01-beta-0.1"), ("海", "model")],
)
def test_the_command_names_the_model_as_ollama_can(run: str, name: str) -> None:
    assert f"ollama create {name} -f ./Modelfile && ollama run {name}" in gguf_lines(
        ".", "model.gguf", run
    )
