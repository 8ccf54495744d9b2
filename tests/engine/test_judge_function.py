"""A person's function as judge."""

import hashlib
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from engine.compute.sampling import Interrupted
from engine.errors import UserError
from engine.events import Log
from engine.judges import function_caller
from engine.judges.contest import Choosing
from engine.judges.function import FunctionJudge
from engine.judges.queued import judge_batch
from engine.judges.several import SeveralJudges
from engine.plan.memory import plan
from engine.session import Session
from engine.settings.checks import check, problems
from engine.settings.files import load, to_yaml
from tests.engine.small_models import pair, settings, write_model, write_prompts
from tests.engine.test_contest import prompt_of

TEXTS = [
    ("What is it?", "It is a very long answer.", "It is."),
    ("Why?", "So.", "Because it was always so."),
    ("Who?", "Me.", "You"),
]
TIMEOUT = 120.0  # seconds


@pytest.fixture
def function(tmp_path: Path) -> Callable[..., str]:
    """Writes a file of Python; the name of its function `better`."""

    def write(code: str, name: str = "better") -> str:
        file = tmp_path / "mine.py"
        file.write_text(code, encoding="utf-8")
        return f"{file}:{name}"

    return write


@contextmanager
def judge_of(name: str, warned: list[str] | None = None, **more: Any) -> Any:
    stop = more.pop("stop", lambda: False)
    chosen = settings(judge=name, **more)
    check(chosen)
    judge = FunctionJudge(
        chosen, name, stop=stop, warn=warned.append if warned is not None else lambda text: None
    )
    try:
        judge.open()
        yield judge
    finally:
        judge.close()


def q_of(name: str, **more: Any) -> list[float | None]:
    with judge_of(name, **more) as judge:
        return [verdict.q for verdict in judge.judge(TEXTS)]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_a_process_may_take_longer_to_start_than_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    popen = subprocess.Popen
    late = "import time; time.sleep(1.2); "

    def slow(command: list[str], **more: Any) -> Any:
        return popen([*command[:-1], late + command[-1]], **more)

    monkeypatch.setattr(function_caller.subprocess, "Popen", slow)
    with judge_of("rule:length", judge_timeout=1) as judge:
        assert judge.caller.process is not None


# -- what it is called with, and what its values mean ----------------------------------------------


def test_a_probability_of_a_pair(function: Callable[..., str]) -> None:
    name = function(
        "def better(prompt, first, second):\n"
        "    assert prompt in ('What is it?', 'Why?', 'Who?')\n"
        "    print('not an answer')\n"
        "    return {'It is a very long answer.': 0.8, 'So.': 0, 'Me.': 0.5}[first]\n"
    )
    with judge_of(name) as judge:
        verdicts = judge.judge(TEXTS)
    assert [verdict.choice for verdict in verdicts] == ["first", "second", "tie"]
    assert [verdict.q for verdict in verdicts] == pytest.approx([0.8, 0.0, 0.5])
    assert [verdict.q_orders for verdict in verdicts] == [None] * 3


def test_a_score_of_a_completion(function: Callable[..., str]) -> None:
    name = function("def better(prompt, completion, extra=1):\n    return len(completion) / 10\n")
    expected = [sigmoid((len(first) - len(second)) / 10) for _, first, second in TEXTS]
    assert q_of(name) == pytest.approx(expected)


@pytest.mark.parametrize(
    "head",
    [
        "def better(prompts: list[str], firsts, seconds):",
        "from collections.abc import Sequence\n"
        "def better(questions: Sequence[str], firsts, seconds):",
        "def better(prompts, firsts, seconds):",
        "def better(texts: 'list[str]', firsts: 'list[str]', seconds: 'list[str]'):",
    ],
)
def test_a_function_of_lists_is_called_once(function: Callable[..., str], head: str) -> None:
    name = function(
        "calls = []\n"
        f"{head}\n"
        "    calls.append(1)\n"
        "    assert len(calls) == 1\n"
        "    return [len(a) / (len(a) + len(b)) for a, b in zip(firsts, seconds)]\n"
    )
    assert q_of(name) == pytest.approx([25 / 31, 3 / 28, 0.5])


