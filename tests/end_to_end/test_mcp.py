"""`lora-studio mcp`: runs for other programs."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.runs import archive
from engine.runs.folder import METRICS, PAIRS, Run
from engine.settings.files import preset
from tests.command import Command
from tests.end_to_end.program import TIMEOUT
from tui.cli import mcp_command, mcp_tools

installed = pytest.mark.skipif(find_spec("mcp") is None, reason="the extra mcp is not installed")
READING = {"list_runs", "show_run", "read_metrics", "read_pairs", "check_config"}
CONTROL = {"start_run", "control_run"}
SMALL = "model: starter\ndata: starter\njudge: starter\nquantization: none\niters: 400\n" + (
    "batch_size: 2\nmax_completion_length: 16\nmax_seq_length: 256\nsteps_per_eval: -1\n"
    "grad_checkpoint: false\nguard: 'off'\nfuse: false\nsteps_per_report: 1\n"
)


@pytest.fixture
def run(studio_home: Path) -> Run:
    run = archive.create(preset("starter").model_copy(update={"run_name": "mine"}))
    run.append(METRICS, [{"step": step, "loss": 1 / step} for step in (1, 2, 3)])
    pair = {"prompt": "x" * 9000, "chosen": "a", "rejected": "b", "pair_id": "p", "step": 1}
    run.append(PAIRS, [pair])
    return run


# -- the tools -------------------------------------------------------------------------------------


def test_runs_metrics_and_pairs_are_read(run: Run) -> None:
    assert [each["name"] for each in mcp_tools.list_runs()] == ["mine"]
    assert mcp_tools.show_run("mine")["settings"]["model"] == "starter"
    assert [each["step"] for each in mcp_tools.read_metrics("mine", 2)] == [2, 3]
    [pair] = mcp_tools.read_pairs("mine")
    assert pair["chosen"] == "a"
    assert len(pair["prompt"]) == mcp_tools.LONGEST + 1


@pytest.mark.parametrize("name", ["/etc", "../mine", "~/x", "mine/../mine", ".", ""])
def test_a_run_is_never_named_by_a_path(run: Run, name: str) -> None:
    for tool in (mcp_tools.show_run, mcp_tools.read_metrics, mcp_tools.read_pairs):
        with pytest.raises(UserError):
            tool(name)
    with pytest.raises(UserError):
        mcp_tools.control_run(name, "stop")


def test_a_config_is_checked_with_its_memory(studio_home: Path) -> None:
    checked = mcp_tools.check_config(SMALL)
    assert checked["problems"] == []
    assert 0 < checked["memory_bytes"] < checked["machine_bytes"]
    assert "num_layers" in mcp_tools.check_config("num_layers: 0\nmodel: starter")["problems"][0]
    with pytest.raises(UserError, match="modle"):
        mcp_tools.check_config("modle: starter")
    for text in ("- a", "just words", ""):
        with pytest.raises(UserError):
            mcp_tools.check_config(text)


@pytest.mark.parametrize(
    "line",
    [
        "data: /etc/passwd",
        "data: [{data: ORG/NAME}, {data: /etc/passwd}]",
        "model: /etc",
        "judge: mine.py:judge",
        "eval_judge: ./judge",
        "reference_model_path: ~/model",
        "guard_suites: [/etc/passwd]",
        "guard_function: mine.py:right",
        "resume_adapter_file: x",
        "output_root: /tmp",
        "trust_remote_code: true",
        "judge_key_env: HOME",
        "notify_env: HOME",
        "lm_studio_name: x",
    ],
)
def test_no_file_of_this_machine_is_reached_by_a_config(studio_home: Path, line: str) -> None:
    key = line.partition(":")[0]
    kept = [each for each in SMALL.splitlines() if not each.startswith(f"{key}:")]
    config = "\n".join([*kept, line])
    assert any(each.startswith(f"{key}: ") for each in mcp_tools.check_config(config)["problems"])
    with pytest.raises(UserError, match=key):
        mcp_tools.start_run(config, "never")
    assert archive.list_runs() == []


def test_without_the_extra_it_is_one_sentence(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_command, "find_spec", lambda name: None)
    status, _, err = command("mcp")
    assert (status, err) == (2, "lora-studio: mcp: it needs `pip install 'lora-studio[mcp]'`\n")


# -- with the library's own client -----------------------------------------------------------------


def connected(home: Path, scene: Callable[[Any], Coroutine[Any, Any, None]], *words: str) -> None:
    """Play a scene with a client of the real program."""

    async def play() -> None:
        mcp = import_module("mcp")
        stdio = import_module("mcp.client.stdio")
        server = mcp.StdioServerParameters(
            command=sys.executable,
            args=["-m", "tui.main", "mcp", *words],
            env={**os.environ, "LORA_STUDIO_HOME": str(home)},
        )
        async with stdio.stdio_client(server) as streams, mcp.ClientSession(*streams) as client:
            await client.initialize()
            await scene(client)

    asyncio.run(play())


def text_of(result: Any) -> str:
    return "".join(each.text for each in result.content)


@installed
def test_another_program_reads_and_may_do_nothing_more(run: Run, studio_home: Path) -> None:
    async def scene(client: Any) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING
        runs = await client.call_tool("list_runs", {})
        assert '"mine"' in text_of(runs)
        wrong = await client.call_tool("show_run", {"run": "mien"})
        assert "the nearest name is 'mine'" in text_of(wrong)
        started = await client.call_tool("start_run", {"config": SMALL, "name": "x"})
        assert "start_run" in text_of(started)  # is unknown

    connected(studio_home, scene)
    assert [each.name for each in archive.list_runs()] == ["mine"]


@installed
def test_a_run_is_started_and_stopped_where_that_was_allowed(studio_home: Path) -> None:
    async def scene(client: Any) -> None:
        assert {tool.name for tool in (await client.list_tools()).tools} == READING | CONTROL
        started = await client.call_tool("start_run", {"config": SMALL, "name": "driven"})
        assert json.loads(text_of(started))["run"] == "driven", text_of(started)
        run = archive.open_run("driven")
        end = time.monotonic() + TIMEOUT
        while not list(run.read(METRICS)) and time.monotonic() < end:
            await asyncio.sleep(0.2)
        stopped = await client.call_tool("control_run", {"run": "driven", "command": "stop"})
        assert "stopped with a checkpoint" in text_of(stopped)

    connected(studio_home, scene, "--allow-control")
    run = archive.open_run("driven")
    assert run.state()["status"] == "stopped"
    assert run.latest_checkpoint()
    assert not list(studio_home.glob("*.yaml"))  # its config is the run's alone
