"""A pair of sampled completions, and the verdict on it."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from engine.data.chat_messages import Message, as_mapping, message_of
from engine.data.completion import Answer
from engine.data.prompts import Prompt
from engine.events import Choice

Layout = Literal["text", "messages", "messages and tools"]
Ties = Literal["margin", "orders"]
DECIDED: tuple[Choice, ...] = ("first", "second")
_OF_MORE = re.compile(r"(\d+-\d+)-\d\d((?:~\d+)?)")
NO_STEP = -1
CUT = "missing_eos"  # what a pair was judged by whose one answer was cut off, and lost for it


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions of one prompt, as ids for scoring and as text for whoever judges.

    `prompt` is the prompt as plain text; `messages` are its turns where they are more than one
    of a user, else none.

    `step` is the training step that consumes the pair, counted from 1; `weights_step` is the
    step after which the weights were that wrote it, `NO_STEP` where no policy of the run did.

    `others` are further answers to the prompt, where more than two were sampled: then two of all
    have yet to be chosen, which are a pair with no others (`between`).
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
    cut_loses: bool = False  # an answer that was cut off cannot win
    others: tuple[Answer, ...] = ()

    @property
    def answers(self) -> tuple[Answer, ...]:
        """All answers to the prompt, in the order in which they were sampled."""
        return (
            Answer(self.first, self.first_ids, self.first_finished),
            Answer(self.second, self.second_ids, self.second_finished),
            *self.others,
        )

    def between(self, one: int, other: int) -> "Pair":
        """The pair of two of the answers, by their places; its id tells which, the earlier one
        first. Where there are two only, that is this pair."""
        if not self.others:
            return self
        places = sorted((one, other))
        pair_id = f"{self.pair_id}-{places[0]}{places[1]}"
        return self.with_answers(pair_id, *(self.answers[place] for place in places))

    def with_answers(self, pair_id: str, first: Answer, second: Answer, *others: Answer) -> "Pair":
        """The same prompt with other answers."""
        return replace(
            self,
            pair_id=pair_id,
            first=first.text,
            second=second.text,
            first_ids=first.ids,
            second_ids=second.ids,
            first_finished=first.finished,
            second_finished=second.finished,
            others=others,
        )

    @property
    def full_prompt(self) -> Prompt:
        """The prompt as it was in the data."""
        return Prompt(self.messages or (Message("user", self.prompt),), self.prompt, self.tools)

    def automatic_choice(self) -> Choice | None:
        """The verdict on a pair that nobody needs to look at, else None.

        Where a cut answer loses, one that ended by itself wins over it, but for an empty one.
        """
        if not self.first.strip() and not self.second.strip():
            return "empty"
        if self.first_ids == self.second_ids or self.first == self.second:
            return "identical"
        if not self.cut_loses or (self.first_finished and self.second_finished):
            return None
        if self.first_finished and self.first.strip():
            return "first"
        return "second" if self.second_finished and self.second.strip() else "tie"

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
        known["others"] = tuple(
            Answer(each["text"], tuple(each["ids"]), each["finished"])
            for each in data.get("others", ())
        )
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of a pair.

    `q` is the judge's probability that the first completion is better, by the mean of both
    orders' log-odds; `q_orders` the same with the first completion shown first, and shown second.
    Both are None where there is no probability. `cut` says that the judge read only a part.
    `votes` are the q of each of several judges, or by each of several criteria. `rationale`
    is what a judge that writes its answer has written, in either order; of several judges one after
    the other.

    Where a model and a person judge: `judge` is whose verdict it is, `model` what the model said
    of a pair that was put before the person, `audit` that it was sure of it.
    """

    choice: Choice
    q: float | None = None
    q_orders: tuple[float, float] | None = None
    note: str = ""
    flagged: bool = False
    cut: bool = False
    votes: tuple[float, ...] = ()
    rationale: tuple[str, ...] = ()
    judge: str = ""  # empty: the run's
    model: "Verdict | None" = None
    audit: bool = False

    @property
    def decided(self) -> bool:
        """Whether there is a winner, so that the pair may be trained on."""
        return self.choice in DECIDED

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Verdict":
        """The verdict that `dataclasses.asdict` took apart, perhaps by way of JSON."""
        orders, model = data["q_orders"], data["model"]
        return cls(
            **{
                **data,
                "q_orders": orders and (orders[0], orders[1]),
                "votes": tuple(data["votes"]),
                "rationale": tuple(data["rationale"]),
                "model": model and cls.from_json(model),
            }
        )

    @property
    def any_rationale(self) -> tuple[str, ...]:
        """What was written of the pair, be it by the judge or by the model beside a person."""
        return self.rationale or (self.model.rationale if self.model else ())


