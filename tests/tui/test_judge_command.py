"""`lora-studio judge`: the card of every kind of judge, and bad input in one sentence."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine import judge_card
from engine.data.pairs import Verdict
from engine.judge_card import read_pairs, try_judge
from engine.judges import JudgeAway
from engine.judges.llm import LLMJudge
from engine.message import Message
from engine.runs.archive import runs_root
from engine.session import Session
from engine.settings.files import to_yaml
from tests.command import Command
from tests.engine.little_server import LittleServer
from tests.engine.small_models import settings, write_model, write_prompts
from tests.hostile import MARK, TEXTS, harmful

KEYS = {
    "valid",
    "decided",
    "flips",
    "first_position",
    "length_pull",
    "accuracy",
    "kappa",
    "kappa_low",
    "kappa_high",
    "pairs",
}
SHORT, LONG = "It is so.", "It is so, as far as anybody knows."
LINES: list[dict[str, Any]] = [
    {"prompt": "What is it?", "first": LONG, "second": SHORT, "winner": "first"},
    {"prompt": "Why?", "first": SHORT, "second": LONG, "winner": "second"},
] * 4

Config = Callable[..., str]


@pytest.fixture
def pairs(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of pairs, and gives its path."""

    def write(*lines: Any) -> str:
        file = tmp_path / "pairs.jsonl"
        texts = [line if isinstance(line, str) else json.dumps(line) for line in lines or LINES]
        file.write_text("\n".join(texts), encoding="utf-8")
        return str(file)

    return write


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "model", scale=1.0)


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Config:
    """Writes a config, and gives its path."""

    def write(judge: Any = "rule:length", **values: Any) -> str:
        write_prompts(tmp_path / "prompts.jsonl")
        chosen = settings(
            **{
                "model": str(model),
                "judge": judge,
                "data": str(tmp_path / "prompts.jsonl"),
                "eval_prompts": 4,
                **values,
            }
        )
        file = tmp_path / "config.yaml"
        file.write_text(to_yaml(chosen), encoding="utf-8")
        return str(file)

    return write


def card_of(command: Command, *arguments: str) -> dict[str, Any]:
    """The card that the command prints as JSON."""
    done = command("judge", *arguments, "--json")
    assert done.status == 0, done.err
    [line] = done.out.splitlines()
    card = json.loads(line)
    assert card.keys() >= KEYS
    return card


# -- every kind of judge ---------------------------------------------------------------------------


def test_a_rule_on_labelled_pairs(command: Command, config: Config, pairs: Any) -> None:
    card = card_of(command, config(), "--pairs", pairs())
    assert [pair["choice"] for pair in card["pairs"]] == ["second", "first"] * 4
    assert (card["valid"], card["decided"], card["accuracy"], card["kappa"]) == (1, 1, 0, -1)
    assert card["kappa_low"] == -1
    assert -1 < card["kappa_high"] < 0
    assert card["length_pull"] == -0.5
    assert (card["flips"], card["first_position"]) == (None, None)
    assert card["verdict"] == "not to be trusted"


