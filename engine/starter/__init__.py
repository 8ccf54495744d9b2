"""The starter: a bundled policy, judge and prompts for a first run and for tests.

`python -m engine.starter.build` makes everything under `data/` from nothing.
"""

from pathlib import Path

from engine.starter.rubrics import KNOWN

DATA = Path(__file__).parent / "data"
POLICY = DATA / "policy"
JUDGE = DATA / "judge"
PROMPTS = DATA / "prompts"

RUBRICS = {rubric.meaning: rubric.text for rubric in KNOWN}

DESCRIPTION = (
    "A small bundled world for a first run and for tests: a policy of 1.5 million parameters that "
    "answers simple questions about capitals, colours, animals, opposites, days, tips and things, "
    "and a judge that knows this world and a fixed list of rubrics "
    f"({', '.join(RUBRICS)}), and nothing else."
)
