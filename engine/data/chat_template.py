"""A model's chat template, applied within limits of time and size.

Templates come with models and are not trusted: transformers renders them in a sandbox, and here
that happens in a process of its own (`engine.data.template_renderer`), which one that never ends
cannot keep from being ended.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine.data.template_renderer import RENDERER, SECONDS
from engine.errors import UserError

CHARACTERS = 4_000_000  # of a template's own, beside what it is given

Turn = Mapping[str, Any]  # role and content


def apply(
    tokenizer: Any,
    turns: Sequence[Turn],
    *,
    enable_thinking: bool = False,
    tools: Sequence[Mapping[str, Any]] | None = None,
    answered: bool = False,
) -> str | None:
    """The template's text for a conversation, up to where the answer begins; None where there is
    no template, or it refuses the turns.

    Args:
        answered: the turns end with the answer, and nothing begins after it.
        tokenizer: a transformers tokenizer, or mlx-lm's wrapper of one.

    Raises:
        UserError: the template takes too long, or makes too much.
    """
    if _has_own_code(tokenizer):
        return _by_own_code(tokenizer, turns, tools, enable_thinking, answered)
    base = _base(tokenizer)
    try:
        template = base.get_chat_template(None, tools)  # pyright: ignore[reportArgumentType]
    except ValueError:  # there is none, or several of which none is the default
        return None
    values = {
        **base.special_tokens_map,
        "conversations": [list(turns)],
        "tools": tools,
        "chat_template": template,
        "add_generation_prompt": not answered,
        "enable_thinking": enable_thinking,
    }
    size = len(json.dumps([values["conversations"], tools]))
    reply = RENDERER.render(values, CHARACTERS + 2 * size)
    if reply is None:
        raise _refusal(tokenizer, f"did not end within {SECONDS:g} seconds")
    if "too_long" in reply:
        raise _refusal(tokenizer, f"makes more than {CHARACTERS:,} characters")
    return reply.get("text")


def has_one(tokenizer: Any) -> bool:
    """Whether there is a template at all."""
    return bool(getattr(tokenizer, "chat_template", None)) or _has_own_code(tokenizer)


def knows_thinking(tokenizer: Any) -> bool:
    """Whether `enable_thinking` changes what the template makes. Raises as `apply` does."""
    turns = [{"role": "user", "content": "Why?"}]
    off, on = (apply(tokenizer, turns, enable_thinking=mode) for mode in (False, True))
    return off != on


def _base(tokenizer: Any) -> PreTrainedTokenizerBase:
    """The transformers tokenizer, where mlx-lm has wrapped it."""
    return tokenizer if isinstance(tokenizer, PreTrainedTokenizerBase) else tokenizer._tokenizer


def _has_own_code(tokenizer: Any) -> bool:
    """Whether the template is no text but Python, of mlx-lm or of code that the user trusts."""
    if getattr(tokenizer, "_chat_template", None) is not None:
        return True
    own = type(_base(tokenizer)).apply_chat_template
    return own is not PreTrainedTokenizerBase.apply_chat_template


def _by_own_code(
    tokenizer: Any, turns: Sequence[Turn], tools: Any, enable_thinking: bool, answered: bool
) -> str | None:
    try:
        return tokenizer.apply_chat_template(
            list(turns),
            tools=tools,
            tokenize=False,
            add_generation_prompt=not answered,
            enable_thinking=enable_thinking,
        )
    except Exception:  # it raises whatever it likes for a role it does not know
        return None


def _refusal(tokenizer: Any, what: str) -> UserError:
    return UserError(
        f"the chat template of {tokenizer.name_or_path} {what}; choose a model with another one."
    )
