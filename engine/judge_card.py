"""A judge asked about pairs before anything is trained: of a file, or sampled from the policy."""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from engine.control import Control
from engine.data.chat_messages import messages_of, transcript
from engine.data.files import Row, Unusable, rows
from engine.data.pairs import Verdict
from engine.data.prompts import Prompt, load_prompts
from engine.data.template_renderer import RENDERER
from engine.errors import UserError
from engine.events import Event
from engine.judges import PairJudge
from engine.judges.card import Card, CardPair, Label, card
from engine.machine.blas import import_mlx
from engine.model import adapter_files
from engine.settings.checks import check
from engine.settings.judge_roles import training_judge
from engine.settings.schema import Settings

if TYPE_CHECKING:
    from engine.train.journal import Journal
    from engine.train.roles import JudgeModel, Roles

COUNT = 32  # pairs that are sampled
AT_ONCE = 8  # pairs that are judged before any of them is told of
PAIRS = "--pairs"


@dataclass(frozen=True, slots=True)
class TrialPair:
    """A pair to try a judge on, with a person's label where there is one."""

    prompt: Prompt
    first: str
    second: str
    label: Label | None = None
    tokens: tuple[int, int] | None = None  # of a sampled pair
    cut: tuple[bool, bool] = (False, False)  # at the most tokens that a completion may have

    def undecidable(self) -> Verdict | None:
        """The verdict on a pair that a run would not put before its judge, else None."""
        if not self.first.strip() and not self.second.strip():
            return Verdict("empty")
        return Verdict("identical") if self.first == self.second else None


@dataclass(frozen=True, slots=True)
class TriedPair:
    """A pair and what the judge says of it."""

    pair: TrialPair
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Trial:
    """All pairs, the card of those that the judge was asked about, and its seconds for each."""

    judge: str
    pairs: tuple[TriedPair, ...]
    card: Card
    seconds_per_pair: float | None


def read_pairs(file: Path) -> list[TrialPair]:
    """The pairs of a file whose rows have prompt, first, second and perhaps winner: first, second
    or tie.

    Raises:
        UserError: it cannot be read, or a row is no such pair; names the file and the line.
    """
    try:
        pairs = [_pair_of(row, place) for place, row in rows(file)]
    except UserError as error:
        text = str(error).removeprefix("data: ")
        raise UserError(text if text.startswith(PAIRS) else f"{PAIRS}: {text}") from error
    if not pairs:
        raise UserError(f"{PAIRS}: {file} holds no pairs; a line is {_EXAMPLE}")
    return pairs


_EXAMPLE = '{"prompt": ..., "first": ..., "second": ..., "winner": "first"}'


def _pair_of(row: Row | Unusable, place: str) -> TrialPair:
    def refuse(reason: str) -> UserError:
        return UserError(f"{PAIRS}: {place}: {reason}; a line is {_EXAMPLE}")

    if isinstance(row, Unusable):
        raise refuse(f"it {row}")
    for key in ("prompt", "first", "second"):
        if row.get(key) is None:
            raise refuse(f"it has no {key}")
    first, second, label = row["first"], row["second"], row.get("winner") or None
    for key, text in (("first", first), ("second", second)):
        if not isinstance(text, str):
            raise refuse(f"{key} has to be text")
    if label not in (None, *get_args(Label)):
        raise refuse("winner has to be first, second or tie, or to be left out")
    try:
        prompt = _prompt_of(row["prompt"])
    except Unusable as reason:
        raise refuse(f"prompt: it {reason}") from reason
    return TrialPair(prompt, first, second, label)


def _prompt_of(value: Any) -> Prompt:
    messages = tuple(messages_of(value))
    if not messages or messages[-1].role in ("system", "assistant"):
        raise Unusable("asks nothing")
    turns = [message for message in messages if message.role != "system"]
    return Prompt(messages, turns[0].content if len(turns) == 1 else transcript(turns))


def try_judge(
    settings: Settings,
    pairs: Sequence[TrialPair] | None = None,
    *,
    count: int = COUNT,
    on_event: Callable[[Event], None] = lambda event: None,
    on_pairs: Callable[[Sequence[TrialPair]], None] = lambda pairs: None,
    on_pair: Callable[[TriedPair], None] = lambda pair: None,
) -> Trial:
    """Ask the judge of the settings, in the calling thread, about `pairs`, or else about `count`
    that the policy writes as a run would begin: two completions for each of the run's prompts.

    Args:
        on_event: told how far it is and what a person should know, as a run tells it.
        on_pairs: given all pairs before the first is judged.
        on_pair: given each pair once it is judged.

    Raises:
        UserError: settings, models, data or judge do not serve, or a person is to judge.
        JudgeAway: a judge on a server was away for longer than `judge_away_minutes`.
    """
    settings, changes = adapter_files.settled(settings)
    check(settings)
    alone = training_judge(settings)
    if alone is None:
        raise UserError(
            "judge: a person judges here, who needs no card; name a model, a server or a function"
        )
    settings = alone
    RENDERER.begin()
    import_mlx()
    from engine.machine.device import configure_mlx
    from engine.train.judging import judge_of, judges_elsewhere

    configure_mlx()
    control = Control()
    with contextlib.ExitStack() as opened:
        journal = opened.enter_context(_journal(settings, on_event, control))
        for change in changes:
            journal.log("info", change)
        elsewhere, _ = opened.enter_context(judges_elsewhere(settings, None, journal, control))
        journal.progress("loading")
        if pairs is None:
            prompts = load_prompts(settings)
            for note in prompts.notes:
                journal.log("info", note)
            roles = _load(settings, journal)
            pairs = _sampled(settings, prompts.train, roles, count, journal)
            models = roles.judges
        else:
            models = _judges(settings, journal)
        on_pairs(pairs)
        judge = judge_of(settings, models, elsewhere, journal, control)
        return _tried(judge, pairs, settings.seed, on_pair)


