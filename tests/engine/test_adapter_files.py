"""Runs that start from saved adapters: their shape, their reference, and what is refused."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.data.pairs import Verdict
from engine.errors import UserError
from engine.export import export
from engine.judges.llm import LLMJudge
from engine.model import arrays
from engine.model.adapter_files import WEIGHTS, find, settled, start_of
from engine.model.adapters import add_adapters
from engine.model.load import load
from engine.plan.memory import plan
from engine.runs import archive
from engine.runs.folder import ADAPTERS, LOG, METRICS, START, Run
from engine.session import Session
from engine.settings.schema import Settings
from engine.train.results import fuse_run, write_adapters
from engine.train.roles import load_roles
from engine.trained import load_trained
from tests.engine.small_models import (
    make_model,
    number,
    settings,
    stir,
    write_model,
    write_prompts,
)

pytestmark = pytest.mark.quick


TIMEOUT = 60  # seconds
IDS = mx.array([[5, 90, 30, 7, 41, 110]])
SHAPE = {"rank": 4, "scale": 10.0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    write_model(folder / "policy", scale=1.0)
    write_prompts(folder / "prompts.jsonl", 16)
    for train_type in ("lora", "dora", "full"):
        model = make_model(scale=1.0)
        chosen = settings(train_type=train_type, num_layers=2, lora_parameters=SHAPE)
        add_adapters(model, chosen)
        stir(model, scale=0.02)
        write_adapters(model, chosen, folder / train_type)
    return folder


Choose = Callable[..., Settings]


@pytest.fixture(autouse=True)
def judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge prefers what comes later in the alphabet, so that there is something to learn."""

    def judge(self: LLMJudge, texts: Sequence[Any], names: Any = ()) -> list[Verdict]:
        return [Verdict("first" if text[-2] > text[-1] else "second") for text in texts]

    monkeypatch.setattr(LLMJudge, "judge", judge)


@pytest.fixture
def chosen(files: Path, tmp_path: Path) -> Choose:
    shutil.copytree(files / "lora", tmp_path / "adapters")

    def make(**values: Any) -> Settings:
        given: dict[str, Any] = {
            "model": str(files / "policy"),
            "judge": str(files / "policy"),
            "data": str(files / "prompts.jsonl"),
            "num_layers": 16,
            "resume_adapter_file": str(tmp_path / "adapters"),
            "batch_size": 4,
            "iters": 4,
            "save_every": 2,
            "steps_per_report": 1,
            "max_completion_length": 8,
            "run_name": "mine",
        }
        return settings(**{**given, **values})

    return make


def trained(settings: Settings, run: Run | None = None) -> Run:
    """The run, trained to its end."""
    session = Session(settings, run)
    session.start()
    assert session.join(TIMEOUT)
    assert session.status == "finished", session.error
    assert session.run is not None
    return session.run


def log(run: Run) -> str:
    return (run.path / LOG).read_text()


# -- their shape ---------------------------------------------------------------------------------


def beside(folder: Path, facts: Any, weights: str = WEIGHTS) -> Path:
    """A folder of adapters with this in its adapter_config.json."""
    folder.mkdir(exist_ok=True)
    (folder / weights).write_bytes(b"")
    text = facts if isinstance(facts, str) else json.dumps(facts)
    (folder / "adapter_config.json").write_text(text)
    return folder


MLX_LM = {
    "fine_tune_type": "dora",
    "num_layers": 2,
    "lora_parameters": {"rank": 4, "scale": 10.0, "dropout": 0.1, "keys": ["self_attn.q_proj"]},
    "optimizer": "adam",
}


@pytest.mark.parametrize(
    "facts",
    [
        MLX_LM,
        {k: v for k, v in MLX_LM.items() if k != "fine_tune_type"} | {"train_type": "dora"},
        {"use_dora": True, "lora_layers": 2, "lora_parameters": MLX_LM["lora_parameters"]},
    ],
    ids=["mlx-lm", "mlx-lm-lora", "older"],
)
def test_settings_at_their_default_take_what_the_adapters_have(facts: Any, tmp_path: Path) -> None:
    folder = beside(tmp_path / "a", facts)
    for name in (folder, folder / WEIGHTS):
        told, notes = settled(Settings(resume_adapter_file=str(name), beta=0.3))
        lora = told.lora_parameters
        assert (told.train_type, told.num_layers, told.beta) == ("dora", 2, 0.3)
        assert (lora.rank, lora.scale, lora.keys) == (4, 10.0, ["self_attn.q_proj"])
        assert lora.dropout == 0.0  # is no part of what they are
        assert "lora_parameters.scale is 10.0, as that of the adapters it starts from" in notes
        assert settled(told) == (told, [])


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        ({"lora_parameters": {"scale": 2.0}}, r"scale is 2\.0.* set lora_parameters\.scale: 10\.0"),
        ({"lora_parameters": {"rank": 16}}, r"set lora_parameters\.rank: 4$"),
        ({"lora_parameters": {"keys": ["mlp.up_proj"]}}, r'keys: \["self_attn\.q_proj"\]$'),
        ({"num_layers": 3}, r"set num_layers: 2$"),
        ({"train_type": "full"}, r"set train_type: dora$"),
    ],
)
def test_settings_that_contradict_the_adapters_are_refused(
    values: Any, advice: str, tmp_path: Path
) -> None:
    folder = beside(tmp_path / "a", MLX_LM)
    with pytest.raises(UserError, match=advice):
        settled(Settings(resume_adapter_file=str(folder), **values))


