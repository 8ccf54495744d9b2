"""The benchmarks measure what is said of them, and keep what they have measured."""

import importlib.metadata
import json
from pathlib import Path

from engine.starter import POLICY
from tests.benchmarks import peers
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


def test_figures_are_kept_where_no_peer_is_installed(tmp_path: Path, monkeypatch):
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)
    peers.save(peers.Bench(tmp_path, False, 1, [], {"flat": 1}), tmp_path / "figures.json")
    assert json.loads((tmp_path / "figures.json").read_text())["figures"] == {"flat": 1}
