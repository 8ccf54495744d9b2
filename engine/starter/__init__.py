"""The starter: a bundled policy, judge and prompts for a first run and for tests.

`python -m engine.starter.build` makes everything under `data/` from scratch.
"""

from pathlib import Path

DATA = Path(__file__).parent / "data"
POLICY = DATA / "policy"
JUDGE = DATA / "judge"
PROMPTS = DATA / "prompts"
