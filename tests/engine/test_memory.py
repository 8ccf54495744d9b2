"""The plan of a run's memory against what MLX then takes, and what it says when it knows less."""

import http.server
import json
import os
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from mlx_lm.models import qwen3
from mlx_lm.utils import load_model

from engine.compute import choose, limits, sampling
from engine.data.completion import Completion
from engine.data.pairs import JudgedPair, Verdict
from engine.data.prompts import Message, Prompt
from engine.data.sampled import make_pair
from engine.machine import device
from engine.machine.backend import backend
from engine.model import files as model_files
from engine.model import load, packing
from engine.model.adapters import add_adapters, view
from engine.plan import memory
from engine.plan.memory import plan, refusal
from engine.settings.schema import Settings
from engine.train.online_dpo import learn
from engine.train.optimizers import build_optimizer
from engine.train.update import Update

SIZES = {
    "hidden_size": 256,
    "num_hidden_layers": 6,
    "intermediate_size": 640,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "vocab_size": 3000,
    "tie_word_embeddings": True,
}
PROMPT, COMPLETION, BATCH = 96, 48, 4
on_cpu = pytest.mark.skipif(backend() != "cpu", reason="measured on the CPU backend")


def write_model(folder: Path, quantized: bool = False, **sizes: Any) -> Path:
    """A random Qwen3 as a model folder without a tokenizer."""
    config: dict[str, Any] = {
        "model_type": "qwen3",
        "rms_norm_eps": 1e-6,
        "max_position_embeddings": 4096,
        "rope_theta": 1e4,
        **SIZES,
        **sizes,
    }
    model = qwen3.Model(qwen3.ModelArgs.from_dict(config))
    model.set_dtype(mx.bfloat16)
    if quantized:
        nn.quantize(model, group_size=64, bits=4)
        config["quantization"] = {"group_size": 64, "bits": 4}
    folder.mkdir()
    mx.save_safetensors(str(folder / "model.safetensors"), dict(tree_flatten(model.parameters())))
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def of(folder: Path | str, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "model": str(folder),
        "judge": str(folder),
        "data": "starter",
        "num_layers": -1,
        "batch_size": BATCH,
        "max_seq_length": PROMPT + COMPLETION,
        "max_completion_length": COMPLETION,
    }
    return Settings(**given | changes)


def loaded(folder: Path) -> nn.Module:
    model, _ = load_model(folder, lazy=True)
    packing.unpack(model, mx.float32)
    return model


def array_bytes(arrays: Any) -> int:
    flat: Any = tree_flatten(arrays)
    return sum(array.nbytes for _, array in flat)


# -- what is always there ------------------------------------------------------------------------


@on_cpu
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("tied", [False, True])
def test_weights_are_told_to_the_byte(tmp_path: Path, quantized: bool, tied: bool):
    folder = write_model(tmp_path / "model", quantized, tie_word_embeddings=tied)
    model = loaded(folder)
    assert plan(of(folder)).policy == array_bytes(model.parameters())


@on_cpu
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_layers": 2},
        {"train_type": "dora"},
        {"train_type": "full", "quantization": "none"},
        {"train_type": "full", "quantization": "none", "num_layers": 3},
        {"lora_parameters": {"rank": 3, "keys": ["self_attn.q_proj", "mlp.down_proj"]}},
    ],
)
def test_trained_weights_and_their_optimizer_are_told_to_the_byte(
    folder: Path, changes: dict[str, Any]
):
    settings = of(folder, **changes)
    model = loaded(folder)
    add_adapters(model, settings)
    trained = array_bytes(model.trainable_parameters())
    told = plan(settings)
    if settings.train_type == "full":
        assert (told.adapters, told.reference) == (0, trained)
    elif settings.train_type == "dora":  # whose reference keeps the adapters as they were
        assert (told.adapters, told.reference) == (trained, trained)
    else:
        assert (told.adapters, told.reference) == (trained, 0)
    assert told.optimizer == trained * (2 + 2)  # AdamW's moments; gradients and new values