def test_all_layers_are_all_layers(files: Path, tmp_path: Path) -> None:
    """-1, mlx-lm's 0 and any number from the model's three up say the same."""
    for own in (-1, 0, 3, 16):
        folder = beside(tmp_path / "a", {"num_layers": own, "lora_parameters": {}})
        for mine in (-1, 3, 9):
            settled(
                settings(model=str(files / "policy"), num_layers=mine).model_copy(
                    update={"resume_adapter_file": str(folder)}
                )
            )
        with pytest.raises(UserError, match="num_layers"):
            settled(
                settings(model=str(files / "policy"), num_layers=2).model_copy(
                    update={"resume_adapter_file": str(folder)}
                )
            )


def test_full_fine_tuning_goes_on_in_full(tmp_path: Path) -> None:
    folder = beside(tmp_path / "a", {"fine_tune_type": "full", "num_layers": 2})
    told, _ = settled(Settings(resume_adapter_file=str(folder)))
    assert (told.train_type, told.quantization, told.num_layers) == ("full", "none", 2)


def test_what_is_no_adapter_of_ours_is_named(tmp_path: Path) -> None:
    def refused(path: Path, pattern: str) -> None:
        with pytest.raises(UserError, match=f"^resume_adapter_file: .*{pattern}"):
            settled(Settings(resume_adapter_file=str(path)))

    refused(tmp_path / "none.safetensors", "there is no file or folder")
    refused(Path("~nobody-here/adapters"), "there is no file or folder")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", r"has no adapters\.safetensors")
    peft = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    refused(beside(tmp_path / "peft", peft, "adapter_model.safetensors"), "merge_and_unload")
    refused(beside(tmp_path / "renamed", peft), "merge_and_unload")
    refused(beside(tmp_path / "broken", "{"), "cannot be read")
    refused(beside(tmp_path / "list", "[]"), "holds no JSON object")
    folder = beside(tmp_path / "odd", {"lora_parameters": {"rank": "many"}})
    with pytest.raises(UserError, match=r"adapter_config\.json.* lora_parameters\.rank"):
        settled(Settings(resume_adapter_file=str(folder)))


def test_weights_alone_are_taken_with_a_note(files: Path, tmp_path: Path) -> None:
    shutil.copyfile(files / "lora" / WEIGHTS, tmp_path / "alone.safetensors")
    given = Settings(resume_adapter_file=str(tmp_path / "alone.safetensors"))
    told, [note] = settled(given)
    assert told == given
    assert "lora_parameters.scale 20" in note


# -- a run that starts from them -----------------------------------------------------------------


