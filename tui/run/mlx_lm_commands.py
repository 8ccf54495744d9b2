"""Command lines by which mlx-lm talks with what a run trained."""

import shlex

from engine.data_folder import at_home
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS
from engine.model.files import unpacked
from engine.runs.folder import ADAPTERS, FUSED, Run
from engine.settings.schema import Settings
from engine.starter import POLICY


def mlx_lm_commands(run: Run, settings: Settings, prompt: str) -> list[str]:
    """A line for `mlx_lm.generate` and one for `mlx_lm.chat`: with the fused model where there is
    one, else with the model and its adapters; none where the run has left neither."""
    fused, adapters = run.path / FUSED, run.path / ADAPTERS
    if (fused / "config.json").is_file():
        model = ["--model", str(fused)]
    elif (adapters / WEIGHTS).is_file() and (adapters / ADAPTER_CONFIG).is_file():
        model = ["--model", _model(settings.model), "--adapter-path", str(adapters)]
    else:
        return []
    code = ["--trust-remote-code"] if settings.trust_remote_code else []
    return [
        shlex.join(["mlx_lm.generate", *model, *code, "--prompt", prompt]),
        shlex.join(["mlx_lm.chat", *model, *code]),
    ]


def _model(name: str) -> str:
    """A model as another program finds it: by its folder, or by its id on the hub."""
    if name == "starter":
        return str(POLICY)
    path = at_home(name)
    if path.is_dir():
        return str(path.absolute())
    folder = unpacked(name)
    return str(folder) if folder.is_dir() else name
