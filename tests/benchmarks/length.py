"""Does length stay in hand? `python -m tests.benchmarks.length`.

The starter with a judge that pays for length alone, as some models do, and what each setting that
holds length makes of it: tokens of an answer at the end, against those at the start; the share of
answers that end by themselves; and the share of sentences that are whole, by the programmatic
truth. A few minutes. `--limit 24` cuts answers, for which `missing_eos` is.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from engine.machine.blas import load_fast_blas
from tests.benchmarks.starter_quality import run, show, truth_of

JUDGE = """
def longer(prompt, first, second):
    more = len(first.split()) - len(second.split())
    return 1 / (1 + 2.718281828 ** (-more / 4))
"""
WAYS: dict[str, dict[str, object]] = {
    "nothing": {},
    "length_normalize, beta 10": {"length_normalize": True, "beta": 10.0},
    "length_normalize, beta 40": {"length_normalize": True, "beta": 40.0},
    "length_penalty 10": {"length_penalty": 10.0},
    "length_penalty 20": {"length_penalty": 20.0},
    "missing_eos: lose": {"missing_eos": "lose"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Settings that hold length.")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--limit", type=int, metavar="TOKENS", help="of an answer")
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    options = parser.parse_args()
    load_fast_blas()
    with tempfile.TemporaryDirectory() as home:
        os.environ["LORA_STUDIO_HOME"] = home
        judge = Path(home, "judge.py")
        judge.write_text(JUDGE)
        rows = [of_way(name, judge, options.steps, options.limit) for name in options.only]
    show("a judge that pays for length", rows)


def of_way(name: str, judge: Path, steps: int, limit: int | None) -> dict[str, object]:
    """A line for one way."""
    changes = {
        "judge": f"{judge}:longer",
        "iters": steps,
        "steps_per_eval": -1,
        "keep": "last",
        "guard": "off",
        "collapse_watch": "off",  # it would stop where answers no longer end
    }
    changes |= {"max_completion_length": limit} if limit else {}
    folder = run(changes | WAYS[name], "starter", lambda session: session.join(0.2))
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[0], lines[-1]
    row: dict[str, object] = {
        "rubric": name,
        "tokens at first": first["completion_tokens"],
        "tokens at last": last["completion_tokens"],
        "end by themselves": last["eos_rate"],
        "kl": last["kl"],
        "well-formed": truth_of(folder, keep="last")["well-formed"],
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