def test_a_run_starts_from_what_it_is_compared_with(chosen: Choose, tmp_path: Path) -> None:
    write_prompts(tmp_path / "many.jsonl", 64)
    data = str(tmp_path / "many.jsonl")
    run = trained(chosen(data=data, eval_prompts=48, steps_per_eval=4, val_batches=-1, fuse=True))
    assert run.settings().lora_parameters.scale == 10.0
    assert "lora_parameters.scale is 10.0" in log(run)
    written = json.loads((run.path / ADAPTERS / "adapter_config.json").read_text())
    assert written["num_layers"] == 2
    assert "self_attn.q_proj" in written["lora_parameters"].pop("keys")
    assert written["lora_parameters"] == {"rank": 4, "scale": 10.0, "dropout": 0.0}
    lines = list(run.read(METRICS))
    assert 0.3 < lines[0]["win_rate"] < 0.7  # of 48, where 24 are expected
    first = next(line for line in lines if line.get("trained_pairs"))
    assert (first["margin"], first["kl"]) == (0.0, 0.0)
    assert any(line.get("margin") for line in lines)
    # A copy of what it started from; Try it compares with the same.
    kept, given = (
        arrays.load(each / WEIGHTS) for each in (run.path / START, tmp_path / "adapters")
    )
    assert kept.keys() == given.keys()
    for name, array in kept.items():
        np.testing.assert_array_equal(np.array(array), np.array(given[name]))
    shutil.rmtree(tmp_path / "adapters")
    both = load_trained(run)
    start = load_roles(run.settings(), start=run.path / START / WEIGHTS).policy
    np.testing.assert_array_equal(np.array(both.reference.model(IDS)), start.model(IDS))
    assert number(mx.abs(both.policy.model(IDS) - both.reference.model(IDS)).max()) > 0
    # The fused model is the base with what was trained, on top of what was there.
    fused, _, _ = load(run.path / "fused", "model", quantization="none")
    np.testing.assert_allclose(
        np.array(fused(IDS)), np.array(both.policy.model(IDS)), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("train_type", ["lora", "dora", "full"])
def test_a_resume_needs_nothing_but_the_run(
    train_type: str, files: Path, chosen: Choose, tmp_path: Path
) -> None:
    """Stopped half way, its adapters gone, a run ends as one that was never stopped."""
    shutil.rmtree(tmp_path / "adapters")
    shutil.copytree(files / train_type, tmp_path / "adapters")
    whole = trained(chosen(run_name="whole"))
    assert whole.settings().train_type == train_type
    half = whole.path.with_name("half")
    shutil.copytree(whole.path, half)
    run = Run(half)
    shutil.rmtree(run.checkpoints()[-1])
    shutil.rmtree(run.path / ADAPTERS)
    shutil.rmtree(tmp_path / "adapters")
    trained(run.settings(), run)
    one, other = (arrays.load(each.path / ADAPTERS / WEIGHTS) for each in (whole, run))
    for name, array in one.items():
        np.testing.assert_array_equal(np.array(array), np.array(other[name]))
    shutil.rmtree(run.path / START)
    with pytest.raises(UserError, match=r"start/adapters\.safetensors is gone"):
        start_of(run, run.settings())


def test_a_checkpoint_tells_its_shape(chosen: Choose) -> None:
    run = trained(chosen())
    file = run.checkpoints()[0] / WEIGHTS
    told, notes = settled(chosen(resume_adapter_file=str(file)))
    assert told.lora_parameters.scale == 10.0
    assert any("scale" in note for note in notes)
    assert find(str(file)) == file


def test_an_export_of_such_a_run_is_whole(chosen: Choose, tmp_path: Path) -> None:
    run = trained(chosen(keep="last"))
    export(run, tmp_path / "out", fuse=False)
    fuse_run(run, tmp_path / "fused")
    again, _ = settled(chosen(resume_adapter_file=str(tmp_path / "out")))
    policy = load_roles(again, start=tmp_path / "out" / WEIGHTS).policy.model
    fused, _, _ = load(tmp_path / "fused", "model", quantization="none")
    np.testing.assert_allclose(np.array(fused(IDS)), np.array(policy(IDS)), rtol=1e-4, atol=1e-4)


def test_a_run_of_an_older_version_keeps_its_reference(chosen: Choose, files: Path) -> None:
    """Its reference was the bare model, and nothing was copied."""
    run = trained(chosen())
    assert run.state()["format"] == run.format == 4
    shutil.rmtree(run.checkpoints()[-1])
    shutil.rmtree(run.path / START)
    state = json.loads((run.path / "run.json").read_text())
    del state["format"]
    (run.path / "run.json").write_text(json.dumps(state))
    trained(run.settings(), run)
    assert "its reference stays the model without the adapters" in log(run)
    assert "it goes on with other completions" in log(run)
    assert "its judge reads pairs in other words now" in log(run)
    assert not (run.path / START).exists()
    assert [line["step"] for line in run.read(METRICS) if line.get("kl")] == [2, 3, 4]
    bare, _, _ = load(files / "policy", "model", quantization="none")
    reference = load_trained(run).reference.model
    np.testing.assert_array_equal(np.array(reference(IDS)), np.array(bare(IDS)))


def test_weights_that_do_not_fit_leave_no_run(chosen: Choose, tmp_path: Path) -> None:
    (tmp_path / "adapters" / "adapter_config.json").unlink()
    session = Session(chosen())
    session.start()
    assert session.join(TIMEOUT)
    assert session.error_is_users
    assert "set num_layers" in (session.error or "")
    assert session.run is not None
    assert not session.run.path.exists()
    with pytest.raises(UserError, match="there is no file"):
        Session(chosen(resume_adapter_file=str(tmp_path / "nothing"))).start()
    assert archive.list_runs() == []


def test_memory_counts_what_a_reference_keeps(chosen: Choose, files: Path) -> None:
    fresh = plan(chosen(resume_adapter_file=None, num_layers=2, lora_parameters=SHAPE))
    from_adapters = plan(chosen())
    assert fresh.reference == 0
    assert from_adapters.adapters == fresh.adapters
    assert from_adapters.reference == fresh.adapters
