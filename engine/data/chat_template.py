"""A model's chat template, applied within limits of time and size.

Templates come with models and are not trusted: transformers renders them in a sandbox, and here
that happens in a process of its own (`engine.data.template_process`), which one that never ends
cannot keep from being ended.
"""

import atexit
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from engine.errors import UserError

SECONDS = 5.0  # for one conversation
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
    reply = _PROCESS.render(values, CHARACTERS + 2 * size)
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


class _Process:
    """The process that renders, started when it is first needed and again after it was ended.
    Thread-safe."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def render(self, values: Mapping[str, Any], limit: int) -> dict[str, Any] | None:
        """The reply to a request; None where the template did not end in time."""
        request = {"values": values, "limit": limit, "seconds": SECONDS}
        line = json.dumps(request).encode() + b"\n"
        with self._lock:
            for _ in range(2):  # one that was ended from outside since the last time is replaced
                process = self._process = self._process or self._start()
                try:
                    _pipe(process.stdin).write(line)
                    _pipe(process.stdin).flush()
                    reply = _pipe(process.stdout).readline()
                except BrokenPipeError:
                    reply = b""
                except BaseException:  # the thread was interrupted: nobody else may get its reply
                    self._end(seconds=0)
                    raise
                if reply.endswith(b"\n"):
                    return json.loads(reply)
                if self._end() == -signal.SIGALRM:
                    return None
            return {"too_long": True}  # ended by the system, as where memory ran out

    def _start(self) -> subprocess.Popen[bytes]:
        code = (
            f"import sys; sys.path[:] = {sys.path!r}; from engine.data import template_process as t"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", f"{code}; t.main()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # a key that ends this program leaves it time to save
        )
        if not _pipe(process.stdout).readline():
            self._process = process
            self._end()
            raise UserError(
                "chat templates cannot be rendered: Python could not be started a second time."
            )
        return process

    def _end(self, seconds: float = 1.0) -> int:
        """End the process, which has so long to do it by itself; its status, 0 if there is none."""
        process, self._process = self._process, None
        if process is None:
            return 0
        with contextlib.suppress(BrokenPipeError):
            _pipe(process.stdin).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(seconds)
        process.kill()
        _pipe(process.stdout).close()
        return process.wait()

    def close(self) -> None:
        """End the process."""
        with self._lock:
            self._end(seconds=0)


def _pipe(pipe: Any) -> Any:
    """A pipe that was asked for, and so is there."""
    assert pipe is not None
    return pipe


_PROCESS = _Process()
atexit.register(_PROCESS.close)
