"""The shapes that benchmarks measure are what is said of them."""

import json
from pathlib import Path

from engine.starter import POLICY
from tests.benchmarks.random_model import MEDIUM, STARTER

ROOT = Path(__file__).parents[2]


def test_the_starter_s_shape_is_the_bundled_policy_s():
    theirs = json.loads((POLICY / "config.json").read_text())
    ours = STARTER.config()
    sizes = [key for key, value in theirs.items() if type(value) is int and "token" not in key]
    sizes.remove("max_position_embeddings")
    assert {key: ours[key] for key in sizes} == {key: theirs[key] for key in sizes}


def test_the_medium_shape_has_as_many_parameters_as_is_told():
    millions = f"{MEDIUM.parameters / 1e6:.0f} million parameters"
    for told in ("README.md", "tests/benchmarks/README.md"):
        assert f"peak memory at {millions}" in (ROOT / told).read_text(encoding="utf-8")
