"""A message of a chat, and who may speak in one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

# A template writes a role as it is, control tokens that it spells included, so no other is let
# through.
Role = Literal["system", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat.

    `tool_calls` are those of an assistant, as OpenAI's format has them, with their arguments as a
    mapping; `name` and `tool_call_id` say what a tool's message answers.

    Raises:
        ValueError: `role` is none of `ROLES`.
    """

    role: str
    content: str
    tool_calls: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)
    name: str = ""
    tool_call_id: str = ""

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise ValueError(f"no role of a chat: {self.role!r}")
