"""A run's policy as it was trained, and as it was before."""

from dataclasses import dataclass

import mlx.core as mx

from engine.model.adapter_files import start_of
from engine.model.adapters import load_adapter_file
from engine.model.language_model import LanguageModel
from engine.runs.folder import Run
from engine.settings.schema import Keep
from engine.train.results import TrainedWeights, trained_weights
from engine.train.roles import load_roles


@dataclass(frozen=True)
class Trained:
    """The trained policy, the reference, and which weights the policy has."""

    policy: LanguageModel
    reference: LanguageModel
    weights: TrainedWeights


def load_trained(run: Run, keep: Keep | None = None) -> Trained:
    """Load the weights that a run keeps, of its best or of its last step.

    Raises:
        UserError: it has none yet, or its models are gone.
    """
    settings, _ = run.known_settings()
    weights = trained_weights(run, keep)
    # No judge is wanted here.
    alone = settings.model_copy(update={"judge": "human"})
    roles = load_roles(alone, start=start_of(run, settings))
    load_adapter_file(roles.policy.model, weights.file, key=run.name)
    mx.eval(roles.policy.model.parameters())
    return Trained(roles.policy, roles.reference, weights)
