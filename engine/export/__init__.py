"""The command `export`: what a run trained, in a new folder for another program.

Each function writes one kind of folder, whole or not at all, and returns command lines that run
what is in it. `keep` says of which step, the best or the last; by default the run's settings do.
`say` is told what a person should know of it.

All raise:
    UserError: the run has no trained weights, or none that are better than the start; they do not
        fit the form that is asked for, or the folder has something in it.
    StorageError: the folder cannot be written; nothing is left of it.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.export import gguf_file, ollama, peft, readme
from engine.model import fuse as fusing
from engine.model.adapter_files import ADAPTER_CONFIG, WEIGHTS, config_text
from engine.model.files import find, read_config, unpacked
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.runs.folder import Run
from engine.runs.run_names import safe_name
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization
from engine.settings.sections.output import Keep
from engine.train.results import (
    TrainedWeights,
    adapted_keys,
    fuse_run,
    new_folder,
    readers,
    tell_of,
    weights_to_leave,
)

__all__ = ["QUANTIZED", "export", "export_gguf", "export_gguf_adapter", "export_peft", "readers"]

Say = Callable[[str], None]
QUANTIZED: tuple[Quantization, ...] = ("4-bit", "8-bit")  # what a fused model can be written in


def _silent(text: str) -> None: ...


def export(
    run: Run,
    to: Path,
    *,
    fuse: bool,
    quantize: Quantization | None = None,
    keep: Keep | None = None,
    say: Say = _silent,
) -> Path:
    """Write a run's adapters, or with `fuse` its model, as mlx-lm reads them; return `to`.

    Args:
        quantize: the fused model in so many bits, but for trained layers that would lose what they
            learned.
    """
    _mention_untrained(run, say)
    if fuse:
        quantization = _quantization(run, quantize) if quantize else None
        return fuse_run(
            run,
            to,
            keep=keep,
            quantization=quantization,
            beside=lambda folder, weights: readme.write(
                folder, run, weights, "The fused model of", readme.mlx_lines(".")
            ),
            say=say,
        )
    weights = weights_to_leave(run, keep)
    settings, _ = run.known_settings()
    config = config_text(settings, adapted_keys(peft.read(weights.file)))
    with new_folder(to) as folder:
        shutil.copyfile(weights.file, folder / WEIGHTS)
        (folder / ADAPTER_CONFIG).write_text(config, encoding="utf-8")
        readme.write(folder, run, weights, "Adapters for", mlx_lines(run, ".", fuse=False))
    tell_of(weights, to, say)
    return to


def mlx_lines(run: Run, folder: str, *, fuse: bool) -> list[str]:
    """Command lines of mlx-lm for what `export` wrote."""
    if fuse:
        return readme.mlx_lines(folder)
    settings, _ = run.known_settings()
    # What a package's file became is in mlx-lm's format, and the run trained on nothing else.
    of_package = unpacked(settings.model)
    found = find(settings.model, "model") == of_package
    model = str(of_package) if found else peft.base_model(settings)
    return readme.mlx_lines(model, folder)


def export_peft(run: Run, to: Path, *, keep: Keep | None = None, say: Say = _silent) -> list[str]:
    """Write a run's adapters as peft loads them beside a model of transformers."""
    settings, weights, config = _adapters(run, "--peft", keep, say)
    arrays = peft.read(weights.file)
    base = peft.base_model(settings)
    with new_folder(to) as folder:
        peft.write(folder, arrays, settings, config)
        code = (
            "```python\nfrom peft import AutoPeftModelForCausalLM\n\n"
            'model = AutoPeftModelForCausalLM.from_pretrained(".")\n```'
        )
        lines = readme.peft_lines(base, ".", run.name)
        readme.write(folder, run, weights, "Adapters for", lines, more=code)
    tell_of(weights, to, say)
    return readme.peft_lines(base, str(to), run.name)


