"""`lora-studio publish`, against a little hub on this machine."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.runs.folder import Run
from tests.end_to_end import program
from tests.end_to_end.little_hub import LARGE, TOKEN, LittleHub

HOSTILE = "`x` <img src=y> ```\n# owned\n\x1b[31m"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with a run that was trained."""
    home = tmp_path_factory.mktemp("home")
    words = program.words(**program.SMALL)
    done = program.run("train", "starter", "--run-name", "mine", *words, home=home)
    assert done.returncode == 0, done.stderr
    return home


@pytest.fixture
def hub() -> Iterator[LittleHub]:
    with LittleHub().running() as hub:
        yield hub


def publish(
    home: Path, hub: LittleHub, *arguments: str, token: str = TOKEN, **environment: str
) -> subprocess.CompletedProcess[str]:
    variables = {
        "HF_ENDPOINT": hub.address,
        "HF_HOME": str(home / "hf"),
        "HF_TOKEN": token,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",  # its own protocol, of a library in Rust
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **environment,
    }
    return program.run("publish", "mine", "--keep", "last", *arguments, home=home, **variables)


def front(card: str) -> dict[str, Any]:
    """What a card says to programs."""
    return yaml.safe_load(card.split("---")[1])


def test_a_dry_run_lists_each_file_and_asks_nobody(home: Path, hub: LittleHub) -> None:
    done = publish(home, hub, "--repo", "me/polite", "--pairs", "--adapters", "--dry-run", token="")
    assert done.returncode == 0, done.stderr
    assert "model: 4 files" in done.stdout
    for name in ("adapters.safetensors", "adapter_config.json", "README.md", "train.jsonl"):
        assert f" {name}\n" in done.stdout
    assert "# mine: preferences" in done.stdout
    assert not hub.tokens  # not one request
    assert not list((home / "runs").glob(".publish-*"))


def test_adapters_and_pairs_are_published_for_their_owner_alone(home: Path, hub: LittleHub) -> None:
    done = publish(home, hub, "--repo", "polite", "--adapters", "--pairs")
    assert done.returncode == 0, done.stderr
    assert "published, for you alone: " in done.stdout
    assert all(repo["private"] for repo in hub.repos.values())
    run = Run(home / "runs" / "mine")
    files = hub.files("model", "me/polite")
    assert (
        files["adapters.safetensors"] == (run.path / "adapters/adapters.safetensors").read_bytes()
    )
    assert files["learning_curves.svg"].startswith(b"<svg")
    card = files["README.md"].decode()
    assert front(card)["library_name"] == "mlx"
    assert "online-dpo" in front(card)["tags"]
    state = run.state()
    assert f"| the judge | {state['win_rate']:.1%} |" in card
    assert "Prefer the correct and polite answer." in card
    assert "hf download me/polite" in card
    assert "| pairs whose verdict flips once the answers are swapped (handled) |" in card
    pairs = hub.files("dataset", "me/polite")
    lines = [json.loads(line) for line in pairs["train.jsonl"].splitlines()]
    chosen = {line["chosen"] for line in run.read("pairs.jsonl")}
    assert {line["chosen"] for line in lines} <= chosen
    assert f"{len(lines):,} pairs of answers" in pairs["README.md"].decode()
    assert front(pairs["README.md"].decode())["configs"][0]["data_files"] == "train.jsonl"
    # The token was used, and is in nothing that was sent or printed or kept.
    assert f"Bearer {TOKEN}" in hub.tokens
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in content for content in (*files.values(), *pairs.values()))


def test_after_a_break_the_same_command_goes_on(home: Path, hub: LittleHub) -> None:
    hub.breaks = 2
    arguments = ("--repo", "me/whole", "--fused")
    broken = publish(home, hub, *arguments)
    assert broken.returncode == 1
    assert "the same command goes on where it broke off" in broken.stderr
    assert len(broken.stderr.splitlines()[-1]) < 300
    assert len(hub.transfers) == 2
    assert hub.files("model", "me/whole") == {}  # nothing half
    done = publish(home, hub, *arguments)
    assert done.returncode == 0, done.stderr
    assert len(hub.transfers) == len(set(hub.transfers))  # nothing was sent twice
    files = hub.files("model", "me/whole")
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= files.keys()
    large = [name for name, content in files.items() if len(content) >= LARGE]
    assert len(hub.transfers) == len(large) > 2


def test_what_is_public_is_so_by_intent_alone(home: Path, hub: LittleHub) -> None:
    hub.repos["models/me/open"] = {"private": False, "files": {}}
    refused = publish(home, hub, "--repo", "me/open")
    assert refused.returncode == 2
    assert "is public; publish for all to see (--public)" in refused.stderr
    assert hub.files("model", "me/open") == {}
    done = publish(home, hub, "--repo", "me/new", "--public")
    assert done.returncode == 0, done.stderr
    assert not hub.repos["models/me/new"]["private"]


def test_what_cannot_be_is_one_sentence(home: Path, hub: LittleHub) -> None:
    for arguments, environment, words in (
        (("--repo", "me/x y"), {}, "--repo me/x y: write it as NAME or OWNER/NAME"),
        (("--repo", "me/x"), {"token": ""}, "there is no token for the hub; run `hf auth login`"),
        (("--repo", "me/x"), {"token": "hf_other"}, "the hub refuses the token (status 401"),
        (("--repo", "me/x"), {"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE is set"),
        (("--repo", "me/x", "--gguf", "q9"), {}, "q9"),
    ):
        done = publish(home, hub, *arguments, **environment)
        assert done.returncode == 2, done.stderr
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert "hf_other" not in done.stderr
    assert hub.repos == {}


def test_no_untrusted_text_marks_anything_up(home: Path, hub: LittleHub, tmp_path: Path) -> None:
    """Nor is a folder of this machine named."""
    run = Run(home / "runs" / "mine")
    state = run.state()
    config = (run.path / "config.yaml").read_text()
    examples = [{"prompt": HOSTILE, "before": HOSTILE, "after": HOSTILE}]
    guard = [{"suite": HOSTILE, "items": 4, "kept": 3, "gained": 1, "lost": 0, "p": None}]
    secret = tmp_path / "a-folder-of-mine"
    secret.mkdir()
    text = config.replace("\ndata: starter", f"\ndata: {secret}")
    assert text != config
    try:
        run.update(examples=examples, guard=guard)
        (run.path / "config.yaml").write_text(text)
        done = publish(home, hub, "--repo", "me/hostile", "--dry-run")
    finally:
        run.update(examples=state["examples"], guard=state.get("guard"))
        (run.path / "config.yaml").write_text(config)
    assert done.returncode == 0, done.stderr
    out = done.stdout
    assert "\x1b" not in out
    assert str(tmp_path) not in out
    assert "a-folder-of-mine" in out  # its name alone
    blocks, marked = [], []  # lines within blocks of code, and others
    fence = ""
    for line in out.splitlines():
        if not fence and line.startswith("```"):
            fence = line[: len(line) - len(line.lstrip("`"))]
        elif fence and line.strip() == fence:
            fence = ""
        else:
            (blocks if fence else marked).append(line)
    assert "# owned" in blocks  # as it was written, where it is no heading
    assert "# owned" not in marked
    assert not any("<img" in line for line in marked)
    assert any(r"\`x\` &lt;img src=y&gt;" in line for line in marked)
