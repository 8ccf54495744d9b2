"""Data seen before a run: small and large, broken, absent, and what it says of the memory."""

import json
from pathlib import Path

import pytest

from engine.plan import preview_process
from engine.plan.memory import plan, refusal
from engine.plan.preview import DataPreview, read_preview
from engine.plan.preview_process import Preview
from engine.settings.files import preset
from engine.settings.schema import Settings


def of(data: Path | str, **more: object) -> Settings:
    return preset("starter").model_copy(update={"data": str(data), **more})


def last(settings: Settings) -> DataPreview:
    return list(Preview(settings))[-1]


def write(file: Path, rows: list[dict[str, str]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


ROWS = [
    {"instruction": "Why?", "output": "So.", "id": "1"},
    {"instruction": "Why not, if all of it is known?", "output": "No.", "id": "2"},
    {"instruction": "Why?", "output": "Again.", "id": "3"},
    {"instruction": "  ", "output": "Nothing.", "id": "4"},
]


@pytest.mark.parametrize("small", [True, False], ids=["here", "in a process"])
def test_rows_count_lengths_and_columns(
    tmp_path: Path, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_process, "SMALL", 1 << 20 if small else 0)
    each = last(of(write(tmp_path / "a.jsonl", ROWS)))
    assert each.whole
    assert each.rows == ("Why?", "Why not, if all of it is known?")
    assert each.count == {"train": 2}
    assert each.dropped == {"empty": 1, "duplicate": 1}
    assert (each.shortest, each.longest) == (4, 31)
    assert each.used == ("instruction",)
    assert each.unused == ("output", "id")
    assert each.longest_tokens
    assert each.longest_tokens > 64


def test_large_data_is_told_in_parts(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"prompt": f"Question {n}?"} for n in range(300)])
    parts = list(read_preview(of(file), between=0.0))
    assert len(parts) > 2
    assert not parts[0].whole
    assert parts[0].rows == ("Question 0?",)
    assert parts[-1].whole
    assert parts[-1].count == {"train": 300}
    assert len(parts[-1].rows) == 50


def test_no_column_is_known_and_all_are_listed_to_choose_from(tmp_path: Path) -> None:
    each = last(of(write(tmp_path / "a.jsonl", [{"ask": "Why?", "tell": "So."}])))
    assert each.columns == ("ask", "tell")
    assert "say which column holds the prompt: ask" in each.error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b'{"prompt": "a"}\n{"prom', "line 2: not JSON"),
        (b"\xff\xfe\xff", "not UTF-16 text"),
        (b"", "holds no prompts"),
    ],
)
@pytest.mark.parametrize("size", [1 << 20, 0], ids=["here", "in a process"])
def test_a_broken_file_is_one_sentence(
    tmp_path: Path, text: bytes, words: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_process, "SMALL", size)
    file = tmp_path / "a.jsonl"
    file.write_bytes(text)
    each = last(of(file))
    assert words in each.error
    assert not each.whole


def test_what_is_not_here_is_not_fetched(tmp_path: Path) -> None:
    assert last(of("nobody/nothing")).absent
    each = last(of(tmp_path / "none.jsonl"))
    assert not each.absent
    assert "no file or folder" in each.error


def test_reading_stops_when_it_is_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview_process, "SMALL", 0)
    file = write(tmp_path / "a.jsonl", [{"prompt": f"Question {n}?"} for n in range(200_000)])
    preview = Preview(of(file))
    parts = iter(preview)
    first = next(parts)
    preview.cancel()
    assert not any(part.whole or part.error for part in parts)
    assert 0 < first.count["train"] < 200_000


def test_a_step_is_estimated_for_the_longest_prompt_of_the_data(tmp_path: Path) -> None:
    few = write(tmp_path / "a.jsonl", [{"prompt": f"Question {n}?"} for n in range(9)])
    settings = of(few, max_seq_length=10**6, train_type="full")
    at_most = plan(settings)
    by_data = plan(settings, longest_prompt=last(settings).longest_tokens)
    assert by_data.known < at_most.known / 100
    tight = settings.model_copy(update={"memory_limit": 2 * by_data.known / by_data.machine_total})
    assert refusal(plan(tight), tight) is None
    mix = {"data_mix": [{"data": str(few)}] * 2, "data": f"{few}, {few}"}
    mixed = tight.model_copy(update=mix)
    assert refusal(plan(mixed), mixed) is None
    long = [{"prompt": "Why is it so? " * 200_000}]
    tight = tight.model_copy(update={"data": str(write(tmp_path / "b.jsonl", long))})
    reason = refusal(plan(tight), tight)
    assert reason
    assert "the data's longest prompt has about" in reason