@contextlib.contextmanager
def _journal(
    settings: Settings, on_event: Callable[[Event], None], control: Control
) -> "Iterator[Journal]":
    """What loading and judging tell their news to, as in a run, with a folder that is removed."""
    from engine.runs import archive
    from engine.train.journal import Journal

    with tempfile.TemporaryDirectory(prefix="lora-studio-") as folder:
        run = archive.create(settings.model_copy(update={"output_root": folder}))
        yield Journal(run, on_event, control)


def _judges(settings: Settings, journal: "Journal") -> "dict[str, JudgeModel]":
    """The judges on this machine alone."""
    from engine.train.roles import load_judges

    judges, notes = load_judges(settings, lambda name: journal.log("info", f"downloading {name}"))
    for note in notes:
        journal.log("info", note)
    return judges


def _load(settings: Settings, journal: "Journal") -> "Roles":
    """The models of a run that begins."""
    import mlx.core as mx

    from engine.compute.sampling import stream_seed
    from engine.plan.memory import plan, refusal
    from engine.train.roles import load_roles

    if reason := refusal(plan(settings), settings):
        raise UserError(reason)
    mx.random.seed(stream_seed(settings.seed, "adapters"))
    start = adapter_files.start_of(journal.run, settings)
    roles = load_roles(settings, lambda name: journal.log("info", f"downloading {name}"), start)
    for note in roles.notes:
        journal.log("info", note)
    return roles


def _sampled(
    settings: Settings, train: Sequence[Prompt], roles: "Roles", count: int, journal: "Journal"
) -> list[TrialPair]:
    """So many pairs of the policy, in batches of a run's size; those of the first batch are what
    the run itself begins with."""
    from engine.compute.sampling import Sampler, sample, stream_seed
    from engine.data.order import PromptOrder
    from engine.data.rendering import render_prompt
    from engine.train.writing import WritingTeller

    order, policy = PromptOrder(len(train), settings.seed), roles.policy
    pairs: list[TrialPair] = []
    batches = -(-count // settings.batch_size)
    most, before = 2 * batches * settings.batch_size * settings.max_completion_length, 0
    journal.progress("sampling", 0, most, "tokens")
    for step in range(1, batches + 1):
        prompts = [train[index] for index in order.next(settings.batch_size)]
        completions = sample(
            policy,
            [
                render_prompt(policy.tokenizer, prompt, settings, settings.prompt_tokens)
                for prompt in prompts
            ],
            copies=2,
            max_tokens=settings.max_completion_length,
            sampler=Sampler.of(settings),
            seed=stream_seed(settings.seed, "sampling", step),
            progress=lambda tokens, before=before: journal.progress(
                "sampling", before + tokens, most, "tokens"
            ),
            written=WritingTeller(policy, prompts, journal),
        )
        pairs += [
            TrialPair(
                prompt,
                policy.text(first.ids),
                policy.text(second.ids),
                tokens=(len(first.ids), len(second.ids)),
                cut=(not first.finished, not second.finished),
            )
            for prompt, (first, second) in zip(prompts, completions, strict=True)
        ]
        # Completions are seldom as long as they may be.
        before = step * (most // batches)
    return pairs[:count]


def _tried(
    judge: PairJudge,
    pairs: Sequence[TrialPair],
    seed: int,
    on_pair: Callable[[TriedPair], None],
) -> Trial:
    """The pairs, judged a few at a time."""
    tried: list[TriedPair] = []
    asked: list[CardPair] = []
    seconds = 0.0
    for at in range(0, len(pairs), AT_ONCE):
        some = [(pair, pair.undecidable()) for pair in pairs[at : at + AT_ONCE]]
        names = [f"pair {at + index}" for index, (_, known) in enumerate(some, 1) if known is None]
        texts = [(pair.prompt, pair.first, pair.second) for pair, known in some if known is None]
        start = time.monotonic()
        verdicts = iter(judge.judge(texts, names) if texts else ())
        seconds += time.monotonic() - start
        for pair, known in some:
            tried.append(TriedPair(pair, known or next(verdicts)))
            if known is None:
                lengths = len(pair.first), len(pair.second)
                asked.append(CardPair(tried[-1].verdict, lengths, pair.label))
            on_pair(tried[-1])
    each = seconds / len(asked) if asked else None
    return Trial(judge.name, tuple(tried), card(asked, seed=seed), each)
