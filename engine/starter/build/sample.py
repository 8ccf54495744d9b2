"""What a policy of the starter answers, sampled as the engine samples."""

from collections.abc import Sequence

from engine.compute.sampling import Sampler, sample
from engine.model.language_model import LanguageModel
from engine.starter.build.pretrain import prompt_ids

MAX_TOKENS = 48


def sample_texts(
    policy: LanguageModel,
    prompts: Sequence[str],
    temperature: float,
    seed: int,
    system: str = "",
) -> list[str]:
    """One completion a prompt, as text without the end of turn."""
    completions = sample(
        policy,
        [prompt_ids(policy.tokenizer, prompt, system) for prompt in prompts],
        copies=1,
        max_tokens=MAX_TOKENS,
        sampler=Sampler(temperature),
        seed=seed,
    )
    return [policy.text(one.ids) for (one,) in completions]
