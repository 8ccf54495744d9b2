"""The models of a run: loaded, each set of weights once, and joined with what computes them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from engine.compute import choose
from engine.errors import UserError
from engine.model import config as model_config
from engine.model.adapters import trainable_and_frozen, view
from engine.model.files import is_reward_model
from engine.model.language_model import LanguageModel
from engine.model.load import load
from engine.model.locate import locate
from engine.model.reward import RewardModel, check_reward_model, load_reward_model
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization

JudgeModel = LanguageModel | RewardModel


@dataclass(frozen=True)
class Roles:
    """The models of a run. Roles that name the same weights share them."""

    policy: LanguageModel
    reference: LanguageModel
    judges: dict[str, JudgeModel]  # those on this machine, by their names
    config: dict[str, Any]
    notes: list[str]  # what a person should know of how they were loaded


def load_roles(
    settings: Settings,
    on_download: Callable[[str], None] = lambda name: None,
    start: Path | None = None,
) -> Roles:
    """Load policy, reference and judge, each set of weights once.

    The adapters' random start is drawn from MLX's global state: seed it before.

    Args:
        start: a file of adapters, or of trained layers, that the policy starts from.

    Raises:
        UserError: as `locate`, `load`, `add_adapters` and `load_adapter_file`.
    """
    loading = _Loading(settings, on_download)
    notes = loading.notes
    rewards = _reward_folders(settings, on_download)
    model, tokenizer, config = loading.role(settings.model, "model", settings.quantization)
    notes += [
        f"model: mlx-lm computes it unlike transformers: {difference}"
        for difference in model_config.differences(config, settings.max_seq_length)
    ]
    reference, left_out = trainable_and_frozen(model, settings, start)
    if left_out:
        notes.append(
            f"no adapters on {', '.join(left_out)}: the model does not run with them there"
        )
    if settings.reference_model_path:
        reference, reference_tokenizer, _ = loading.role(
            settings.reference_model_path, "reference_model_path", settings.quantization
        )
        if len(reference_tokenizer) != len(tokenizer):
            raise UserError(
                "reference_model_path: its vocabulary differs from the policy's, so it cannot "
                "score the same tokens."
            )
        reference.freeze()
    judges = _judges(settings, loading, rewards)
    mx.eval(model.parameters())
    policy, frozen = choose.policy_and_reference(
        model, reference, tokenizer, settings.max_seq_length
    )
    return Roles(policy=policy, reference=frozen, judges=judges, config=config, notes=notes)


def load_judges(
    settings: Settings, on_download: Callable[[str], None] = lambda name: None
) -> tuple[dict[str, JudgeModel], list[str]]:
    """Load the judges on this machine alone, by their names; and what a person should know of it.

    Raises:
        UserError: as `locate` and `load`.
    """
    loading = _Loading(settings, on_download)
    judges = _judges(settings, loading, _reward_folders(settings, on_download))
    return judges, loading.notes


class _Loading:
    """Loads models, each set of weights once."""

    def __init__(self, settings: Settings, on_download: Callable[[str], None]) -> None:
        self.notes: list[str] = []
        self._trust_remote_code = settings.trust_remote_code
        self._on_download = on_download
        self._loaded: dict[tuple[Path, Quantization], tuple[nn.Module, Any, dict[str, Any]]] = {}

    def role(
        self, name: str, key: str, quantization: Quantization
    ) -> tuple[nn.Module, Any, dict[str, Any]]:
        """A model for the role that the setting `key` names, its tokenizer and its config."""
        folder = locate(name, key, self._on_download).resolve()
        if (folder, quantization) not in self._loaded:
            if not self._trust_remote_code and (code := sorted(folder.glob("*.py"))):
                self.notes.append(
                    f"{key}: {code[0].name} in {folder} is not run: trust_remote_code is off"
                )
            self._loaded[folder, quantization] = load(
                folder,
                key,
                quantization=quantization,
                trust_remote_code=self._trust_remote_code,
            )
        model, tokenizer, config = self._loaded[folder, quantization]
        return view(model), tokenizer, config


def _judges(
    settings: Settings, loading: _Loading, rewards: Mapping[str, Path]
) -> dict[str, JudgeModel]:
    quantization = settings.judge_quantization or settings.quantization
    judges: dict[str, JudgeModel] = {}
    for name, key in settings.judge_names("model").items():
        if name in rewards:
            judges[name] = load_reward_model(rewards[name], key, quantization=quantization)
            loading.notes.append(f"{key}: {name} is a reward model, which reads no rubric")
            continue
        model, tokenizer, _ = loading.role(name, key, quantization)
        # A judge reads the rubric, the whole prompt and two answers, however long.
        judges[name] = choose.alone(model, tokenizer)
    return judges


def _reward_folders(settings: Settings, on_download: Callable[[str], None]) -> dict[str, Path]:
    """The folders of those judges that are reward models, by their names."""
    names = settings.judge_names("model").items()
    folders = ((name, _reward_folder(name, key, on_download)) for name, key in names)
    return {name: folder for name, folder in folders if folder}


def _reward_folder(name: str, key: str, on_download: Callable[[str], None]) -> Path | None:
    """The folder of a judge where it is a reward model.

    Raises:
        UserError: as `locate` and `check_reward_model`.
    """
    folder = locate(name, key, on_download).resolve()
    if not is_reward_model(folder):
        return None
    check_reward_model(folder, key)
    return folder