def test_a_score_of_lists(function: Callable[..., str]) -> None:
    name = function("def better(prompts, completions):\n    return map(len, completions)\n")
    assert q_of(name) == pytest.approx([sigmoid(19), sigmoid(-22), 0.5])


# -- what may go wrong in a call -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("raise ValueError('no idea')", "ValueError: no idea (line 3)"),
        ("return 1.5", "no number from 0 to 1"),
        ("return float('nan')", "no number from 0 to 1"),
        ("return 'good'", "ValueError"),
        ("return None", "TypeError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("import os; os._exit(3)", "its process has ended"),
        ("import time; time.sleep(60)", "it did not end within 1 seconds"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
    ],
)
def test_a_bad_call_makes_its_pair_invalid(
    function: Callable[..., str], body: str, told: str
) -> None:
    name = function(
        f"def better(prompt, first, second):\n    if prompt == 'Why?':\n        {body}\n"
        "    return 0.75\n"
    )
    warned: list[str] = []
    with judge_of(name, warned, judge_timeout=1) as judge:
        assert [verdict.choice for verdict in judge.judge(TEXTS)] == ["first", "invalid", "first"]
        assert [verdict.choice for verdict in judge.judge(TEXTS)] == ["first", "invalid", "first"]
    assert len(warned) == 1
    assert told in warned[0]


def test_a_list_with_one_bad_value_and_one_of_another_length(function: Callable[..., str]) -> None:
    name = function(
        "def better(prompts, firsts, seconds):\n"
        "    return [0.9, None, 0.1] if len(prompts) == 3 else [0.5]\n"
    )
    warned: list[str] = []
    with judge_of(name, warned) as judge:
        assert [each.choice for each in judge.judge(TEXTS)] == ["first", "invalid", "second"]
        assert [each.choice for each in judge.judge(TEXTS[:2])] == ["invalid", "invalid"]
    assert "it gave 1 values for 2 pairs" in warned[1]


def test_a_stop_ends_a_call_that_does_not_return(function: Callable[..., str]) -> None:
    name = function("def better(prompt, first, second):\n    while True: pass\n")
    began = time.monotonic()
    with judge_of(name, stop=lambda: time.monotonic() - began > 3) as judge:
        process = judge.caller.process
        assert process is not None
        with pytest.raises(Interrupted):
            judge.judge(TEXTS)
        assert process.poll() is not None


def test_a_function_does_not_outlive_its_judge(
    function: Callable[..., str], tmp_path: Path
) -> None:
    name = function(
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(tmp_path / 'pid')!r}, 'w').write(str(child.pid))\n"
        "def better(prompt, first, second):\n    return 1\n"
    )
    with judge_of(name):
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        assert child.is_running()
    end = time.monotonic() + TIMEOUT
    while child.is_running() and child.status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < end
        time.sleep(0.05)


# -- bad input -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("def other(a, b): pass\n", "there is no function better; its functions are other"),
        ("better = 3\n", "there is no function better; it has none"),
        ("def better(prompt): pass\n", "the function takes (prompt); it has to take (prompt, "),
        ("def better(a, b, c, d): pass\n", "the function takes (a, b, c, d)"),
        ("def better(*all): pass\n", "the function takes ()"),
        ("def better(a, b, *, c): pass\n", "the function takes (a, b, c)"),
        ("async def better(a, b): pass\n", "the function is async"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def better(a, b)\n", "SyntaxError: expected ':' (line 1)"),
        ("import json\njson.loads('?')\ndef better(a, b): pass\n", "(char 0) (line 2)"),
        (
            "a = 1\na += 'b'\n",
            "TypeError: unsupported operand type(s) for +=: 'int' and 'str' (line 2)",
        ),
        ("raise TypeError\n", "TypeError: (line 1)"),
        ("raise SystemExit('bye')\n", "SystemExit: bye"),
        ("import time; time.sleep(60)\n", "it did not end within 2 seconds"),
    ],
)
def test_a_file_that_cannot_judge(function: Callable[..., str], code: str, told: str) -> None:
    with (
        pytest.raises(UserError) as caught,
        judge_of(function(code), judge_timeout=60 if "sleep" not in code else 2),
    ):
        pass
    assert str(caught.value).startswith("judge: /")
    assert told in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for name in ("no/such.py:better", "~nobody-here/such.py:better"):
        with pytest.raises(UserError, match="judge: there is no file"), judge_of(name):
            pass