@pytest.mark.parametrize("quantization", ["4-bit", "6-bit", "8-bit", "mxfp4"])
def test_quantised_sizes_are_those_of_mlx(
    folder: Path, quantization: Any, monkeypatch: pytest.MonkeyPatch
):
    """As on a machine with a GPU, where quantised weights stay packed."""
    for module in (device, limits):
        monkeypatch.setattr(module, "backend", lambda: "metal")
    model, _ = load_model(folder, lazy=True)
    load.quantize(model, quantization)
    assert plan(of(folder, quantization=quantization)).policy == array_bytes(model.parameters())


def test_roles_that_name_the_same_weights_count_once(folder: Path, tmp_path: Path):
    other = write_model(tmp_path / "other", num_hidden_layers=3)
    alone = plan(of(folder))
    assert alone.judge == alone.reference == 0
    apart = plan(of(folder, judge=str(other), reference_model_path=str(other)))
    assert apart.policy == alone.policy
    assert apart.reference is not None
    assert 0 < apart.reference < (alone.policy or 0)
    assert apart.judge == 0
    requantised = plan(of(folder, judge_quantization="8-bit"))
    assert requantised.judge is not None
    assert requantised.judge > 0
    assert plan(of(folder, judge="human")).judge == 0


# -- what a step needs ---------------------------------------------------------------------------


class Tokenizer:
    eos_token_ids = (0,)


def peak(work: Any) -> int:
    """The most bytes that MLX and numpy held at a time."""
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    tracemalloc.start()
    work()
    numpys = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return mx.get_peak_memory() - before + numpys


def judged_pair(index: int) -> JudgedPair:
    """A pair as long as the settings allow."""
    pair = make_pair(
        step=1,
        index=index,
        weights_step=0,
        prompt=Prompt((Message("user", "?"),), "?"),
        prompt_ids=[1 + index] * PROMPT,
        completions=(
            Completion((2,) * COMPLETION, finished=False),
            Completion((3,) * COMPLETION, finished=False),
        ),
        texts=("a", "b"),
    )
    return JudgedPair(pair, Verdict("first"))


@on_cpu
@pytest.mark.parametrize(("recompute", "by_numpy"), [(True, False), (False, False), (False, True)])
def test_a_step_takes_no_more_than_planned_and_not_far_less(
    folder: Path, recompute: bool, by_numpy: bool, monkeypatch: pytest.MonkeyPatch
):
    if not by_numpy:
        monkeypatch.setenv("LORA_STUDIO_NUMPY", "0")
    settings = of(folder, grad_checkpoint=recompute, judge="human", quantization="none")
    model = loaded(folder)
    reference = view(model)
    add_adapters(model, settings)
    mx.eval(model.parameters())
    policy, frozen = choose.policy_and_reference(model, reference, Tokenizer, PROMPT + COMPLETION)
    learning = Update(policy, frozen, settings, build_optimizer(settings, 10))
    pairs = [judged_pair(index) for index in range(BATCH)]

    def draw() -> None:
        prompts = [each.pair.prompt_ids for each in pairs]
        sampler = sampling.Sampler(0.8, 0.95)
        sampling.sample(policy, prompts, copies=2, max_tokens=COMPLETION, sampler=sampler, seed=0)

    told = plan(settings)
    assert told.cache is not None
    assert told.activations is not None
    assert 0.5 * told.cache < peak(draw) < 1.1 * told.cache
    learned = peak(lambda: learn(learning, pairs, step=1, last=True))
    assert 0.5 * told.activations < learned < 1.1 * told.activations


# -- refusing, and not knowing -------------------------------------------------------------------