def export_gguf(
    run: Run, to: Path, kind: str, *, keep: Keep | None = None, say: Say = _silent
) -> list[str]:
    """Write a run's model as a GGUF file, with a Modelfile for Ollama."""
    known = gguf_file.check(kind)
    settings, _ = run.known_settings()
    weights = weights_to_leave(run, keep)
    source = locate(settings.model, "model")
    gguf_file.check_layout(read_config(source) or {})
    _mention_untrained(run, say)
    name = safe_name(run.name)
    file = f"{name}-{known}.gguf"
    with new_folder(to) as folder:
        model, tokenizer, _, _ = fusing.trained_model(
            source, weights.file, settings, dequantize=True
        )
        gguf_file.write_model(folder / file, model, tokenizer._tokenizer, known, name)
        text, about = ollama.modelfile(
            file,
            tokenizer,
            system=settings.system_prompt,
            enable_thinking=settings.enable_thinking,
            stops=[tokenizer.decode([each]) for each in sorted(tokenizer.eos_token_ids)],
        )
        (folder / "Modelfile").write_text(text, encoding="utf-8")
        lines = readme.gguf_lines(".", file, name)
        readme.write(folder, run, weights, "A GGUF file of", lines)
    say(f"Modelfile: {about}")
    tell_of(weights, to, say)
    return readme.gguf_lines(str(to), file, name)


def export_gguf_adapter(
    run: Run, to: Path, *, keep: Keep | None = None, say: Say = _silent
) -> list[str]:
    """Write a run's adapters as GGUF, for a GGUF file of the model that was trained."""
    gguf_file.library("--gguf-adapter")
    settings, weights, config = _adapters(run, "--gguf-adapter", keep, say)
    file = f"{safe_name(run.name)}-adapter.gguf"
    with new_folder(to) as folder:
        gguf_file.write_adapters(folder / file, peft.read(weights.file), settings, config)
        lines = readme.gguf_adapter_lines(".", file)
        readme.write(folder, run, weights, "Adapters for", lines)
    tell_of(weights, to, say)
    return readme.gguf_adapter_lines(str(to), file)


def _adapters(
    run: Run, option: str, keep: Keep | None, say: Say
) -> tuple[Settings, TrainedWeights, dict[str, Any]]:
    """A run's settings, its adapters, and config.json of the model that they belong to."""
    settings, _ = run.known_settings()
    weights = weights_to_leave(run, keep)
    if settings.train_type == "full":
        raise UserError(
            f"{option}: the run {run.name!r} trained the weights themselves and has no adapters; "
            "--fuse or --gguf writes its model"
        )
    _mention_untrained(run, say)
    config = read_config(locate(settings.model, "model")) or {}
    if settings.quantization != "none" or "quantization" in config:
        say(
            "the adapters were trained on quantised weights, so on others their answers differ a "
            "little; a fused model has exactly what was trained"
        )
    return settings, weights, config


def _mention_untrained(run: Run, say: Say) -> None:
    if run.state().get("status") == "untrained":
        say(f"{run.name!r} learned nothing: this is the model as it was at the start")


def _quantization(run: Run, quantize: Quantization) -> Quantization:
    """The form to quantise a run's fused model in.

    Raises:
        UserError: there is no such form, or the run's model has one of its own.
    """
    if quantize not in QUANTIZED:
        raise UserError(
            f"--quantize: there is no form {quantize!r}; choose one of {', '.join(QUANTIZED)}"
        )
    settings, _ = run.known_settings()
    if settings.train_type == "full":
        raise UserError(
            f"--quantize is for runs that train adapters, and {run.name!r} trained the weights "
            "themselves: export it with --fuse, and quantise that with `mlx_lm.convert -q`"
        )
    config = read_config(locate(settings.model, "model")) or {}
    bits = (config.get("quantization") or {}).get("bits")
    if bits and bits != QUANTIZATIONS[quantize]["bits"]:
        raise UserError(
            f"--quantize: {settings.model} is quantised already, in {bits} bits; leave --quantize "
            "out, or train on a model in full precision"
        )
    return quantize
