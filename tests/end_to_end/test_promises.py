"""The tests that the promises name are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_each_promise_names_a_test_that_is_there() -> None:
    text = (ROOT / "tui" / "guide" / "promises.md").read_text(encoding="utf-8")
    section = text.partition("\n## ")[0]
    promises = [line for line in section.splitlines() if line.startswith("| ")][1:]
    assert len(promises) > 10
    for promise in promises:
        named = re.findall(r"`(tests/[^`]+\.py)::(\w+)`", promise)
        assert named, promise
        for file, test in named:
            source = (ROOT / file).read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, re.M), f"{file}::{test}"