@dataclass(frozen=True, slots=True)
class JudgedPair:
    """A pair and the verdict on it.

    Where it was chosen out of more than two answers to a prompt, `sampled` are all of these, and
    `judgements` what a judge that compares said of any two of them.
    """

    pair: Pair
    verdict: Verdict
    sampled: tuple[Answer, ...] | None = None  # None: its own two; (): another pair tells of them
    judgements: tuple[Verdict, ...] = ()

    @property
    def decided(self) -> bool:
        """Whether there is a winner, so that the pair may be trained on."""
        return self.verdict.decided

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The sampled answers that it tells of: its own two, or all to its prompt."""
        return self.pair.answers if self.sampled is None else self.sampled

    @property
    def group(self) -> Pair | None:
        """What was sampled of its prompt, to be judged once more; None where another pair tells of
        it."""
        if not self.sampled:
            return self.pair if self.sampled is None else None
        return self.pair.with_answers(prompt_id(self.pair.pair_id), *self.sampled)

    @property
    def readings(self) -> tuple[Verdict, ...]:
        """What a judge that is no person said to come to the verdict: once, or of any two of the
        answers."""
        return self.judgements or (self.verdict.model or self.verdict,)

    @property
    def offline(self) -> bool:
        """Whether it was there before the run, and no policy of the run wrote it."""
        return self.pair.weights_step == NO_STEP

    @property
    def by_cut(self) -> bool:
        """Whether it was decided without a judge, since one of its answers was cut off."""
        return self.decided and self.pair.automatic_choice() in DECIDED

    @property
    def chosen_ids(self) -> tuple[int, ...]:
        """Token ids of the winner of a decided pair."""
        return self.pair.second_ids if self.verdict.choice == "second" else self.pair.first_ids

    @property
    def rejected_ids(self) -> tuple[int, ...]:
        """Token ids of the loser of a decided pair."""
        return self.pair.first_ids if self.verdict.choice == "second" else self.pair.second_ids

    @property
    def confidence(self) -> float:
        """The judge's probability that the chosen completion is better; 1 without one."""
        q = self.verdict.q
        if q is None:
            return 1.0
        return 1 - q if self.verdict.choice == "second" else q

    def to_record(self, judge: str, layout: Layout = "text") -> dict[str, Any]:
        """Its line in the run's files.

        A decided pair has `chosen` and `rejected`, so that its line is training data as it is; any
        other has `first` and `second`. These and `prompt` are texts, or else lists of messages, as
        trainers read a chat. Tools, and the arguments of calls, are JSON, since they have no
        columns in common.
        """
        pair, verdict = self.pair, self.verdict
        judge = CUT if self.by_cut else judge
        first, second = completion_fields(verdict.choice)
        completions = {
            first: (pair.first, len(pair.first_ids), pair.first_finished),
            second: (pair.second, len(pair.second_ids), pair.second_finished),
        }
        fields = sorted(completions)  # chosen before rejected, first before second
        chat = layout != "text"
        turns = [message_record(message) for message in pair.full_prompt.messages]
        line: dict[str, Any] = {"prompt": turns if chat else pair.prompt}
        for field in fields:
            text, _, _ = completions[field]
            line[field] = [{"role": "assistant", "content": text}] if chat else text
        if layout == "messages and tools":
            line["tools"] = json.dumps(pair.tools, ensure_ascii=False)
        line |= {
            "pair_id": pair.pair_id,
            "step": pair.step,
            "weights_step": pair.weights_step,
            "choice": verdict.choice,
            "judge": verdict.judge or judge,
            "q": verdict.q,
            "q_orders": list(verdict.q_orders) if verdict.q_orders else None,
            "note": verdict.note,
            "flagged": verdict.flagged,
            "cut": verdict.cut,
        }
        if verdict.votes:
            line["votes"] = list(verdict.votes)
        if verdict.rationale:
            line["rationale"] = list(verdict.rationale)
        if model := verdict.model:
            line["model"] = {
                "judge": model.judge,
                "choice": model.choice,
                "q": model.q,
                "q_orders": list(model.q_orders) if model.q_orders else None,
                "audit": model.audit,
            }
            if model.rationale:
                line["model"]["rationale"] = list(model.rationale)
        for field in fields:
            _, line[f"{field}_tokens"], line[f"{field}_finished"] = completions[field]
        return line


def prompt_id(pair_id: str) -> str:
    """The id that all pairs of a prompt in a step share, of the id of one of them: that id itself
    where two answers were sampled (`Pair.between`)."""
    match = _OF_MORE.fullmatch(pair_id)
    return match[1] + match[2] if match else pair_id


def completion_fields(choice: str) -> tuple[str, str]:
    """What a record calls the first and the second completion of a pair with this verdict."""
    if choice == "first":
        return "chosen", "rejected"
    return ("rejected", "chosen") if choice == "second" else ("first", "second")


def layout_for(prompts: Sequence[Prompt]) -> Layout:
    """The layout in which the pairs of a run over some prompts are written: text where each is
    one turn of a user. All lines of a file have one, as its readers want it."""
    if any(prompt.tools for prompt in prompts):
        return "messages and tools"
    return "messages" if any(prompt.conversation for prompt in prompts) else "text"


def message_record(message: Message) -> dict[str, Any]:
    """A message as a line of `to_record` has it."""
    turn = as_mapping(message)
    for call in (calls := [{**call} for call in turn.get("tool_calls", ())]):
        arguments = json.dumps(call["function"]["arguments"], ensure_ascii=False)
        call["function"] = {**call["function"], "arguments": arguments}
    return {**turn, "tool_calls": calls} if calls else turn


def verdict_of(l1: float, l2: float, *, margin: float, ties: Ties) -> Verdict:
    """The verdict on a pair whose two orders a judge has read.

    q = sigmoid((l1 - l2) / 2): what a place adds to both log-odds cancels.

    Args:
        l1: log-odds that the answer shown first is better, with the pair as it is; NaN for no
            reading, infinite for an answer that has no probability, such as one in writing.
        l2: the same with the two completions swapped, so that positive is for the second one.
        margin: a q closer to 0.5 than this is a tie.
        ties: whether orders that pick different completions make a tie too.
    """
    if math.isnan(l1) or math.isnan(l2):
        return Verdict("invalid")
    q = 0.5 if l1 == l2 else _sigmoid(l1 / 2 - l2 / 2)
    q_orders = (_sigmoid(l1), _sigmoid(-l2))
    disagree = l1 == 0 or l2 == 0 or (l1 > 0) == (l2 > 0)
    if q == 0.5 or abs(q - 0.5) < margin or (ties == "orders" and disagree):
        return Verdict("tie", q, q_orders)
    return Verdict("first" if q > 0.5 else "second", q, q_orders)


def _sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow at either end."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
