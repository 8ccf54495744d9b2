"""An export from the list of runs: asked for, watched, and there."""

import json
from pathlib import Path

import pytest

from tests.end_to_end import program
from tests.end_to_end.pseudo_terminal import PseudoTerminal, studio

F5, CLEAR_LINE, DOWN = "\x1b[15~", "\x15", "\x1b[B"


def export(terminal: PseudoTerminal, choice: str, what: str, to: Path) -> None:
    """Go through the dialog and wait for its end; `choice` are the keys that choose."""
    terminal.press("E")
    terminal.wait_for("export small")
    terminal.press(choice + "\r")
    terminal.wait_for("into which folder?")
    terminal.press(CLEAR_LINE + str(to) + "\r")
    terminal.wait_for(f"exporting the {what} ·")
    text = terminal.wait_for("exported to")
    assert str(to) in "".join(text.split())  # it may be broken over two lines


@pytest.mark.slow
def test_adapters_and_the_fused_model(studio_home: Path, tmp_path: Path) -> None:
    # Nothing is evaluated, so there is no best step to choose beside the last.
    small = program.words(**program.SMALL | {"steps_per_eval": -1})
    trained = program.run("train", "starter", "--run-name", "small", *small, home=studio_home)
    assert trained.returncode == 0, trained.stderr
    run, adapters, model = studio_home / "runs" / "small", tmp_path / "a", tmp_path / "new" / "m"
    with studio(studio_home) as terminal:
        terminal.wait_for("▶ start")
        terminal.press(F5)
        terminal.wait_for("finished")
        export(terminal, "", "adapters", adapters)
        export(terminal, DOWN, "model", model)

        terminal.press("E")
        terminal.wait_for("export small")
        terminal.press("\r" + CLEAR_LINE + str(adapters) + "\r")
        terminal.wait_for("there is something in it already")

    kept = (run / "adapters" / "adapters.safetensors").read_bytes()
    assert (adapters / "adapters.safetensors").read_bytes() == kept
    config = json.loads((adapters / "adapter_config.json").read_text())
    assert config["fine_tune_type"] == "lora"
    assert (model / "model.safetensors").stat().st_size > len(kept)
    assert json.loads((model / "config.json").read_text())["model_type"] == "qwen3"
    assert (model / "tokenizer.json").exists()
    left = {path.name for folder in (tmp_path, model.parent) for path in folder.iterdir()}
    assert not any(name.endswith(".tmp") for name in left)
