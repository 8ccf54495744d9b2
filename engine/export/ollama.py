"""A Modelfile, by which `ollama create` takes a GGUF file with its template.

Ollama's templates are Go's, and a model's are Jinja's. One that is known is written only where the
model's own template makes exactly the same text of some conversations; else TEMPLATE is left out,
and Ollama looks for one of its own that fits the template in the GGUF file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from engine.data import chat_template

QUOTES = '"""'
Turn = tuple[str, str]  # role and content


@dataclass(frozen=True)
class _Family:
    """A form of chat: what stands around a turn, and what stands before an answer."""

    name: str
    before: str  # of a turn; {role} in it
    after: str

    def text(self, turns: Sequence[Turn]) -> str:
        """A conversation up to where the answer begins."""
        so_far = "".join(f"{self.before.format(role=r)}{text}{self.after}" for r, text in turns)
        return so_far + self.before.format(role="assistant")

    def go(self, ending: str) -> str:
        """The same as a template of Ollama's, with what the model's own adds at the end."""
        turn = f"{self.before.format(role='{{ .Role }}')}{{{{ .Content }}}}{self.after}"
        answer = self.before.format(role="assistant")
        return f"{{{{- range .Messages }}}}{turn}{{{{ end }}}}{answer}{ending}"


FAMILIES = (
    _Family("ChatML", "<|im_start|>{role}\n", "<|im_end|>\n"),
    _Family("Llama 3", "<|start_header_id|>{role}<|end_header_id|>\n\n", "<|eot_id|>"),
)
SYSTEM, FIRST, ANSWER, SECOND = "Be as brief as a stone.", "Who are you?", "A stone.", "And now?"


def modelfile(
    file: str, tokenizer: Any, *, system: str | None, enable_thinking: bool, stops: Sequence[str]
) -> tuple[str, str]:
    """The Modelfile beside a GGUF file, and a sentence on its template.

    Args:
        tokenizer: the model's, with its chat template.
        system: a system message for every conversation; by default the template's own.
        stops: the texts that end an answer.
    """
    family, own_system, ending = _known(tokenizer, enable_thinking)
    lines = [f"FROM ./{file}"]
    if family is not None:
        lines.append(f"TEMPLATE {QUOTES}{family.go(ending)}{QUOTES}")
        about = f"its template is written out ({family.name})"
    elif chat_template.has_one(tokenizer):
        about = "TEMPLATE is left out: Ollama looks for one that fits the template in the GGUF file"
    else:
        about = "TEMPLATE is left out: the model has no chat template"
    message = system or own_system
    if message and QUOTES in message:
        about += "; SYSTEM is left out: three quotes in it would end it"
    elif message:
        lines.append(f"SYSTEM {QUOTES}{message}{QUOTES}")
    lines += [f'PARAMETER stop "{stop}"' for stop in stops if '"' not in stop]
    return "\n".join(lines) + "\n", about


def _known(tokenizer: Any, enable_thinking: bool) -> tuple[_Family | None, str | None, str]:
    """The family of a model's chat template, the system message that it adds by itself, and what
    it adds before an answer."""

    def text_of(*turns: Turn) -> str:
        listed = [{"role": role, "content": text} for role, text in turns]
        text = chat_template.apply(tokenizer, listed, enable_thinking=enable_thinking) or ""
        return text.removeprefix(tokenizer.bos_token or "") if adds_bos else text

    ids = list(tokenizer.encode("a"))
    adds_bos = tokenizer.bos_token_id is not None and ids[:1] == [tokenizer.bos_token_id]
    talk = (("system", SYSTEM), ("user", FIRST), ("assistant", ANSWER), ("user", SECOND))
    whole = text_of(*talk)
    for family in FAMILIES:
        if not whole.startswith(family.text(talk)):
            continue
        ending = whole.removeprefix(family.text(talk))
        if "{{" in ending or QUOTES in ending:
            break
        alone, bare = text_of(("user", FIRST)), family.text([("user", FIRST)]) + ending
        before, after = family.before.format(role="system"), family.after + bare
        if alone == bare:
            return family, None, ending
        if alone.startswith(before) and alone.endswith(after):
            system = alone[len(before) : -len(after)]
            if text_of(("system", system), ("user", FIRST)) == alone:
                return family, system, ending
    return None, None, ""
