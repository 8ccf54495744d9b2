"""A run's policy as it was trained, and as it was before."""

from dataclasses import dataclass

import mlx.core as mx

from engine.model.adapter_files import start_of
from engine.model.adapters import load_adapter_file
from engine.model.language_model import LanguageModel
from engine.runs.folder import Run
from engine.train.results import trained_weights
from engine.train.roles import load_roles


@dataclass(frozen=True)
class Trained:
    """The trained policy, the reference, and the step after which the weights were saved."""

    policy: LanguageModel
    reference: LanguageModel
    step: int


def load_trained(run: Run) -> Trained:
    """Load the newest weights that a run has: its latest checkpoint's, else its adapters.

    Raises:
        UserError: it has none yet, or its models are gone.
    """
    settings, _ = run.known_settings()
    file = trained_weights(run)
    # No judge is wanted here.
    alone = settings.model_copy(update={"judge": "human", "eval_judge": None})
    roles = load_roles(alone, start=start_of(run, settings))
    load_adapter_file(roles.policy.model, file, key=run.name)
    mx.eval(roles.policy.model.parameters())
    folder = file.parent.name
    step = int(folder) if folder.isdecimal() else int(run.state().get("step") or 0)
    return Trained(roles.policy, roles.reference, step)