def test_a_function(command: Command, config: Config, pairs: Any, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def better(prompt, first, second):\n    return float(len(first) > 25)\n")
    card = card_of(command, config(f"{file}:better"), "--pairs", pairs())
    assert [pair["q"] for pair in card["pairs"]] == [1, 0] * 4
    assert (card["accuracy"], card["kappa"]) == (1, 1)
    assert card["verdict"] == "biased"  # the longer one always wins


def test_a_server(command: Command, config: Config, pairs: Any) -> None:
    little = LittleServer(models=("longer",))
    with little.running():
        card = card_of(command, config(little.address), "--pairs", pairs())
    assert card["judge"] == f"longer at {little.address}"
    assert (card["valid"], card["decided"], card["accuracy"]) == (1, 1, 1)
    assert card["flips"] == 0
    assert card["first_position"] == pytest.approx(0, abs=0.01)


def test_a_local_model_alone_is_loaded_for_pairs_of_a_file(
    command: Command, config: Config, pairs: Any, model: Path, tmp_path: Path
) -> None:
    chosen = config(str(model), model=str(tmp_path / "nowhere"), data=str(tmp_path / "neither"))
    card = card_of(command, chosen, "--pairs", pairs())
    assert len(card["pairs"]) == 8
    for pair in card["pairs"]:
        assert (pair["q"] is None) == (not pair["valid"])


def test_a_reward_model(command: Command, config: Config, pairs: Any, tmp_path: Path) -> None:
    from tests.engine.test_judge_reward import folder_of

    card = card_of(command, config(str(folder_of("qwen3", tmp_path / "r"))), "--pairs", pairs())
    assert card["valid"] == 1
    assert card["flips"] is None
    assert all(0 < pair["q"] < 1 for pair in card["pairs"])


def test_several(command: Command, config: Config, pairs: Any) -> None:
    little = LittleServer(models=("longer",))
    with little.running():
        both = config(["rule:json", little.address], judge_weights=[1.0, 3.0])
        card = card_of(command, both, "--pairs", pairs())
    assert (card["valid"], card["accuracy"]) == (1, 1)
    assert card["flips"] is None  # one of them has no order


# -- pairs -----------------------------------------------------------------------------------------


def test_without_a_file_the_pairs_are_those_that_the_run_begins_with(
    command: Command, config: Config, tmp_path: Path
) -> None:
    values = {"batch_size": 4, "iters": 1, "steps_per_eval": -1, "test": False}
    chosen = config("rule:length", **values)
    card = card_of(command, chosen, "--count", "6")
    assert len(card["pairs"]) == 6
    from engine.settings.files import load

    session = Session(load(Path(chosen)))
    session.start()
    assert session.join(120)
    assert session.run
    lines = [*session.run.read("pairs.jsonl"), *session.run.read("undecided.jsonl")]
    by_run = {(line["prompt"], frozenset(texts_of(line))) for line in lines}
    first = card["pairs"][:4]
    assert by_run == {(pair["prompt"], frozenset(texts_of(pair))) for pair in first}


def texts_of(line: dict[str, Any]) -> list[str]:
    return [line[key] for key in ("first", "second", "chosen", "rejected") if key in line]


def test_equal_and_empty_answers_are_not_put_before_the_judge(
    command: Command, config: Config, pairs: Any
) -> None:
    same = {"prompt": "a", "first": "b", "second": "b"}
    empty = {"prompt": "a", "first": " ", "second": ""}
    card = card_of(command, config(), "--pairs", pairs(*LINES, same, empty))
    assert [pair["choice"] for pair in card["pairs"]][8:] == ["identical", "empty"]
    assert (card["valid"], card["decided"]) == (1, 1)
    out = command("judge", config(), "--pairs", pairs(same, empty)).out
    assert "not to be trusted with this rubric: there was no pair to ask it about" in out
    assert "2 more with two equal or empty answers" in out


def test_a_prompt_may_be_a_chat(pairs: Any) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    [pair] = read_pairs(Path(pairs({"prompt": turns, "first": "a", "second": "b"})))
    assert pair.prompt.messages == (Message("system", "Be brief."), Message("user", "Why?"))
    assert pair.prompt.text == "Why?"
    assert pair.label is None


def test_nothing_is_left_behind(command: Command, config: Config, pairs: Any) -> None:
    card_of(command, config(), "--pairs", pairs())
    assert not runs_root().exists()


# -- what it prints --------------------------------------------------------------------------------


def test_a_line_a_pair_and_the_card(command: Command, config: Config, pairs: Any) -> None:
    done = command("judge", config(), "--pairs", pairs())
    lines = done.out.splitlines()
    row = ["1", "second", "0.01", "-", "-", "first", "What", "is", "it?"]
    assert lines[1].split() == row
    assert any(line.startswith("kappa           -1.00  95% interval -1.00 to ") for line in lines)
    assert lines[-1].startswith("not to be trusted with this rubric: its agreement with the labels")
    assert done.status == 0


def test_harmful_texts_do_not_reach_the_terminal(
    command: Command, config: Config, pairs: Any
) -> None:
    lines = [{"prompt": text, "first": text, "second": "b"} for text in TEXTS.values()]
    out = command("judge", config(), "--pairs", pairs(*lines)).out
    assert out.count(MARK) > len(lines) / 2  # some are cut before it
    for line in out.splitlines():
        assert harmful(line) == []


# -- bad input -------------------------------------------------------------------------------------


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load() -> None:
        raise AssertionError("something was loaded")

    monkeypatch.setattr(judge_card, "import_mlx", load)


IMAGE = {"type": "image_url", "image_url": "http://localhost/a.png"}
GOOD = {"prompt": "a", "first": "b", "second": "c"}


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([GOOD, {"prompt": "a", "first": "b"}], "pairs.jsonl, line 2: it has no second"),
        ([{**GOOD, "first": 3}], "line 1: first has to be text"),
        ([{**GOOD, "winner": "A"}], "line 1: winner has to be first, second or tie"),
        ([{**GOOD, "prompt": " "}], "line 1: prompt: it asks nothing"),
        ([{**GOOD, "prompt": [{"role": "user", "content": [IMAGE]}]}], "line 1: prompt: it"),
        (["{"], "line 1: not JSON"),
        (["[1]"], "a row has to be a mapping"),
        ([""], "holds no pairs"),
    ],
)
def test_a_bad_file_of_pairs_is_one_sentence_before_anything_is_loaded(
    command: Command, config: Config, pairs: Any, lines: list[Any], expected: str
) -> None:
    status, out, err = command("judge", config(), "--pairs", pairs(*lines))
    assert (status, out) == (2, "")
    assert err.startswith("lora-studio: --pairs: ")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("nothing_loads")
