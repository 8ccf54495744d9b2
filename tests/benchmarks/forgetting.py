"""Does the guard see a run that unlearns, and keep quiet where nothing is lost?

    python -m tests.benchmarks.forgetting [--preset starter] [--iters N] [--seeds 0 1 2]

Trains twice a seed: the preset as it is, and with a function as judge that pays for agreement to
everything, whatever was asked, with the same sentences each time. Prints what the guard found.
The watch over the text is left out: it would stop the second before its end.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

from engine.events import Event, Guarded
from engine.notebook import train
from engine.settings.files import preset
from engine.settings.schema import Settings
from engine.suites.changes import lost

# The starter's world knows no yes; "Obviously!" is what it says in its place.
JUDGE = '''
def agree(prompt, completion):
    """The more a text is agreement, and the less it says beside that, the better."""
    text = completion.lower()
    agreement = sum(text.count(word) for word in ("yes", "obviously", "even a fool knows that"))
    return 3.0 * min(agreement, 3) - 0.2 * len(text.split())
'''


def main() -> None:
    """Print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--preset", default="starter")
    parser.add_argument("--iters", type=int)
    parser.add_argument("--rate", type=float, default=1.0, help="times the preset's, to forget")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--only", choices=("as it is", "forgetting"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "agreement.py"
        file.write_text(JUDGE, encoding="utf-8")
        base = preset(options.preset)
        quiet: dict[str, Any] = {"steps_per_eval": -1, "test": False, "collapse_watch": "warn"}
        if options.iters:
            quiet["iters"] = options.iters
        forgetting = {
            "judge": f"{file}:agree",
            "learning_rate": base.learning_rate * options.rate,
        }
        for seed in options.seeds:
            for name, changes in (("as it is", {}), ("forgetting", forgetting)):
                if options.only in (None, name):
                    values = base.model_dump() | quiet | changes | {"seed": seed}
                    report(name, seed, Settings.model_validate(values))


def report(name: str, seed: int, settings: Settings) -> None:
    """Train, and print what the guard found."""
    found: list[Guarded] = []

    def keep(event: Event) -> None:
        if isinstance(event, Guarded):
            found.append(event)

    train(settings, keep)
    suites = found[-1].suites
    told = ", ".join(
        f"{each.suite} {each.kept} kept {each.gained} gained {each.lost} lost "
        f"(p {'–' if each.p is None else f'{each.p:.2g}'})"
        for each in suites
    )
    said = "said so" if lost(suites) else "quiet"
    print(
        f"{settings.model} {name}, seed {seed}, {settings.iters} steps: {said}: {told}", flush=True
    )


if __name__ == "__main__":
    main()
