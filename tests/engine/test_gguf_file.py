"""Models and adapters written as GGUF, read back by the library `gguf` and by the program's own
reader. What llama.cpp computes of them is compared in `tests/interop/test_llama_cpp.py`."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from engine.errors import UserError
from engine.export import export_gguf, export_gguf_adapter
from engine.model import arrays, load
from engine.model.gguf import convert
from engine.runs.storage import StorageError
from engine.starter import POLICY
from engine.train.results import fuse_run
from tests.command import Command
from tests.engine.small_models import GEMMA2, LLAMA, QWEN2, QWEN3, write_model
from tests.engine.test_peft import trained

LAYOUTS = {"llama": LLAMA, "qwen2": QWEN2, "qwen3": QWEN3}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 64}
IDS = [5, 90, 200, 7, 41, 110]


def with_starter_tokenizer(folder: Path, config: dict[str, Any]) -> Path:
    """A random model whose tokenizer is the starter's, which has merges."""
    write_model(folder, config | {"vocab_size": 1280})
    for file in POLICY.iterdir():
        if file.name.startswith(("tokenizer", "chat_template", "generation")):
            shutil.copyfile(file, folder / file.name)
    (folder / "special_tokens_map.json").unlink(missing_ok=True)
    facts = json.loads((folder / "config.json").read_text()) | {"eos_token_id": 2}
    (folder / "config.json").write_text(json.dumps(facts))
    return folder


def reader(folder: Path) -> Any:
    """The library's view of the one GGUF file in a folder."""
    gguf: Any = pytest.importorskip("gguf")
    (file,) = folder.glob("*.gguf")
    return gguf.GGUFReader(file)


def tensors(folder: Path) -> dict[str, np.ndarray]:
    """The numbers of its tensors, unpacked."""
    gguf: Any = pytest.importorskip("gguf")
    return {
        each.name: gguf.dequantize(each.data, each.tensor_type) for each in reader(folder).tensors
    }


