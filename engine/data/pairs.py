"""A pair of sampled completions, and the verdict on it."""

import contextlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.data.chat_messages import Message, as_mapping, message_of, spoken, transcript
from engine.data.files import Unusable
from engine.data.prompts import Prompt
from engine.events import Choice

if TYPE_CHECKING:
    from engine.data.completion import Completion

Layout = Literal["text", "messages", "messages and tools"]
DECIDED: tuple[Choice, ...] = ("first", "second")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt, as ids for scoring and as text for whoever judges.

    `prompt` is the prompt as plain text; `messages` are its turns where they are more than one
    of a user, else none.

    `step` is the training step that consumes the pair, counted from 1; `weights_step` is the
    step after which the weights were that wrote it.
    """

    pair_id: str
    step: int
    weights_step: int
    prompt: str
    prompt_ids: tuple[int, ...]
    first: str
    second: str
    first_ids: tuple[int, ...]
    second_ids: tuple[int, ...]
    first_finished: bool
    second_finished: bool
    messages: tuple[Message, ...] = ()
    tools: tuple[Mapping[str, Any], ...] = ()

    @property
    def asked(self) -> Prompt:
        """The prompt as it was in the data."""
        return Prompt(self.messages or (Message("user", self.prompt),), self.prompt, self.tools)

    def undecidable(self) -> Choice | None:
        """The verdict on a pair that nobody needs to look at, else None."""
        if not self.first.strip() and not self.second.strip():
            return "empty"
        if self.first_ids == self.second_ids or self.first == self.second:
            return "identical"
        return None

    def to_json(self) -> dict[str, Any]:
        """The pair as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Pair":
        """The pair that `to_json` wrote."""
        ids = ("prompt_ids", "first_ids", "second_ids")
        known = {**data, **{key: tuple(data[key]) for key in ids}}
        known["messages"] = tuple(message_of(each, "user") for each in data.get("messages", ()))
        known["tools"] = tuple(data.get("tools", ()))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of a pair.

    `q` is the judge's probability that the first completion is better, averaged over both
    orders; `q_orders` the same with the first completion shown first, and shown second.
    Both are None where there is no probability. `cut` says that the judge read only a part.
    """

    choice: Choice
    q: float | None = None
    q_orders: tuple[float, float] | None = None
    note: str = ""
    flagged: bool = False
    cut: bool = False

    @property
    def decided(self) -> bool:
        """Whether there is a winner, so that the pair may be trained on."""
        return self.choice in DECIDED


def make_pair(
    *,
    step: int,
    index: int,
    weights_step: int,
    prompt: Prompt,
    prompt_ids: Iterable[int],
    completions: "tuple[Completion, Completion]",
    texts: tuple[str, str],
) -> Pair:
    """The `index`th pair of a step's batch."""
    first, second = completions
    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=weights_step,
        prompt=prompt.text,
        messages=prompt.conversation,
        tools=prompt.tools,
        prompt_ids=tuple(prompt_ids),
        first=texts[0],
        second=texts[1],
        first_ids=first.ids,
        second_ids=second.ids,
        first_finished=first.finished,
        second_finished=second.finished,
    )


def layout_for(prompts: Sequence[Prompt]) -> Layout:
    """The layout in which the pairs of a run over some prompts are written: text where each is
    one turn of a user. All lines of a file have one, as its readers want it."""
    if any(prompt.tools for prompt in prompts):
        return "messages and tools"
    return "messages" if any(prompt.conversation for prompt in prompts) else "text"


def record(pair: Pair, verdict: Verdict, judge: str, layout: Layout = "text") -> dict[str, Any]:
    """A line of the run's files for a judged pair.

    A decided pair has `chosen` and `rejected`, so that its line is training data as it is; any
    other has `first` and `second`. These and `prompt` are texts, or else lists of messages, as
    trainers read a chat. Tools, and the arguments of calls, are JSON, since they have no columns
    in common.
    """
    swapped = verdict.choice == "second"
    sides: tuple[str, str] = ("chosen", "rejected") if verdict.decided else ("first", "second")
    order = ("second", "first") if swapped else ("first", "second")
    chat = layout != "text"
    turns = [_stored(message) for message in pair.asked.messages]
    line: dict[str, Any] = {"prompt": turns if chat else pair.prompt}
    for side, which in zip(sides, order, strict=True):
        answer = getattr(pair, which)
        line[side] = [{"role": "assistant", "content": answer}] if chat else answer
    if layout == "messages and tools":
        line["tools"] = json.dumps(pair.tools, ensure_ascii=False)
    line |= {
        "pair_id": pair.pair_id,
        "step": pair.step,
        "weights_step": pair.weights_step,
        "choice": verdict.choice,
        "judge": judge,
        "q": verdict.q,
        "q_orders": list(verdict.q_orders) if verdict.q_orders else None,
        "note": verdict.note,
        "flagged": verdict.flagged,
        "cut": verdict.cut,
    }
    for side, which in zip(sides, order, strict=True):
        line[f"{side}_tokens"] = len(getattr(pair, f"{which}_ids"))
        line[f"{side}_finished"] = getattr(pair, f"{which}_finished")
    return line


def _stored(message: Message) -> dict[str, Any]:
    """A message as a line of `record` has it."""
    turn = as_mapping(message)
    for call in (calls := [{**call} for call in turn.get("tool_calls", ())]):
        arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        call["function"] = {**call["function"], "arguments": arguments}
    return {**turn, "tool_calls": calls} if calls else turn


def verdict_of(q_orders: tuple[float, float], margin: float) -> Verdict:
    """The verdict on a pair from the probability that its first completion is better, with it
    shown first and shown second.

    Orders that disagree, or a mean closer to 0.5 than `margin`, make a tie; a value that is no
    probability makes the pair invalid.
    """
    shown_first, shown_second = q_orders
    if not all(math.isfinite(q) and 0 <= q <= 1 for q in q_orders):
        return Verdict("invalid")
    q = (shown_first + shown_second) / 2
    if (shown_first - 0.5) * (shown_second - 0.5) <= 0 or abs(q - 0.5) < margin:
        return Verdict("tie", q, q_orders)
    return Verdict("first" if q > 0.5 else "second", q, q_orders)


def verdict_from(line: Mapping[str, Any]) -> Verdict:
    """The verdict that a line of `record` holds."""
    orders = line.get("q_orders")
    return Verdict(
        choice=line["choice"],
        q=line.get("q"),
        q_orders=(orders[0], orders[1]) if orders else None,
        note=line.get("note") or "",
        flagged=bool(line.get("flagged")),
        cut=bool(line.get("cut")),
    )


def text_of(value: Any) -> str:
    """What a line of `record` has under prompt, chosen, rejected, first or second, as plain text
    in either layout."""
    if not isinstance(value, list):
        return "" if value is None else str(value)
    messages = messages_of(value)
    return spoken(messages[0]) if len(messages) == 1 else transcript(messages)


def messages_of(value: Any) -> tuple[Message, ...]:
    """The messages of a list of them in a line of `record`; what is none is left out."""
    found: list[Message] = []
    for each in value if isinstance(value, list) else []:
        with contextlib.suppress(Unusable):
            found.append(message_of(each, "user"))
    return tuple(found)