def test_opening_and_checking_a_config_runs_nothing(
    function: Callable[..., str], tmp_path: Path
) -> None:
    trace = tmp_path / "trace"
    name = function(f"open({str(trace)!r}, 'w')\ndef better(a, b, c): return 1\n")
    chosen = settings(judge=name)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(chosen), encoding="utf-8")
    loaded = load(file)
    assert loaded == chosen
    assert problems(loaded) == []
    assert plan(loaded).judge == 0
    assert not trace.exists()
    with judge_of(name):
        assert trace.exists()


# -- a run -----------------------------------------------------------------------------------------


@pytest.fixture
def chosen(tmp_path: Path) -> Callable[..., Any]:
    model = write_model(tmp_path / "policy", scale=1.0)
    prompts = write_prompts(tmp_path / "prompts.jsonl", 12)

    def make(**values: Any) -> Any:
        small = {
            "model": str(model),
            "data": str(prompts),
            "iters": 4,
            "batch_size": 2,
            "eval_prompts": 3,
            "steps_per_eval": 2,
            "save_every": 1,
            "max_completion_length": 5,
        }
        return settings(**{**small, **values})

    return make


def trained(session: Session) -> list[str]:
    """What a session that ended says in its log."""
    session.start()
    assert session.join(TIMEOUT)
    return [event.text for event in session.drain() if isinstance(event, Log)]


def test_a_run_and_a_file_that_was_changed_before_it_goes_on(
    chosen: Callable[..., Any], function: Callable[..., str]
) -> None:
    code = "def better(prompt, first, second):\n    return float(len(first) > len(second))\n"
    session = Session(chosen(judge=function(code)))
    assert "has changed" not in " ".join(trained(session))
    assert session.error is None
    run = session.run
    assert run is not None
    digest = hashlib.sha256(code.encode()).hexdigest()
    assert list(run.state()["judge_sha256"].values()) == [digest]
    labels = [line for file in ("pairs.jsonl", "undecided.jsonl") for line in run.read(file)]
    assert len(labels) == 8
    assert all(label["judge"].endswith("mine.py:better") for label in labels)

    same = Session(run.settings().model_copy(update={"iters": 5}), run)
    assert "has changed" not in " ".join(trained(same))
    function(code + "# otherwise\n")
    changed = Session(run.settings().model_copy(update={"iters": 6}), run)
    log = trained(changed)
    assert any("mine.py has changed since the run began" in text for text in log)
    assert changed.error is None


def test_a_bad_function_is_told_of_before_anything_is_loaded(
    chosen: Callable[..., Any], function: Callable[..., str]
) -> None:
    session = Session(chosen(model="no-such/model", judge=function("def better(a): pass\n")))
    trained(session)
    assert session.error_is_users
    assert "it has to take (prompt, first, second)" in (session.error or "")


def test_nothing_is_left_of_it_after_a_run(
    chosen: Callable[..., Any], function: Callable[..., str]
) -> None:
    before = set(psutil.Process(os.getpid()).children(recursive=True))
    session = Session(chosen(judge="rule:length", iters=2))
    trained(session)
    assert session.status in ("finished", "untrained")  # whether or not its few pairs all tie
    left = set(psutil.Process(os.getpid()).children(recursive=True)) - before
    assert not [each for each in left if "function_process" in " ".join(each.cmdline())]


