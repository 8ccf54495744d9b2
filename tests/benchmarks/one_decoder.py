"""Several policies of one model, each with its own LoRA adapters, decoded as one batch by numpy.

On a CPU a token of a few rows costs the time that the weights take through the memory, whatever the
number of rows. Runs that are compared share their frozen weights, so all rows of all of them are
one product, and what the adapters add is masked row by row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import mlx.core as mx
import numpy as np

from engine.compute.numpy.kv_cache import KVCache
from engine.compute.numpy.model import Layer, Linear, NumpyModel, numpy_model
from engine.compute.sampling import Sampler, _decode, stream_seed
from engine.data.completion import Completion
from engine.model.language_model import LanguageModel


@dataclass
class Rows:
    """Which policy each row of the batch is of."""

    owners: np.ndarray  # (rows,)


@dataclass(frozen=True)
class AdaptedRows(Linear):
    """A product whose adapters are those of the row's policy, side by side."""

    a: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # (in, ranks of all)
    b: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))  # (ranks of all, out)
    policies: np.ndarray = field(default_factory=lambda: np.empty(0))  # whose a rank is
    scales: np.ndarray = field(default_factory=lambda: np.empty(0))  # of each rank
    rows: Rows = field(default_factory=lambda: Rows(np.empty(0)))

    def add_rest(self, x: np.ndarray, out: np.ndarray) -> None:
        low = self.a.T @ x
        columns = np.repeat(self.rows.owners, x.shape[1] // len(self.rows.owners))
        low *= np.where(self.policies[:, None] == columns, self.scales[:, None], np.float32(0))
        out += self.b.T @ low
        if self.bias is not None:
            out += self.bias


def joined(models: Sequence[NumpyModel], rows: Rows) -> NumpyModel:
    """One model that computes each row as the model does that `rows` says."""
    layers = []
    for same in zip(*(model.layers for model in models), strict=True):
        products = {
            each.name: _joined([getattr(layer, each.name) for layer in same], rows)
            for each in fields(Layer)
            if isinstance(getattr(same[0], each.name), Linear)
        }
        layers.append(replace(same[0], **products))
    return replace(models[0], layers=layers)


def _joined(linears: Sequence[Linear], rows: Rows) -> Linear:
    adapted = [(at, one.adapter) for at, one in enumerate(linears) if one.adapter]
    if not adapted:
        return linears[0]
    if any(one.adapter and one.merged for one in linears):
        raise ValueError("adapters are merged into the weights, which then are not shared")
    ranks = [len(adapter.b) for _, adapter in adapted]
    return AdaptedRows(
        weight=linears[0].weight,
        bias=linears[0].bias,
        packed=linears[0].packed,
        a=np.concatenate([adapter.a for _, adapter in adapted], axis=1),
        b=np.concatenate([adapter.b for _, adapter in adapted]),
        policies=np.repeat([at for at, _ in adapted], ranks),
        scales=np.repeat(np.array([one.scale for _, one in adapted], np.float32), ranks),
        rows=rows,
    )


class _Decoder:
    """As `engine.compute.numpy.decode.NumpyDecoder`."""

    def __init__(
        self, models: Sequence[NumpyModel], prompts: Sequence[Sequence[int]], copies: int, room: int
    ) -> None:
        each = len(prompts) // len(models)
        self._of_rows = Rows(np.repeat(np.arange(len(models)), each))
        self._model = joined(models, self._of_rows)
        self._rows = KVCache(self._model, len(prompts), max(map(len, prompts)))
        owners = [row for row in range(len(prompts)) for _ in range(copies)]
        self.logits = mx.array(self._model.logits(self._rows.feed(prompts))[owners])
        self.keep(owners, room)

    def feed(self, tokens: mx.array) -> None:
        ids = np.array(tokens)[:, None].tolist()
        self.logits = mx.array(self._model.logits(self._rows.feed(ids)))

    def keep(self, rows: Sequence[int], room: int = 0) -> None:
        self._rows.keep(rows, room)
        self._of_rows.owners = self._of_rows.owners[list(rows)]


@dataclass(frozen=True)
class _Backend:
    """What `_decode` asks of a backend."""

    models: Sequence[NumpyModel]
    decodes_batches: bool = True

    def decoder(self, prompts: Sequence[Sequence[int]], copies: int, room: int) -> _Decoder:
        return _Decoder(self.models, prompts, copies, room)


def sample_of_all(
    policies: Sequence[LanguageModel],
    prompts: Sequence[Sequence[Sequence[int]]],
    seeds: Sequence[int],
    *,
    copies: int,
    max_tokens: int,
    sampler: Sampler,
) -> list[list[list[Completion]]]:
    """What `engine.compute.sampling.sample` gives for each policy, its prompts and its seed; each
    has as many prompts. By policy, by prompt, the copies."""
    count = len(prompts[0])
    streams = [
        stream_seed(seed, index, copy)
        for seed in seeds
        for index in range(count)
        for copy in range(copies)
    ]
    backend = _Backend([numpy_model(each.model, packs=True) for each in policies])
    rows = _decode(
        replace(policies[0], backend=backend),  # pyright: ignore[reportArgumentType]
        [ids for own in prompts for ids in own],
        copies,
        max_tokens,
        sampler,
        np.array(streams, np.uint64),
        lambda tokens: None,
        None,
        lambda: False,
    )
    by_prompt = [rows[at : at + copies] for at in range(0, len(rows), copies)]
    return [by_prompt[at : at + count] for at in range(0, len(by_prompt), count)]
