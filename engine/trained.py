"""A run's policy as it was trained, and as it was before."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from engine.model.adapter_files import start_of
from engine.model.adapters import load_adapter_file
from engine.model.language_model import LanguageModel
from engine.runs.folder import Run
from engine.settings.sections.output import Keep
from engine.train.results import TrainedWeights, trained_weights
from engine.train.roles import load_roles


@dataclass(frozen=True)
class Trained:
    """The trained policy, the reference, and which weights the policy has.

    `window` is how many tokens of context the model's config says it was made for; None where it
    says nothing.
    """

    policy: LanguageModel
    reference: LanguageModel
    weights: TrainedWeights
    window: int | None = None


def load_trained(run: Run, keep: Keep | None = None, longest: int | None = None) -> Trained:
    """Load the weights that a run keeps, of its best or of its last step.

    Args:
        longest: tokens of the longest text that the models are going to read; by default the
            run's `max_seq_length`.

    Raises:
        UserError: it has none yet, or its models are gone.
    """
    settings, _ = run.known_settings()
    weights = trained_weights(run, keep)
    # No judge is wanted here.
    changes = {
        "judge": "human",
        "eval_judge": None,
        "max_seq_length": longest or settings.max_seq_length,
    }
    alone = settings.model_copy(update=changes)
    roles = load_roles(alone, start=start_of(run, settings))
    load_adapter_file(roles.policy.model, weights.file, key=run.name)
    mx.eval(roles.policy.model.parameters())
    return Trained(roles.policy, roles.reference, weights, _window(roles.config))


def _window(config: Mapping[str, Any]) -> int | None:
    """The longest text in tokens by a config.json; None where it says nothing."""
    for part in (config, config.get("text_config") or {}):
        size = part.get("max_position_embeddings")
        if isinstance(size, int) and size > 0:
            return size
    return None
