"""What the policy could do before the run, and can do now: suites of questions, scored by rules.

The answers are greedy, so that the same weights give the same ones.
"""

from collections.abc import Callable, Mapping, Sequence

from engine.compute.sampling import Sample, Sampler, sample
from engine.data.chat_messages import Message
from engine.data.prompts import Prompt
from engine.data.rendering import render_prompt
from engine.events import SuiteChange
from engine.model.language_model import LanguageModel
from engine.settings.schema import Settings
from engine.suites.changes import LEAST_RIGHT, lost
from engine.suites.items import GENERAL, STARTER, Item, Suite, load, passes

Scores = dict[str, list[bool]]  # by suite: whether each item is right
Rate = Callable[[Item, str], bool]  # whether an answer to an item is right


def suites_of(settings: Settings) -> list[Suite]:
    """The suites of a run; none where it has no guard.

    Raises:
        UserError: a file of them cannot be used.
    """
    if settings.guard == "off":
        return []
    own = STARTER if settings.model == "starter" else GENERAL
    return load(settings.guard_suites or own, function=settings.guard_function is not None)


class Guard:
    """Measures a run's suites."""

    def __init__(
        self,
        suites: Sequence[Suite],
        settings: Settings,
        *,
        rate: Rate = passes,
        sample: Sample = sample,
        progress: Callable[[int, int], None] = lambda done, total: None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """`rate` says whether an answer to an item is right; `progress` is told the tokens sampled
        so far, of how many at most."""
        self._suites = suites
        self._rate = rate
        self._settings = settings
        self._sample = sample
        self._progress = progress
        self._stop = stop

    def __bool__(self) -> bool:
        """Whether there is anything to measure."""
        return bool(self._suites)

    def measure(self, policy: LanguageModel) -> Scores:
        """The scores of the policy with the weights that it has now.

        Raises:
            Interrupted: asked to stop.
        """
        # One answer serves all items that ask the same.
        asked = dict.fromkeys(
            (item.prompt, item.tokens) for suite in self._suites for item in suite.items
        )
        total, before = sum(tokens for _, tokens in asked), 0
        answers: dict[tuple[str, int], str] = {}
        for tokens in sorted({tokens for _, tokens in asked}):
            prompts = [prompt for prompt, limit in asked if limit == tokens]
            completions = self._sample(
                policy,
                [self._ids(policy, prompt) for prompt in prompts],
                copies=1,
                max_tokens=min(tokens, self._settings.max_seq_length // 2),
                sampler=Sampler(temperature=0),
                seed=0,
                progress=lambda done, before=before: self._progress(before + done, total),
                stop=self._stop,
            )
            texts = (policy.text(completion.ids) for (completion,) in completions)
            answers |= dict(zip(((prompt, tokens) for prompt in prompts), texts, strict=True))
            before += tokens * len(prompts)

        def right(item: Item) -> bool:
            return self._rate(item, answers[item.prompt, item.tokens])

        return {suite.name: [right(item) for item in suite.items] for suite in self._suites}

    def _ids(self, policy: LanguageModel, text: str) -> list[int]:
        system = self._settings.system_prompt
        turns = [*([Message("system", system)] if system else []), Message("user", text)]
        half = self._settings.max_seq_length // 2
        return render_prompt(policy.tokenizer, Prompt(tuple(turns), text), self._settings, half)


def start_in_words(scores: Mapping[str, Sequence[bool]]) -> str:
    """What is right at the start, and what is too little to be lost."""
    right = {name: (sum(items), len(items)) for name, items in scores.items()}
    enough = [f"{n} of {of} {name}" for name, (n, of) in right.items() if n >= LEAST_RIGHT]
    few = [f"{name} {n} of {of}" for name, (n, of) in right.items() if n < LEAST_RIGHT]
    parts = [f"right at the start: {', '.join(enough)}"] if enough else []
    parts += [f"too few right at the start to lose: {', '.join(few)}"] if few else []
    return f"guard: {'; '.join(parts)}"


def changes_in_words(changes: Sequence[SuiteChange]) -> str:
    """What was kept, gained and lost, a suite each."""
    suites = (f"{c.suite} {c.kept} kept, {c.gained} gained, {c.lost} lost" for c in changes)
    return f"guard: {'; '.join(suites)}"


def loss_in_words(changes: Sequence[SuiteChange]) -> str | None:
    """What was lost beyond chance; None where nothing was."""
    losses = [f"{each.lost} of {each.before} {each.suite}" for each in lost(changes)]
    return f"lost {' and '.join(losses)}" if losses else None
