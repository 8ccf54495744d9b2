"""What was sampled to a prompt, as what is judged."""

from collections.abc import Iterable, Sequence

from engine.data.completion import Answer, Completion
from engine.data.pairs import Pair
from engine.data.prompts import Prompt


def make_pair(
    *,
    step: int,
    index: int,
    weights_step: int,
    prompt: Prompt,
    prompt_ids: Iterable[int],
    completions: Sequence[Completion],
    texts: Sequence[str],
    cut_loses: bool = False,
) -> Pair:
    """The `index`th pair of a step's batch, of two completions or more."""
    first, second, *others = (
        Answer(text, completion.ids, completion.finished)
        for text, completion in zip(texts, completions, strict=True)
    )
    return Pair(
        pair_id=f"{step:07d}-{index:03d}",
        step=step,
        weights_step=weights_step,
        prompt=prompt.text,
        messages=prompt.conversation,
        tools=prompt.tools,
        prompt_ids=tuple(prompt_ids),
        first=first.text,
        second=second.text,
        first_ids=first.ids,
        second_ids=second.ids,
        first_finished=first.finished,
        second_finished=second.finished,
        cut_loses=cut_loses,
        others=tuple(others),
    )