def test_a_call_that_never_ends_ends_after_its_caller() -> None:
    """Killed while the function keeps all threads of its process from going on."""
    code = (
        "from pathlib import Path\n"
        "from engine.judges import function_caller, rules\n"
        "options = {'pattern': '(a+)+$'}\n"
        "file = Path(rules.__file__)\n"
        "caller = function_caller.FunctionCaller(file, 'matches', seconds=1.0, options=options)\n"
        "caller.open()\n"
        "print(caller.process.pid, flush=True)\n"
        "caller._seconds = 1e5\n"  # it does not end the call before it is killed
        "caller.values(['?', 'a' * 60 + '!'], 1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as caller:
        assert caller.stdout
        child = psutil.Process(int(caller.stdout.readline()))
        begun = child.cpu_times().user
        wait_for(lambda: child.cpu_times().user > begun + 0.3)
        caller.kill()
    wait_for(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def wait_for(true: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


# -- more than two answers -------------------------------------------------------------------------


@pytest.mark.parametrize("lists", [False, True])
def test_a_function_of_one_completion_is_called_once_an_answer(
    function: Callable[..., str], tmp_path: Path, lists: bool
) -> None:
    calls = tmp_path / "calls"
    score = "[float(len(c)) for c in completion]" if lists else "float(len(completion))"
    annotation = ": list" if lists else ""
    name = function(
        f"def better(prompt{annotation}, completion):\n"
        f"    with open({str(calls)!r}, 'a') as file:\n"
        f"        print(len(completion) if {lists} else 1, file=file)\n"
        f"    return {score}\n"
    )
    prompts = [prompt_of(6, texts=["a", "bb", "ccc", "dddd", "eeeee", "ffffff"])]
    with judge_of(name) as judge:
        assert judge.gives_scores
        (judged,) = judge_batch(judge, prompts, Choosing("low"))
        assert sum(map(int, calls.read_text().split())) == 6
        judge_batch(judge, [pair()], Choosing("low"))
    assert "0" not in calls.read_text().split()  # never for nothing
    assert (judged.pair.first, judged.pair.second) == ("bb", "ffffff")  # 3.5 less 1.7
    assert judged.verdict.choice == "second"
    assert judged.verdict.q == pytest.approx(sigmoid(4.0)) or judged.verdict.q == pytest.approx(
        sigmoid(-4.0)
    )


def test_a_function_of_a_pair_plays_a_tournament(function: Callable[..., str]) -> None:
    name = function(
        "def better(prompt, first, second):\n    return 0.9 if len(first) > len(second) else 0.1\n"
    )
    prompts = [prompt_of(4, texts=["a", "bb", "ccc", "dddd"])]
    with judge_of(name) as judge:
        assert not judge.gives_scores
        (judged,) = judge_batch(judge, prompts, Choosing())
    assert len(judged.judgements) == 6
    assert (judged.pair.first, judged.pair.second) == ("a", "dddd")
    assert judged.verdict.choice == "second"


def test_several_that_score_are_one_that_does(function: Callable[..., str]) -> None:
    name = function("def better(prompt, completion):\n    return 2.0 * len(completion)\n")
    chosen = settings(judge="starter")
    prompts = [prompt_of(4, texts=["a", "bb bb", "ccc", "dd d"])]
    with judge_of(name) as longer, judge_of("rule:length", judge_length=3) as words:
        both = SeveralJudges([longer, words], [1.0, 3.0], chosen, "both")
        assert both.gives_scores
        (judged,) = judge_batch(both, prompts, Choosing())
        (alone,) = both.judge([("p", judged.pair.first, judged.pair.second)])
    # 2 - 3 * 2, 10 - 3, 6 - 3 * 2 and 8 - 3
    assert (judged.pair.first, judged.pair.second) == ("a", "bb bb")
    assert judged.verdict == alone