def turned(rows: np.ndarray, heads: int) -> np.ndarray:
    """Row by row: of each head, the first feature of a rotation and then its second."""
    width = len(rows) // heads
    order = [
        head * width + half * width // 2 + turn
        for head in range(heads)
        for turn in range(width // 2)
        for half in (0, 1)
    ]
    return rows[order]


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_gguf_file_holds_the_weights_of_the_fused_model(
    layout: str, kind: str, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    model = with_starter_tokenizer(tmp_path / "model", LAYOUTS[layout] | HEADS)
    run, _ = trained(model)
    export_gguf(run, tmp_path / "gguf", kind)
    found = tensors(tmp_path / "gguf")
    fused = arrays.load(fuse_run(run, tmp_path / "fused") / "model.safetensors")
    weights = {name: np.array(array, np.float32) for name, array in fused.items()}
    expected = {"token_embd.weight": weights.pop("model.embed_tokens.weight")}
    expected["output_norm.weight"] = weights.pop("model.norm.weight")
    if "lm_head.weight" in weights:
        expected["output.weight"] = weights.pop("lm_head.weight")
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
        "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for name, values in weights.items():
        _, _, layer, *path, ending = name.split(".")
        part = parts[".".join(path)]
        if layout == "llama" and part in ("attn_q", "attn_k"):
            values = turned(values, HEADS["num_attention_heads" if part == "attn_q" else
                                          "num_key_value_heads"])  # fmt: skip
        expected[f"blk.{layer}.{part}.{ending}"] = values
    factors = found.pop("rope_freqs.weight", None)
    assert (factors is not None) == (layout == "llama")
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        size = abs(values).max()
        step = {"f16": 1e-3, "q8_0": 1 / 127}[kind] if values.ndim == 2 else 1e-7
        np.testing.assert_allclose(found[name], values, rtol=0, atol=step * size, err_msg=name)


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_the_programs_own_reader_makes_the_trained_model_of_it(kind: str, tmp_path: Path) -> None:
    """It was written for files of others, and undoes the order of rows by itself."""
    pytest.importorskip("gguf")
    plain = {key: value for key, value in LLAMA.items() if key != "rope_scaling"}
    model = with_starter_tokenizer(tmp_path / "model", plain | HEADS)
    tokenizer_config = model / "tokenizer_config.json"
    facts = json.loads(tokenizer_config.read_text()) | {"bos_token": "<|im_start|>"}
    tokenizer_config.write_text(json.dumps(facts))
    run, policy = trained(model)
    export_gguf(run, tmp_path / "gguf", kind)
    (file,) = (tmp_path / "gguf").glob("*.gguf")
    back, tokenizer, _ = load.load(convert(file, tmp_path / "back"), "model", quantization="none")
    expected, found = (np.array(each(mx.array([IDS]))[0]) for each in (policy, back))
    spread = expected.std()
    np.testing.assert_allclose(
        found, expected, rtol=0, atol={"f16": 0.01, "q8_0": 0.1}[kind] * spread
    )
    text = "Is it 1234, or isn't it?  Yes\n\n<|im_end|>"
    own = load.load(model, "model", quantization="none")[1]
    assert tokenizer.encode(text) == own.encode(text)


def test_a_gguf_file_says_what_the_model_and_its_tokenizer_are(tmp_path: Path) -> None:
    run, _ = trained("starter")
    pytest.importorskip("gguf")
    export_gguf(run, tmp_path / "gguf", "f16")
    fields = {name: field.contents() for name, field in reader(tmp_path / "gguf").fields.items()}
    facts = json.loads((POLICY / "config.json").read_text())
    tokenizer = json.loads((POLICY / "tokenizer.json").read_text())
    assert fields["general.architecture"] == "qwen3"
    assert fields["general.name"] == "trial"
    for key, name in (
        ("block_count", "num_hidden_layers"),
        ("embedding_length", "hidden_size"),
        ("feed_forward_length", "intermediate_size"),
        ("attention.head_count", "num_attention_heads"),
        ("attention.head_count_kv", "num_key_value_heads"),
        ("attention.key_length", "head_dim"),
        ("attention.value_length", "head_dim"),
        ("rope.freq_base", "rope_theta"),
        ("context_length", "max_position_embeddings"),
        ("vocab_size", "vocab_size"),
    ):
        assert fields[f"qwen3.{key}"] == facts[name], key
    vocabulary = sorted(tokenizer["model"]["vocab"].items(), key=lambda each: each[1])
    assert fields["tokenizer.ggml.model"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "smollm"
    assert fields["tokenizer.ggml.tokens"] == [token for token, _ in vocabulary]
    assert fields["tokenizer.ggml.token_type"] == [3] * 3 + [1] * 1277
    merges = [each if isinstance(each, str) else " ".join(each)
              for each in tokenizer["model"]["merges"]]  # fmt: skip
    assert fields["tokenizer.ggml.merges"] == merges
    assert fields["tokenizer.ggml.eos_token_id"] == 2
    assert fields["tokenizer.ggml.padding_token_id"] == 0
    assert "tokenizer.ggml.bos_token_id" not in fields
    assert not fields["tokenizer.ggml.add_bos_token"]
    template = (POLICY / "chat_template.jinja").read_text()
    assert fields["tokenizer.chat_template"] == template


@pytest.mark.parametrize("layout", LAYOUTS)
def test_adapters_as_gguf_are_the_change_of_the_fused_model(layout: str, tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = with_starter_tokenizer(tmp_path / "model", LAYOUTS[layout] | HEADS)
    run, _ = trained(model, num_layers=2)
    export_gguf_adapter(run, tmp_path / "gguf")
    fields = {name: field.contents() for name, field in reader(tmp_path / "gguf").fields.items()}
    assert (fields["general.type"], fields["adapter.type"]) == ("adapter", "lora")
    assert fields["adapter.lora.alpha"] == 26  # 4 of rank, 6.5 of scale
    found = tensors(tmp_path / "gguf")
    assert len(found) == 2 * 2 * 7
    before, after = (
        arrays.load(folder / "model.safetensors")
        for folder in (model, fuse_run(run, tmp_path / "fused"))
    )
    for own, path, heads in (
        ("attn_q", "self_attn.q_proj", 4),
        ("attn_k", "self_attn.k_proj", 2),
        ("ffn_down", "mlp.down_proj", 0),
    ):
        name = f"model.layers.2.{path}.weight"
        change = np.array(after[name], np.float32) - np.array(before[name], np.float32)
        change = turned(change, heads) if layout == "llama" and heads else change
        a, b = (found[f"blk.2.{own}.weight.lora_{part}"] for part in "ab")
        np.testing.assert_allclose(26 / 4 * b @ a, change, rtol=0, atol=1e-5)
        assert abs(change).max() > 1e-2


def test_what_is_not_written_as_gguf_is_refused_in_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    folders = {
        "other": write_model(tmp_path / "gemma2", GEMMA2),
        "bytes": write_model(tmp_path / "qwen3", QWEN3),
        "yarn": with_starter_tokenizer(
            tmp_path / "yarn",
            LLAMA | {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
        ),
        "dora": POLICY,
        "full": POLICY,
    }
    changes = {"dora": {"train_type": "dora"}, "full": {"train_type": "full"}}
    for name, reason in (
        ("other", "a model of the kind gemma2 is not written as GGUF here, only llama"),
        ("bytes", "the tokenizer of this model is not written as GGUF: it is no byte-level BPE"),
        ("yarn", r"positions that are scaled \(yarn\) are not written"),
    ):
        run, _ = trained(folders[name], run_name=name)
        with pytest.raises(UserError, match=reason):
            export_gguf(run, tmp_path / "out", "f16")
        assert not list(tmp_path.glob("*out*"))
    for name, reason in (
        ("dora", "llama.cpp has no adapters of the kind dora"),
        ("full", "trained the weights themselves and has no adapters"),
    ):
        run, _ = trained(folders[name], run_name=name, **changes[name])
        with pytest.raises(UserError, match=reason):
            export_gguf_adapter(run, tmp_path / "out")
        assert not list(tmp_path.glob("*out*"))


def test_dora_and_full_training_are_written_as_a_model(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    for kind in ("dora", "full"):
        run, policy = trained("starter", train_type=kind, run_name=kind)
        export_gguf(run, tmp_path / kind, "f16")
        found = tensors(tmp_path / kind)["blk.1.attn_q.weight"]
        if kind == "full":
            weight = np.array(
                arrays.flat(policy.parameters())["model.layers.1.self_attn.q_proj.weight"]
            )
            np.testing.assert_allclose(found, weight, rtol=0, atol=2e-3 * abs(weight).max())
        else:
            fused = arrays.load(fuse_run(run, tmp_path / "fused") / "model.safetensors")
            weight = np.array(fused["model.layers.1.self_attn.q_proj.weight"], np.float32)
            np.testing.assert_allclose(found, weight, rtol=0, atol=1e-3 * abs(weight).max())


def test_a_number_that_half_precision_cannot_hold_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    model = with_starter_tokenizer(tmp_path / "model", QWEN3)
    weights = arrays.load(model / "model.safetensors")
    name = "model.layers.0.mlp.up_proj.weight"
    large = mx.zeros_like(weights[name]) + mx.array(1e6)
    arrays.save(model / "model.safetensors", weights | {name: large})
    run, _ = trained(model)
    with pytest.raises(UserError, match="half precision cannot hold"):
        export_gguf(run, tmp_path / "out", "f16")
    assert not list(tmp_path.glob("*out*"))


def test_the_command_names_a_kind_that_is_not_there(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gguf")
    trained("starter")
    monkeypatch.setenv("PATH", str(tmp_path))
    for kind, reason in (
        ("q3", "there is no kind 'q3'; choose one of q8_0, f16, q4_k_m"),
        ("q4_k_m", "takes llama-quantize of llama.cpp, which is not on the PATH"),
    ):
        done = command("export", "trial", "--to", str(tmp_path / "out"), "--gguf", kind)
        assert done.status == 2
        assert reason in done.err
        assert done.err.count("\n") == 1
    both = command("export", "trial", "--to", str(tmp_path / "out"), "--gguf", "f16", "--peft")
    assert both.status == 2
    assert "--peft and --gguf do not go together" in both.err
    assert not list(tmp_path.iterdir())


def test_without_the_library_the_command_says_how_to_get_it(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained("starter")
    monkeypatch.setitem(sys.modules, "gguf", None)
    for option in (["--gguf", "q8_0"], ["--gguf-adapter"]):
        done = command("export", "trial", "--to", str(tmp_path / "out"), *option)
        assert done.status == 2
        assert f"{option[0]} needs the library gguf" in done.err
        assert "pip install 'lora-studio[gguf]'" in done.err
        assert done.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_four_bits_are_left_to_the_program_of_llama_cpp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given a file in half precision, which does not stay; where it fails nothing does."""
    pytest.importorskip("gguf")
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "llama-quantize"
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    run, _ = trained("starter")
    program.write_text('#!/bin/sh\n[ "$3" = Q4_K_M ] && cp "$1" "$2"\n')
    program.chmod(0o755)
    export_gguf(run, tmp_path / "out", "q4_k_m")
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["Modelfile", "README.md", "trial-q4_k_m.gguf"]
    assert "FROM ./trial-q4_k_m.gguf" in (tmp_path / "out" / "Modelfile").read_text()
    program.write_text("#!/bin/sh\necho it is broken >&2; exit 1\n")
    with pytest.raises(UserError, match="llama-quantize failed: it is broken"):
        export_gguf(run, tmp_path / "other", "q4_k_m")
    assert not list(tmp_path.glob("*other*"))


def test_a_full_disk_keeps_no_half_of_a_gguf_file(
    small_disk: Path, fill_disk: Any, tmp_path: Path
) -> None:
    pytest.importorskip("gguf")
    run, _ = trained("starter")
    ballast = fill_disk()
    with pytest.raises(StorageError, match="free some space"):
        export_gguf(run, small_disk / "out", "f16")
    assert [file.name for file in small_disk.iterdir()] == ["ballast"]
    ballast.unlink()
    export_gguf(run, small_disk / "out", "f16")
    assert [file.name for file in small_disk.iterdir()] == ["out"]
