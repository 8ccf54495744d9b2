"""`lora-studio pairs`: what it writes, prints and refuses."""

import json
from pathlib import Path

import pytest

from engine.runs.folder import PAIRS
from engine.runs.relabel import relabel_own
from tests.command import Command
from tests.tui.archive import make_run

PAIR = {"prompt": "Why?", "chosen": "It is so.", "rejected": "No."}


def lines_of(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_labels_of_runs_become_a_file(command: Command, tmp_path: Path) -> None:
    make_run("one", pairs=4)
    make_run("two", pairs=8)
    to = tmp_path / "pairs.jsonl"
    done = command("pairs", "one", "two", "--to", str(to))
    assert done == (
        0,
        f"written to {to}: 4 pairs\nleft out: 4 labelled again later, 2 ties, 2 flagged\n",
        "",
    )
    assert [line["run"] for line in lines_of(to)] == ["two"] * 4
    status, _, _ = command("pairs", "one", "--to", str(to), "--force", "--ties", "--flagged")
    assert status == 0
    assert [line["choice"] for line in lines_of(to)] == ["first", "second", "tie", "first"]


def test_labels_that_were_taken_back_come_marked(command: Command, tmp_path: Path) -> None:
    run = make_run("one", pairs=4)
    first, second = (str(line["pair_id"]) for line in list(run.read(PAIRS))[:2])
    with run.lock():
        relabel_own(run, first, None)
    to = tmp_path / "pairs.csv"
    done = command("pairs", "one", "--to", str(to))
    assert done.out.endswith("1 pair\nleft out: 1 retracted, 1 ties, 1 flagged\n")
    assert "retracted" not in to.read_text()
    assert command("pairs", "one", "--to", str(to), "--force", "--retracted").status == 0
    header, *lines = to.read_text().splitlines()
    assert header.endswith(",run,pair_id,retracted")
    assert [line.rsplit(",", 2)[1:] for line in lines] == [[first, "True"], [second, "False"]]


def test_a_share_is_held_out_in_a_folder(command: Command, tmp_path: Path) -> None:
    make_run("one", pairs=16)
    to = tmp_path / "out"
    arguments = ("pairs", "one", "--valid", "0.25", "--to", f"{to}/")
    assert f"{to}/: 8 pairs (6 train, 2 valid)\n" in command(*arguments)[1]
    assert sorted(each.name for each in to.iterdir()) == ["train.jsonl", "valid.jsonl"]
    before = lines_of(to / "valid.jsonl")
    assert command(*arguments, "--force", "--format", "parquet")[0] == 0
    assert sorted(each.name for each in to.iterdir()) == ["train.parquet", "valid.parquet"]
    assert command(*arguments, "--force", "--seed", "1")[0] == 0
    assert lines_of(to / "valid.jsonl") != before


def test_a_folder_that_a_kill_had_set_aside_is_not_replaced_either(
    command: Command, tmp_path: Path
) -> None:
    make_run("one", pairs=8)
    to = tmp_path / "out"
    assert command("pairs", "one", "--to", f"{to}/")[0] == 0
    before = (to / "train.jsonl").read_bytes()
    to.rename(tmp_path / ".out.lora-studio.old")
    status, _, err = command("pairs", "one", "--to", f"{to}/", "--ties")
    assert status == 2
    assert "has pairs already" in err
    assert (to / "train.jsonl").read_bytes() == before


def test_messages_in_csv_are_named(command: Command, tmp_path: Path) -> None:
    run = make_run("chat", pairs=1)
    run.rewrite(PAIRS, lambda line: line | {"prompt": [{"role": "user", "content": "Why?"}] * 2})
    for kind, count in (("csv", 1), ("jsonl", 0)):
        _, out, _ = command("pairs", "chat", "--to", str(tmp_path / f"pairs.{kind}"))
        assert out.count("jsonl and parquet hold them as they are") == count


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["none", "--to", "x.jsonl"], "there is no run 'none'"),
        (["one", "--to", "there.jsonl"], "is there already: choose another name, or add --force"),
        (["one", "--to", "pairs"], "has pairs already: choose another folder, or add --force"),
        (["one", "--to", "other", "--force"], "the folder has other files, as mine.txt"),
        (["one", "--to", "x.json"], "pairs are written as jsonl, parquet, csv"),
        (["one", "--to", "other/x.csv", "--valid", "0.1"], "want a folder: --to other/x/"),
        (["one", "--to", "x/", "--valid", "1"], "a share of the prompts between 0 and 1"),
        (["one", "--to", "x/", "--valid", "nan"], "a share of the prompts between 0 and 1"),
        (["one", "--to", "x/", "--format", "xlsx"], "choose one of jsonl, parquet, csv"),
        (["one", "--to", "x.csv", "--format", "jsonl"], "leave --format out"),
        (["one", "--to", "none/x.csv"], "there is no folder"),
        (["one", "--to", "RUN/pairs.jsonl", "--force"], "in the folder of a run"),
        (["one", "--to", "RUN/", "--force"], "in the folder of a run"),
        (["bare", "--to", "x.csv"], "no pair to write in 'bare': no label has a winner"),
        (["check", "none"], "there is no run 'none'"),
        (["check", "none.jsonl"], "there is no file none.jsonl"),
        (["check", "other/mine.txt"], "no column 'chosen'"),
        (["check", "bare"], "bare holds no preference pair"),
        (["check", "odd.jsonl"], "odd.jsonl holds no preference pair: odd.jsonl, line 1 chosen is"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    arguments: list[str],
    expected: str,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = make_run("one", pairs=4)
    make_run("bare", pairs=0)
    monkeypatch.chdir(tmp_path)
    for file in ("there.jsonl", "pairs/train.jsonl", "other/mine.txt"):
        Path(file).parent.mkdir(exist_ok=True)
        Path(file).write_text("mine\n")
    Path("odd.jsonl").write_text('{"chosen": "a", "rejected": "b"}\n')

    def state() -> dict[Path, bytes]:
        places = (tmp_path, run.path)
        files = [file for place in places for file in place.rglob("*") if file.is_file()]
        return {file: file.read_bytes() for file in files}

    before = state()
    status, out, err = command("pairs", *(each.replace("RUN", str(run.path)) for each in arguments))
    assert (status, out) == (2, "")
    assert expected in err
    assert err.startswith("lora-studio: ")
    assert err.count("\n") == 1
    assert state() == before


@pytest.mark.parametrize("arguments", [[], ["one"], ["--to", "x.csv"], ["check"]])
def test_bad_usage_is_status_2(arguments: list[str], command: Command) -> None:
    status, out, err = command("pairs", *arguments)
    assert (status, out) == (2, "")
    assert "lora-studio pairs" in err.splitlines()[0]
    assert "of-runs" not in err


def test_help_shows_the_options_and_names_the_check(command: Command) -> None:
    status, out, _ = command("pairs", "--help")
    assert status == 0
    for word in (
        "--to",
        "--valid",
        "--seed",
        "--ties",
        "--flagged",
        "--retracted",
        "--force",
        "pairs check",
    ):
        assert word in out


def test_a_run_is_looked_over(command: Command) -> None:
    run = make_run("one", pairs=8)
    [line, *_] = run.read(PAIRS)
    turned = {"chosen": line["rejected"], "rejected": line["chosen"], "choice": "second"}
    run.append(PAIRS, [line | turned | {"pair_id": "0000099-000"}])
    status, out, _ = command("pairs", "check", "one")
    assert status == 0
    rows = dict(line.split("  ", 1) for line in out.splitlines())
    rows = {name: value.strip() for name, value in rows.items()}
    assert rows["pairs"] == "7"
    assert rows["ties"] == "2"
    assert rows["in conflict"] == "1  first: pair 0000099-000, against pair 0000001-000; in 2 pairs"
    assert rows["first shown wins"] == "61%  11 of 18 readings"


def test_a_file_and_a_folder_are_looked_over(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [PAIR, PAIR, PAIR | {"rejected": ""}, {"prompt": "Why?"}]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "valid.jsonl").write_text(json.dumps(PAIR) + "\n")
    of_file = json.loads(command("pairs", "check", str(folder / "train.jsonl"), "--json")[1])
    assert of_file["pairs"] == 3
    assert of_file["duplicates"] == {"count": 1, "first": "train.jsonl, line 2"}
    assert of_file["empty_rejected"]["count"] == 1
    assert of_file["unreadable"] == {"count": 1, "first": "train.jsonl, line 4"}
    assert of_file["longer_wins"] == {"count": 3, "of": 3, "share": 1.0}
    assert of_file["first_shown_wins"]["share"] is None
    of_folder = json.loads(command("pairs", "check", str(folder), "--json")[1])
    assert (of_folder["pairs"], of_folder["duplicates"]["count"]) == (4, 2)
    assert "unknown  there are no readings" in command("pairs", "check", str(folder))[1]


def test_what_a_file_holds_is_drawn_safely(command: Command, tmp_path: Path) -> None:
    file = tmp_path / "a\x1b[2J.jsonl"
    file.write_text(json.dumps(PAIR) + "\n" + json.dumps(PAIR) + "\n")
    status, out, _ = command("pairs", "check", str(file))
    assert status == 0
    assert "\x1b" not in out