def test_what_cannot_fit_is_refused_with_its_numbers(folder: Path):
    fits = of(folder)
    assert refusal(plan(fits), fits) is None
    huge = of(folder, batch_size=60_000, max_seq_length=10**7, max_completion_length=10**6)
    reason = refusal(plan(huge), huge)
    assert reason
    for part in ("a step", "memory_limit", "GB", "lower batch_size"):
        assert part in reason
    forced = huge.model_copy(update={"memory_limit": 1.0})
    assert refusal(plan(forced), forced) is None
    narrow = of(folder, memory_limit=1e-6)
    assert "this run needs about" in (refusal(plan(narrow), narrow) or "")


def test_a_model_that_is_not_here_leaves_its_parts_unknown(folder: Path):
    told = plan(of("nobody/nothing"))
    assert told.policy is told.judge is told.adapters is told.cache is told.total is None
    assert told.download is None
    assert told.known == memory.PROGRAM
    assert refusal(told, of("nobody/nothing")) is None
    half = plan(of(folder, judge="nobody/nothing"))
    assert half.policy
    assert half.judge is half.total is None
    assert plan(of(folder)).download == 0


def test_a_model_in_the_hub_cache_is_found(folder: Path, tmp_path: Path):
    snapshot = tmp_path / "hub" / "models--org--name" / "snapshots" / "abc"
    snapshot.parent.mkdir(parents=True)
    folder.rename(snapshot)
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("abc")
    (tmp_path / "hub" / "datasets--org--data").mkdir()
    code = (
        "from engine.plan.memory import plan; from engine.settings.schema import Settings;"
        "told = plan(Settings(model='org/name', judge='org/name', data='org/data:one'));"
        "print(told.total, told.judge, told.download)"
    )
    total, judge, download = ask(code, HF_HUB_CACHE=str(tmp_path / "hub")).split()
    assert int(total) > memory.PROGRAM
    assert (judge, download) == ("0", "0")


def ask(code: str, **environment: str) -> str:
    """What a fresh interpreter prints: the hub's client reads its environment once."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, **environment}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does when it is asked for the files of a model or a dataset."""

    def do_GET(self) -> None:
        names = ["model.safetensors", "config.json", "pytorch_model.bin"]
        files = [{"rfilename": name, "size": 1000} for name in names]
        body = json.dumps({"id": "org/name", "siblings": files}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_the_hub_is_asked_for_the_size_of_the_download(tmp_path: Path):
    code = (
        "from engine.plan.memory import plan; from engine.settings.schema import Settings;"
        "settings = Settings(model='org/name', judge='org/judge', data='org/data:one');"
        "print(plan(settings, ask_hub=True).download, plan(settings).download)"
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as hub:
        threading.Thread(target=hub.serve_forever, daemon=True).start()
        printed = ask(
            code,
            HF_HUB_OFFLINE="0",
            HF_ENDPOINT=f"http://127.0.0.1:{hub.server_port}",
            HF_HUB_CACHE=str(tmp_path),
        )
        hub.shutdown()
    # Two files of each model, since pickles are not fetched, and all three of the dataset.
    assert printed.split() == ["7000", "None"]


def test_planning_imports_no_mlx():
    code = "import sys, engine.plan.memory; print('mlx' in sys.modules)"
    assert ask(code).strip() == "False"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 8,
        struct.pack("<Q", 1 << 62),
        struct.pack("<Q", 4) + b"nope",
        b"\x02" + b"\0" * 7,
    ],
)
def test_a_broken_file_of_weights_is_unknown(folder: Path, content: bytes):
    (folder / "model.safetensors").write_bytes(content)
    assert model_files.read_tensors(folder) is None
    assert plan(of(folder)).policy is None


odd_values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
odd_values |= st.dictionaries(st.sampled_from(["group_size", "bits", *SIZES]), odd_values)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(st.sampled_from([*SIZES, "quantization", "text_config"]), odd_values))
def test_any_config_gives_a_plan(folder: Path, config: dict):
    (folder / "config.json").write_text(json.dumps(config))
    told = plan(of(folder))
    assert told.known > 0
