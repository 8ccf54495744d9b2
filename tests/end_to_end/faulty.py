"""The real program with one fault in it: `python -m tests.end_to_end.faulty ARGUMENTS FAULT`."""

import os
import sys
from pathlib import Path
from typing import Any

LOADS = "loads"  # a file in the home, once loading has come to what never ends


def main(fault: str) -> None:
    """Break the program's loading, its second step or its screen, and start it."""
    if fault == "screen":
        from tui.run.screen import RunScreen

        RunScreen.run_changed = broken_screen
    elif fault == "loading":
        from engine.data import prompts

        prompts.load_prompts = endless
    else:
        from engine.train.online_dpo import Trainer

        original = Trainer._learn

        def broken(self: Trainer, judged: Any) -> None:
            original(self, judged)
            if self.state.step == 2:
                os.abort() if fault == "abort" else exec("raise RuntimeError('no more')")

        Trainer._learn = broken
    from tui import main as cli

    cli.main()


def endless(settings: Any) -> Any:
    """As a chat template of somebody else's may be."""
    Path(os.environ["LORA_STUDIO_HOME"], LOADS).touch()
    while True:
        pass


def broken_screen(self: Any, events: Any) -> None:
    view = self.studio.view
    if view and view.step >= 2:
        raise RuntimeError("a screen that breaks")


if __name__ == "__main__":
    main(sys.argv.pop())
