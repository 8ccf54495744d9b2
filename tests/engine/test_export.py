"""What a run leaves: adapters and fused models that other programs load, the same in effect."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx_lm import load as load_with_mlx_lm
from mlx_lm.models import qwen3
from mlx_lm.utils import dequantize_model

from engine.errors import UserError
from engine.export import QUANTIZED, export, mlx_lines
from engine.machine.backend import backend
from engine.model import arrays, files, load
from engine.model.adapters import add_adapters
from engine.model.locate import locate
from engine.model.quantizations import QUANTIZATIONS
from engine.runs import archive
from engine.runs.folder import ADAPTERS, CONFIG, Run
from engine.runs.storage import StorageError
from engine.settings.schema import Settings
from engine.settings.sections.fine_tune import Quantization
from engine.starter import POLICY
from engine.train.results import (
    fuse_run,
    publish_to_lm_studio,
    readers,
    trained_weights,
    write_adapters,
)
from engine.train.state import WEIGHTS
from tests.command import Command
from tests.engine.small_models import number
from tests.engine.zoo import write_architecture

IDS = mx.array([[5, 90, 200, 7, 41, 110]])


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose layers are wide enough to be quantised, with a real tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    config = json.loads((POLICY / "config.json").read_text())
    config |= {"hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 3}
    mx.random.seed(0)
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    model.set_dtype(mx.float16)
    arrays.save(folder / "model.safetensors", arrays.flat(model.parameters()))
    (folder / "config.json").write_text(json.dumps(config))
    for file in POLICY.iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json":
            shutil.copyfile(file, folder / file.name)
    return folder


def trained(base: Path | str, amount: float = 0.05, **changes: Any) -> tuple[Run, nn.Module]:
    """A run with adapters that matter, as a trainer leaves them, and its policy in memory."""
    given: dict[str, Any] = {
        "model": str(base),
        "judge": "human",
        "data": "starter",
        "num_layers": 2,
        "quantization": "none",
        "lora_parameters": {"rank": 4, "scale": 8.0},
        "run_name": "trial",
    }
    settings = Settings(**given | changes)
    run = archive.create(settings)
    folder = locate(settings.model, "model")
    model, _, _ = load.load(folder, "model", quantization=settings.quantization)
    mx.random.seed(1)
    add_adapters(model, settings)
    learned = {
        name: array + amount * mx.random.normal(array.shape)
        for name, array in arrays.flat(model.trainable_parameters()).items()
    }
    model.update(arrays.tree(learned))
    mx.eval(model.parameters())
    write_adapters(model, settings, run.path / ADAPTERS)
    return run, model


def logits(folder: Path, adapters: Path | None = None) -> mx.array:
    """What mlx-lm computes from a model folder."""
    loaded: Any = load_with_mlx_lm(str(folder), adapter_path=str(adapters) if adapters else None)
    return loaded[0](IDS).astype(mx.float32)


def distance(one: mx.array, other: mx.array) -> float:
    """Largest difference as a share of the spread."""
    return float(mx.abs(one - other).max()) / float(mx.abs(other).max())


def weight_distance(packed: Path, plain: Path) -> float:
    """Largest distance between the weights of a packed and a plain model folder."""
    loaded: Any = load_with_mlx_lm(str(packed), lazy=True)
    unpacked = arrays.flat(dequantize_model(loaded[0]).parameters())
    return max(
        distance(unpacked[name].astype(mx.float32), array.astype(mx.float32))
        for name, array in arrays.load(plain / "model.safetensors").items()
    )


METHODS: list[dict[str, Any]] = [
    {"train_type": "lora"},
    {"train_type": "dora"},
    {"train_type": "full"},
    {"train_type": "lora", "num_layers": -1},
    {"train_type": "lora", "lora_parameters": {"rank": 4, "scale": 8.0, "keys": ["mlp.up_proj"]}},
]


@pytest.mark.parametrize("method", METHODS)
def test_adapters_and_the_fused_model_do_in_mlx_lm_what_the_policy_does(
    base: Path, tmp_path: Path, method: dict[str, Any]
):
    run, policy = trained(base, **method)
    expected = policy(IDS)
    assert distance(logits(base), expected) > 0.05  # the training shows
    assert distance(logits(base, run.path / ADAPTERS), expected) < 0.02
    exported = export(run, tmp_path / "adapters", fuse=False)
    assert distance(logits(base, exported), expected) < 0.02
    fused = export(run, tmp_path / "fused", fuse=True)
    assert distance(logits(fused), expected) < 0.02


@pytest.mark.parametrize("quantization", ["4-bit", "6-bit", "8-bit", "mxfp4"])
@pytest.mark.parametrize("train_type", ["lora", "dora"])
def test_a_quantised_policy_is_fused_as_it_was_trained(
    base: Path, tmp_path: Path, quantization: str, train_type: str
):
    if backend() != "cpu" and (quantization, train_type) == ("6-bit", "dora"):
        pytest.skip("mlx-lm has no DoRA on 6-bit layers")
    run, policy = trained(base, quantization=quantization, train_type=train_type)
    plain = fuse_run(run, tmp_path / "plain", dequantize=True)
    assert distance(logits(plain), policy(IDS)) < 0.02
    assert "quantization" not in json.loads((plain / "config.json").read_text())
    packed = fuse_run(run, tmp_path / "packed", dequantize=False)
    assert json.loads((packed / "config.json").read_text())["quantization"]
    assert (packed / "model.safetensors").stat().st_size < 0.8 * (
        plain / "model.safetensors"
    ).stat().st_size
    # One step of a group whose values lie on both sides of zero; mxfp4's steps are uneven.
    step = {"4-bit": 2 / 15, "6-bit": 2 / 63, "8-bit": 2 / 255, "mxfp4": 1 / 3}[quantization]
    assert weight_distance(packed, plain) < step


def predictions(model: Any) -> mx.array:
    """Log-probabilities of every token at every place, computed in float32."""
    model.set_dtype(mx.float32)
    logits = model(IDS)
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def divergence(one: mx.array, other: mx.array) -> float:
    """Mean Kullback-Leibler divergence of predictions, in nats a token."""
    return number((mx.exp(one) * (one - other)).sum(axis=-1).mean())


@pytest.mark.parametrize(
    ("quantization", "train_type", "amount"),
    [
        *((form, kind, 0.003) for form in QUANTIZATIONS for kind in ("lora", "dora")),
        ("4-bit", "lora", 0.05),
        ("4-bit", "lora", 0.0005),
    ],
)
def test_what_was_trained_is_in_the_quantised_model(
    base: Path, tmp_path: Path, quantization: Quantization, train_type: str, amount: float
):
    """However little that was. On a CPU alone, where the policy is in float32."""
    if backend() != "cpu":
        pytest.skip("the policy is in half precision")
    run, policy = trained(base, amount, quantization=quantization, train_type=train_type)
    start, _, _ = load.load(base, "model", quantization=quantization)
    said: list[str] = []
    packed = fuse_run(run, tmp_path / "packed", dequantize=False, say=said.append)
    loaded: Any = load_with_mlx_lm(str(packed))
    fused = loaded[0]
    wanted = predictions(policy)
    lost = divergence(wanted, predictions(fused))
    assert lost < 0.03 * divergence(wanted, predictions(start))
    # What is said was done, and nothing else.
    forms = json.loads((packed / "config.json").read_text())["quantization"]
    modules = {path: module for path, module in fused.named_modules() if "weight" in module}
    wide = [path for path, form in forms.items() if form is False]
    eight = [path for path, form in forms.items() if isinstance(form, dict)]
    assert not any(".layers.0." in path for path in wide + eight)  # two of three are trained
    assert not any(hasattr(modules[path], "bits") for path in wide)
    assert all(modules[path].bits == 8 for path in eight)
    for layers, how in ((eight, "in 8 bits"), (wide, "unquantised")):
        assert (f"{len(layers)} {how}" in said[0]) == bool(layers)
    assert bool(wide) == (amount < 0.001)
    untouched = [module for path, module in modules.items() if path not in forms]
    bits = {module.bits for module in untouched if hasattr(module, "bits")}
    assert bits == {QUANTIZATIONS[quantization]["bits"]}


def test_a_layer_that_learned_nothing_stays_as_it_was(base: Path, tmp_path: Path):
    for train_type in ("lora", "dora"):
        run, _ = trained(
            base, 0.0, quantization="4-bit", train_type=train_type, run_name=f"run-{train_type}"
        )
        packed = fuse_run(run, tmp_path / train_type, dequantize=False)
        loaded: Any = load_with_mlx_lm(str(base))
        load.quantize(loaded[0], "4-bit")
        before, after = (
            arrays.flat(loaded[0].parameters()),
            arrays.load(packed / "model.safetensors"),
        )
        assert before.keys() == after.keys()
        assert all(mx.array_equal(array, after[name]) for name, array in before.items())


def test_every_quantised_layer_is_unpacked(tmp_path: Path):
    """The latent attention of DeepSeek-V3 has layers of a kind of its own."""
    folder = write_architecture(tmp_path / "model", "deepseek_v3")
    run, policy = trained(folder, quantization="mxfp4")
    plain = fuse_run(run, tmp_path / "plain", dequantize=True)
    assert distance(logits(plain), policy(IDS)) < 1e-4
    packed = fuse_run(run, tmp_path / "packed", dequantize=False)
    assert distance(logits(packed), policy(IDS)) < 0.02


def test_adapters_say_which_layers_have_none(tmp_path: Path):
    folder = write_architecture(tmp_path / "model", "gemma3n")
    run, policy = trained(folder, num_layers=-1)
    expected = policy(IDS)
    exported = export(run, tmp_path / "adapters", fuse=False)
    for place in (run.path / ADAPTERS, exported):
        keys = json.loads((place / "adapter_config.json").read_text())["lora_parameters"]["keys"]
        assert "altup.modality_router" in keys
        assert "altup.prediction_coefs" not in keys
        assert distance(logits(folder, place), expected) < 1e-4


def test_a_damaged_adapter_file_is_not_exported(base: Path, tmp_path: Path):
    run, _ = trained(base)
    (run.path / ADAPTERS / WEIGHTS).write_bytes(b"broken")
    with pytest.raises(UserError, match="is no safetensors file"):
        export(run, tmp_path / "out", fuse=False)
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_packed_already_is_fused_either_way(base: Path, tmp_path: Path):
    loaded: Any = load_with_mlx_lm(str(base), return_config=True)
    model, _, config = loaded
    nn.quantize(model, group_size=64, bits=4)
    packed_base = tmp_path / "base"
    shutil.copytree(base, packed_base)
    arrays.save(packed_base / "model.safetensors", arrays.flat(model.parameters()))
    config["quantization"] = {"group_size": 64, "bits": 4}
    (packed_base / "config.json").write_text(json.dumps(config))
    run, policy = trained(packed_base, quantization="4-bit")
    plain = fuse_run(run, tmp_path / "plain", dequantize=True)
    assert distance(logits(plain), policy(IDS)) < 0.02
    packed = fuse_run(run, tmp_path / "packed", dequantize=False)
    assert weight_distance(packed, plain) < 2 / 15
    before = arrays.load(packed_base / "model.safetensors")
    after = arrays.load(packed / "model.safetensors")
    untouched = "model.layers.0.mlp.up_proj.weight"  # below the two layers that were trained
    assert mx.array_equal(before[untouched], after[untouched])


def test_the_fused_model_is_laid_out_as_its_base(base: Path, tmp_path: Path):
    """So that whatever loads the one loads the other."""
    run, _ = trained(base)
    fused = export(run, tmp_path / "fused", fuse=True)
    before, after = (arrays.load(folder / "model.safetensors") for folder in (base, fused))
    assert {name: (array.shape, array.dtype) for name, array in before.items()} == {
        name: (array.shape, array.dtype) for name, array in after.items()
    }
    configs = [json.loads((folder / "config.json").read_text()) for folder in (base, fused)]
    added = {"dtype", "rope_parameters", "rope_scaling"}  # the new and the old form beside it
    assert configs[0].items() <= configs[1].items()
    assert configs[1].keys() - configs[0].keys() <= added
    for file in base.iterdir():
        if file.name not in ("config.json", "model.safetensors"):
            assert (fused / file.name).read_bytes() == file.read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_transformers_loads_the_fused_model(base: Path, tmp_path: Path):
    from transformers import AutoConfig, AutoTokenizer

    run, policy = trained(base)
    fused = export(run, tmp_path / "fused", fuse=True)
    assert AutoConfig.from_pretrained(fused).model_type == "qwen3"
    message = [{"role": "user", "content": "Hello."}]
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (POLICY, fused)]
    first, second = (each.apply_chat_template(message)["input_ids"] for each in tokenizers)
    assert first == second
    torch = pytest.importorskip("torch", reason="weights need PyTorch, which is not installed")
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(fused, dtype=torch.float32)
    with torch.no_grad():
        found = mx.array(model(torch.tensor(IDS.tolist())).logits.numpy())
    assert distance(found, policy(IDS)) < 0.02


def generate(model: Path, *more: str) -> str:
    command = [sys.executable, "-m", "mlx_lm", "generate", "--model", str(model), *more]
    command += ["--prompt", "What is the capital of France?", "--max-tokens", "12", "--temp", "0"]
    environment = {**os.environ, "LORA_STUDIO_BLAS": "none", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    _, text, _ = done.stdout.split("==========")
    return text.strip()


def test_a_run_of_the_starter_generates_in_mlx_lm(tmp_path: Path):
    run, _ = trained("starter", amount=0.2, num_layers=-1)
    adapters = export(run, tmp_path / "adapters", fuse=False)
    fused = export(run, tmp_path / "fused", fuse=True)
    written = generate(POLICY, "--adapter-path", str(adapters))
    assert written
    assert generate(fused) == written
    assert generate(POLICY) != written


# -- where weights come from, and where they go --------------------------------------------------


def test_the_newest_checkpoint_is_what_is_exported(base: Path, tmp_path: Path):
    run, policy = trained(base)
    assert trained_weights(run).file == run.path / ADAPTERS / WEIGHTS
    doubled = {k: 2 * v for k, v in arrays.flat(policy.trainable_parameters()).items()}
    with run.checkpoint_folder(7) as folder:
        arrays.save(folder / WEIGHTS, doubled)
    exported = export(run, tmp_path / "adapters", fuse=False)
    found = arrays.load(exported / WEIGHTS)
    assert all(mx.array_equal(found[name], array) for name, array in doubled.items())


def test_a_run_without_weights_says_so(base: Path, tmp_path: Path):
    run = archive.create(Settings(model=str(base), run_name="empty"))
    for fuse in (True, False):
        with pytest.raises(UserError, match="'empty' has no trained weights yet"):
            export(run, tmp_path / "out", fuse=fuse)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fuse", [True, False])
def test_a_folder_with_something_in_it_is_left_alone(base: Path, tmp_path: Path, fuse: bool):
    run, _ = trained(base)
    out = tmp_path / "out"
    out.mkdir()
    (out / "precious").write_text("keep me")
    with pytest.raises(UserError, match="is there already"):
        export(run, out, fuse=fuse)
    assert os.listdir(out) == ["precious"]
    (out / "precious").unlink()
    export(run, out, fuse=fuse)
    assert (out / ("config.json" if fuse else WEIGHTS)).is_file()


@pytest.mark.parametrize("fuse", [True, False])
def test_an_export_removes_nothing_beside_it(base: Path, tmp_path: Path, fuse: bool):
    run, _ = trained(base)
    for name in (".out.tmp", ".out.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "precious").write_text(name)
    export(run, tmp_path / "out", fuse=fuse)
    assert sorted(os.listdir(tmp_path)) == [".out.old", ".out.tmp", "out"]
    for name in (".out.tmp", ".out.old"):
        assert (tmp_path / name / "precious").read_text() == name


def test_an_export_through_a_link_is_where_the_link_leads(base: Path, tmp_path: Path):
    run, _ = trained(base)
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    export(run, tmp_path / "out", fuse=False)
    assert (tmp_path / "disk" / WEIGHTS).is_file()
    assert (tmp_path / "out").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["disk", "out"]


def test_a_failed_export_leaves_nothing_and_a_replaced_one_its_old_self(base: Path, tmp_path: Path):
    run, _ = trained(base)
    fused = fuse_run(run, tmp_path / "fused")
    before = (fused / "model.safetensors").read_bytes()
    weights = run.path / ADAPTERS / WEIGHTS
    weights.write_bytes(b"broken")
    with pytest.raises(UserError, match="no safetensors file"):
        fuse_run(run, tmp_path / "fused", replace=True)
    with pytest.raises(UserError, match="no safetensors file"):
        fuse_run(run, tmp_path / "other")
    assert (fused / "model.safetensors").read_bytes() == before
    assert os.listdir(tmp_path) == ["fused"]


def test_lm_studio_finds_the_model_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    model = tmp_path / "fused"
    model.mkdir()
    (model / "config.json").write_text("{}")
    assert publish_to_lm_studio(model, "my model") == (
        tmp_path / ".lmstudio" / "models" / "lora-studio" / "my-model"
    )
    moved = tmp_path / "moved"
    (tmp_path / ".lmstudio-home-pointer").write_text(f"{moved}\n")
    for _ in range(2):
        placed = publish_to_lm_studio(model, "../me/a/b")
        assert placed == moved / "models" / "me-a" / "b"
        assert os.listdir(placed) == ["config.json"]


@pytest.mark.parametrize("fuse", [True, False])
def test_a_full_disk_keeps_no_half_of_an_export(
    base: Path, small_disk: Path, fill_disk: Callable[[], Path], fuse: bool
):
    run, _ = trained(base)
    ballast = fill_disk()
    with pytest.raises(StorageError, match="free some space"):
        export(run, small_disk / "out", fuse=fuse)
    assert os.listdir(small_disk) == ["ballast"]
    ballast.unlink()
    export(run, small_disk / "out", fuse=fuse)
    assert os.listdir(small_disk) == ["out"]


def test_an_export_says_who_reads_the_model(base: Path, tmp_path: Path, command: Command) -> None:
    run, _ = trained(base, quantization="8-bit")
    done = command("export", run.name, "--to", str(tmp_path / "plain"), "--fuse")
    assert done.status == 0
    assert done.out.splitlines()[1].startswith("mlx-lm reads it, and transformers where")
    packed = fuse_run(run, tmp_path / "packed", dequantize=False)
    assert readers(run, packed).startswith("mlx-lm only")


@pytest.mark.parametrize("fuse", [True, False])
def test_an_export_of_a_run_that_learned_nothing_says_so(
    fuse: bool, base: Path, tmp_path: Path, command: Command
) -> None:
    run, _ = trained(base)
    for status in ("finished", "untrained"):
        run.update(status=status)
        to = str(tmp_path / status)
        done = command("export", run.name, "--to", to, *(["--fuse"] if fuse else []))
        assert done.status == 0
        assert ("note: 'trial' learned nothing" in done.err) == (status == "untrained")


def test_a_run_of_a_newer_version_is_shown_and_exported_but_not_gone_on_with(
    base: Path, tmp_path: Path, command: Command
):
    run, policy = trained(base)
    config = run.path / CONFIG
    newer = config.read_text().replace("lora_parameters:", "lora_parameters:\n  shape: round")
    config.write_text(f"{newer}\nshiny: [1, 2]\n")
    notes = [
        "'lora_parameters.shape' is no setting of this version, and is left out",
        "'shiny' is no setting of this version, and is left out",
    ]
    shown = command("runs", "show", "trial")
    assert shown.status == 0
    assert [line for line in shown.out.splitlines() if "note: " in line] == [
        f"  note: {note}" for note in notes
    ]
    told = json.loads(command("runs", "show", "trial", "--json").out)
    assert told["notes_on_settings"] == notes
    assert told["settings"]["lora_parameters"]["rank"] == 4
    for fuse in ([], ["--fuse"]):
        done = command("export", "trial", "--to", str(tmp_path / f"out{len(fuse)}"), *fuse)
        *told, last = done.err.splitlines()
        assert (done.status, told) == (0, [f"note: {note}" for note in notes])
        assert last.endswith(", the last")  # which step's weights these are
    assert distance(logits(tmp_path / "out1"), policy(IDS)) < 0.02
    resumed = command("resume", "trial")
    assert resumed.status == 2
    assert "there is no setting 'lora_parameters.shape'" in resumed.err


# -- quantised on the way out --------------------------------------------------------------------


@pytest.mark.parametrize("quantization", QUANTIZED)
def test_a_model_is_quantised_at_export_and_keeps_its_training(
    base: Path, tmp_path: Path, quantization: Quantization
):
    """The same as of a run that trained on weights quantised so."""
    if backend() != "cpu":
        pytest.skip("the policy is in half precision")
    run, _ = trained(base, 0.003)
    said: list[str] = []
    packed = export(run, tmp_path / "packed", fuse=True, quantize=quantization, say=said.append)
    config = json.loads((packed / "config.json").read_text())
    assert config["quantization"]["bits"] == QUANTIZATIONS[quantization]["bits"]
    assert "trained layers are kept with more bits" in said[0]
    _, wanted = trained(base, 0.003, quantization=quantization, run_name="other")
    start, _, _ = load.load(base, "model", quantization=quantization)
    loaded: Any = load_with_mlx_lm(str(packed))
    expected = predictions(wanted)
    lost = divergence(expected, predictions(loaded[0]))
    assert lost < 0.03 * divergence(expected, predictions(start))


def test_what_cannot_be_quantised_at_export_is_refused(
    base: Path, tmp_path: Path, command: Command
) -> None:
    trained(base)
    trained(base, train_type="full", run_name="whole")
    packed = tmp_path / "packed"
    shutil.copytree(base, packed)
    config = json.loads((packed / "config.json").read_text())
    loaded: Any = load_with_mlx_lm(str(base))
    nn.quantize(loaded[0], group_size=64, bits=4)
    arrays.save(packed / "model.safetensors", arrays.flat(loaded[0].parameters()))
    config["quantization"] = {"group_size": 64, "bits": 4}
    (packed / "config.json").write_text(json.dumps(config))
    trained(packed, run_name="four")
    for name, form, reason in (
        ("trial", "5-bit", "there is no form '5-bit'; choose one of 4-bit, 8-bit"),
        ("whole", "4-bit", "'whole' trained the weights themselves"),
        ("four", "8-bit", "is quantised already, in 4 bits"),
    ):
        done = command("export", name, "--to", str(tmp_path / "out"), "--quantize", form)
        assert done.status == 2
        assert reason in done.err
        assert done.err.count("\n") == 1
    assert not (tmp_path / "out").exists()
    done = command("export", "four", "--to", str(tmp_path / "out"), "--quantize", "4-bit")
    assert done.status == 0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["quantization"]["bits"] == 4


def test_an_export_says_how_it_is_run(base: Path, tmp_path: Path, command: Command) -> None:
    trained(base)
    for option in (["--fuse"], []):
        to = tmp_path / f"to {'fused' if option else 'adapters'}"
        done = command("export", "trial", "--to", str(to), *option)
        lines = [line.strip() for line in done.out.splitlines() if line.startswith("  ")]
        given = f"--model '{to}'" if option else f"--model {base} --adapter-path '{to}'"
        assert [line.split()[0] for line in lines] == [
            "mlx_lm.generate",
            "mlx_lm.chat",
            "mlx_lm.server",
        ]
        assert all(given in line for line in lines)
        about = (to / "README.md").read_text()
        assert "mlx_lm.chat" in about
        assert str(to) not in about  # it may be moved


def test_a_model_that_a_package_brought_is_named_by_its_folder() -> None:
    """Its id would be asked of the hub, which may be out of reach, and has other weights."""
    name = "HuggingFaceTB/SmolLM2-135M-Instruct"
    run = archive.create(Settings(model=name, judge="human", data="starter", run_name="trial"))
    line, *_ = mlx_lines(run, "to", fuse=False)
    assert f"--model {name} " in line  # nothing of it is here
    files.unpacked(name).mkdir(parents=True)
    for line in mlx_lines(run, "to", fuse=False):
        assert f"--model {files.unpacked(name)} " in line
