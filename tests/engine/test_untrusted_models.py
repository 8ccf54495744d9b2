"""Model folders that bring code, pickles or broken tensors; and hub tokens, never kept."""

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.errors import UserError
from engine.events import Event
from engine.runs import archive
from engine.session import Session
from engine.settings.schema import Settings
from engine.train.roles import load_roles
from tests.engine.small_models import settings, write_model, write_prompts

EVIL = "from pathlib import Path\nPath({mark!r}).write_text('it ran')\nraise SystemExit\n"


@pytest.fixture
def mark(tmp_path: Path) -> Iterator[Path]:
    """A file that the code of a model folder would leave; it never may."""
    file = tmp_path / "mark"
    yield file
    assert not file.exists(), "code of the model folder ran"


class Payload:
    """What runs code when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.write_text, (self.mark, "it ran")


def change(file: Path, **fields: Any) -> None:
    """Set fields of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def own_model(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    change(folder / "config.json", model_file="evil.py")


def own_tokenizer(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    change(
        folder / "tokenizer_config.json",
        tokenizer_class="Evil",
        auto_map={"AutoTokenizer": ["evil.Evil", None]},
    )


def unknown_model(folder: Path, mark: Path) -> None:
    (folder / "evil.py").write_text(EVIL.format(mark=str(mark)))
    auto_map = {"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"}
    change(folder / "config.json", model_type="evil", auto_map=auto_map)


def pickles(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pkl"):
        (folder / name).write_bytes(pickle.dumps(Payload(mark)))


def pickled_safetensors(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").write_bytes(pickle.dumps(Payload(mark)))


def cut_short(folder: Path, mark: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def missing_tensor(folder: Path, mark: Path) -> None:
    from engine.model import arrays

    weights = arrays.load(folder / "model.safetensors")
    weights.pop(next(name for name in weights if "embed" in name))
    arrays.save(folder / "model.safetensors", weights)


def huge_header(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")


KINDS: dict[Callable[[Path, Path], None], str] = {
    own_model: "trust_remote_code",
    unknown_model: "evil",
    pickles: "pickle",
    pickled_safetensors: "cannot be loaded",
    cut_short: "cannot be loaded",
    missing_tensor: "cannot be loaded",
    huge_header: "cannot be loaded",
}


@pytest.mark.parametrize("role", ["model", "judge", "reference_model_path"])
@pytest.mark.parametrize("spoil", KINDS, ids=lambda spoil: spoil.__name__)
def test_a_harmful_model_is_refused_with_the_reason(
    spoil: Callable[[Path, Path], None], role: str, tmp_path: Path, mark: Path
) -> None:
    good, bad = write_model(tmp_path / "good"), write_model(tmp_path / "bad")
    spoil(bad, mark)
    values = {"model": str(good), "judge": "human", role: str(bad)}
    with pytest.raises(UserError) as refused:
        load_roles(settings(**values))
    sentence = str(refused.value)
    assert sentence.startswith(f"{role}: ")
    assert KINDS[spoil] in sentence
    assert sentence.isprintable()


def test_code_that_is_not_needed_does_not_run(tmp_path: Path, mark: Path) -> None:
    folder = write_model(tmp_path / "model")
    own_tokenizer(folder, mark)
    (folder / "training_args.bin").write_bytes(pickle.dumps(Payload(mark)))
    [note] = load_roles(settings(model=str(folder), judge="human")).notes
    assert note == f"model: evil.py in {folder} is not run: trust_remote_code is off"


def test_trust_remote_code_is_off_unless_it_is_set() -> None:
    assert Settings().trust_remote_code is False


def test_trusted_code_runs(tmp_path: Path) -> None:
    folder, ran = write_model(tmp_path / "model"), tmp_path / "ran"
    source = f"from mlx_lm.models.qwen3 import *\nopen({str(ran)!r}, 'w').close()\n"
    (folder / "mine.py").write_text(source)
    change(folder / "config.json", model_file="mine.py")
    trusted = settings(model=str(folder), judge="human", trust_remote_code=True)
    assert load_roles(trusted).notes == []
    assert ran.exists()


# -- tokens of a hub -----------------------------------------------------------------------------

TOKEN = "hf_" + "Zx9" * 11


@pytest.fixture
def with_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person who is logged in to the hub, in every way there is."""
    (tmp_path / "hub").mkdir()
    (tmp_path / "hub" / "token").write_text(TOKEN)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN"):
        monkeypatch.setenv(name, TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path


def everything(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.rglob("*") if each.is_file())


def test_a_token_is_nowhere_in_a_run(with_token: Path, studio_home: Path) -> None:
    model = write_model(with_token / "model", scale=1.0)
    data = write_prompts(with_token / "prompts.jsonl", 6)
    values = {"model": str(model), "judge": str(model), "data": str(data), "iters": 1}
    session = Session(settings(**values, run_name="run", eval_prompts=2, max_completion_length=2))
    session.start()
    assert session.join(120)
    events: list[Event] = session.drain()
    assert session.status in ("finished", "untrained"), session.error
    assert TOKEN not in repr(events)
    assert TOKEN.encode() not in everything(studio_home)


@pytest.mark.parametrize("key", ["model", "judge", "data"])
def test_a_token_inside_an_address_is_neither_kept_nor_said(
    key: str, with_token: Path, studio_home: Path
) -> None:
    model = write_model(with_token / "model")
    data = write_prompts(with_token / "prompts.jsonl", 6)
    values = {"model": str(model), "judge": "human", "data": str(data)}
    address = f"https://user:{TOKEN}@huggingface.co/some/model"
    said = ""
    try:
        session = Session(settings(**values | {key: address}, run_name="run"))
        session.start()
        assert session.join(120)
        said = f"{session.error} {session.drain()!r}"
    except UserError as error:
        said = str(error)
    assert said
    assert TOKEN not in said
    assert TOKEN.encode() not in everything(studio_home)
    assert not any(TOKEN in str(row) for row in archive.list_runs())


def test_a_token_in_an_error_of_a_library_is_hidden(
    with_token: Path, studio_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> bool:
        raise RuntimeError(f"GET https://me:secret@hub.example/x failed with {TOKEN}")

    monkeypatch.setattr("engine.train.assemble.train", broken)
    session = Session(settings(model="starter", judge="human", data="starter", run_name="run"))
    session.start()
    assert session.join(120)
    said = f"{session.error} {session.drain()!r}".encode() + everything(studio_home)
    assert b"GET https://" in said
    assert TOKEN.encode() not in said
    assert b"me:secret" not in said