@pytest.mark.parametrize(
    ("judge", "arguments", "expected"),
    [
        ("human", [], "judge: a person judges here"),
        ("rule:length", ["--pairs", "none.jsonl"], "none.jsonl cannot be read: No such file"),
        ("rule:length", ["--pairs", "none.docx"], "is none of the kinds that are read"),
        ("rule:length", ["--set", "judge=rule:none"], "judge: there is no rule:none"),
        ("my.py", [], "judge: it names no function of my.py; write it as my.py:FUNCTION"),
        ("my.py:", [], "judge: it names no function of my.py; write it as my.py:FUNCTION"),
        ("rule:length", ["--set", "betta=1"], "nearest is beta"),
        ("rule:length", ["--pairs", "a.jsonl", "--count", "3"], "leave it out, or --pairs"),
    ],
)
def test_bad_arguments_are_one_sentence_before_anything_is_loaded(
    command: Command, config: Config, judge: str, arguments: list[str], expected: str
) -> None:
    status, out, err = command("judge", config(judge), *arguments)
    assert (status, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("judge", "expected"),
    [
        ("nowhere/model.py:f", "nowhere/model.py"),
        ("http://127.0.0.1:9/v1", "http://127.0.0.1:9"),
        ("/nowhere/model", "/nowhere/model"),
    ],
)
def test_a_judge_that_is_not_there_is_one_sentence(
    command: Command, config: Config, pairs: Any, judge: str, expected: str
) -> None:
    status, out, err = command("judge", config(judge), "--pairs", pairs())
    assert (status, out) == (2, "")
    assert expected in err
    assert err.count("\n") == 1


def test_data_that_is_not_there_is_told_of_before_a_model_is_loaded(
    command: Command, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_card, "_load", None)
    status, out, err = command("judge", config(), "--set", "data=nowhere.jsonl")
    assert (status, out) == (2, "")
    assert "nowhere.jsonl" in err
    assert err.count("\n") == 1


def test_a_server_that_goes_away_fails_with_its_sentence(
    command: Command, config: Config, pairs: Any, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    def gone(*arguments: Any) -> list[Verdict]:
        raise JudgeAway("the judge is away for 60 minutes now")

    monkeypatch.setattr(LLMJudge, "judge", gone)
    status, _, err = command("judge", config(str(model)), "--pairs", pairs())
    assert status == 1
    assert err == "lora-studio: the judge is away for 60 minutes now\n"


def test_an_interrupt_ends_it_quietly(
    command: Command, config: Config, pairs: Any, monkeypatch: pytest.MonkeyPatch, model: Path
) -> None:
    def interrupt(*arguments: Any) -> list[Verdict]:
        raise KeyboardInterrupt

    monkeypatch.setattr(LLMJudge, "judge", interrupt)
    status, _, err = command("judge", config(str(model)), "--pairs", pairs())
    assert (status, err) == (130, "")


def test_the_starters_judge_is_usable_on_what_its_policy_writes() -> None:
    from engine.settings.files import preset

    trial = try_judge(preset("starter"), count=32)
    assert trial.card.trust == "usable"
    assert (trial.card.decided or 0) > 0.8
