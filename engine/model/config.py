"""A model's config.json as mlx-lm reads it, whichever library and version wrote it.

transformers 5 nests what it once had at the top (`rope_parameters`), has renamed keys, and leaves
out what its classes know. mlx-lm looks for the old names, and falls back to defaults of its own.
Here a config is read by transformers' own class, where it has one, and what mlx-lm looks for is
added under the old names. The new ones stay: a config so completed is read alike by
transformers 4, transformers 5 and mlx-lm.
"""

import copy
import dataclasses
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlx_lm import load as load_with_mlx_lm
from mlx_lm.utils import _get_classes as mlx_lm_classes
from mlx_lm.utils import load_config
from transformers import CONFIG_MAPPING

from engine.model.files import CONFIG_LIMIT, read_tensors

Config = dict[str, Any]

FULL, LOCAL = "full_attention", "sliding_attention"  # transformers' names of layer types
# Translated as a whole, never filled in one by one.
ROTARY = ("rope_theta", "rope_scaling", "partial_rotary_factor", "rope_local_base_freq")
PARTIAL = frozenset({"partial_rotary_factor", "rope_parameters", "rotary_dim", "rotary_pct"})
BOTH_KINDS = frozenset({"rope_local_base_freq", "rope_parameters"})  # with a window, and without
# Names that mlx-lm alone has, and where transformers keeps the same.
RENAMED = {"block_dim": "hidden_size", "n_ctx": "n_positions"}
# Text models that transformers also saves alone, and mlx-lm has inside of a wrapper.
WRAPPED = {"qwen3_5_text": "qwen3_5", "qwen3_5_moe_text": "qwen3_5_moe"}
# Models of which mlx-lm takes the base alone, although their code has a name for the scaling.
UNSCALED = ("gemma3n_text", "granitemoehybrid", "lfm2", "lfm2_moe", "olmo_hybrid")
# Values that mlx-lm's code has built in.
BUILT_IN = (
    ("granitemoehybrid", "mamba_n_groups", 1),
    ("mamba", "layer_norm_epsilon", 1e-5),
    ("mamba2", "layer_norm_epsilon", 1e-5),
    ("mamba2", "n_groups", 1),
    ("nemotron_h", "n_group", 1),
)
ACTIVATIONS = ("hidden_act", "hidden_activation", "mlp_hidden_act", "activation_function")
# Which gelu mlx-lm's code has built in, where it is not transformers' usual one.
ROUGH_GELUS = {"gelu_new", "gelu_pytorch_tanh", "gelu_fast"}
GELU = {
    "gemma": {"gelu"},
    "gpt_bigcode": {"gelu"},
    "gpt_neox": ROUGH_GELUS,
    "starcoder2": {"gelu"},
}
# Numbers of things of which each has a tensor, and of labels, which transformers lists.
COUNTS = (
    "num_hidden_layers",
    "num_layers",
    "n_layers",
    "n_layer",
    "num_nextn_predict_layers",
    "num_labels",
)


def load_folder(folder: Path, *, trust_remote_code: bool) -> tuple[Any, Any, Config]:
    """Load a model folder with mlx-lm, lazily.

    Returns:
        The model, its tokenizer, and its config with both the old names and the new.

    Raises:
        ValueError: mlx-lm has no place for something that the config says.
        Exception: whatever mlx-lm raises for a damaged folder.
    """
    config = _read(folder)
    changes = {} if "model_file" in config else for_mlx_lm(config)
    loaded: Any = load_with_mlx_lm(
        str(folder),
        tokenizer_config={"trust_remote_code": trust_remote_code},
        model_config=copy.deepcopy(changes),
        lazy=True,
        return_config=True,
        trust_remote_code=trust_remote_code,
    )
    model, tokenizer, config = loaded
    if dtype := config.get("dtype") or config.get("torch_dtype"):
        changes |= {"dtype": dtype, "torch_dtype": dtype}
    return model, tokenizer, config | changes


def _read(folder: Path) -> Config:
    """config.json with the end-of-turn tokens of generation_config.json.

    Refused where it asks for more layers than the folder has tensors: making them would take all
    memory before anything else is looked at.
    """
    if (size := (folder / "config.json").stat().st_size) > CONFIG_LIMIT:
        raise ValueError(f"config.json has {size:,} bytes, which is no model's")
    config = load_config(folder)
    tensors = len(read_tensors(folder) or ())
    for part in (config, *(value for value in config.values() if isinstance(value, dict))):
        for name in COUNTS:
            count = part.get(name)
            if isinstance(count, int | float) and count > tensors:
                raise ValueError(f"config.json says {name}: {count:g}, with {tensors} tensors")
    return config


def for_mlx_lm(config: Config) -> Config:
    """The keys that mlx-lm has to be given besides, or in place of, those of `config`: none for
    a config that transformers did not write, since what that leaves out is mlx-lm's default.

    Raises:
        ValueError: mlx-lm has no place for something that the config says.
    """
    if not _written_by_transformers(config):
        return {}
    if config.get("model_type") in WRAPPED:
        whole = {"model_type": WRAPPED[config["model_type"]], "text_config": copy.deepcopy(config)}
        return whole | for_mlx_lm(config | whole)
    known = read_by_transformers(config)
    fields = _fields(config)
    changes = _changes(config, known, fields)
    text = config.get("text_config")
    if isinstance(text, dict):
        known_text = getattr(known, "text_config", None) or read_by_transformers(text)
        changes["text_config"] = text | _changes(text, known_text, fields | _fields(text))
        if "vocab_size" in fields and "vocab_size" not in config:
            changes["vocab_size"] = changes["text_config"]["vocab_size"]
    return changes


def _written_by_transformers(config: Config) -> bool:
    text = config.get("text_config")
    parts = (config, text) if isinstance(text, dict) else (config,)
    return "transformers_version" in config or any("rope_parameters" in part for part in parts)


def read_by_transformers(config: Config) -> Any:
    """The config as transformers understands it; None if it does not know or take it."""
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING:
        return None
    try:
        return CONFIG_MAPPING[model_type].from_dict(copy.deepcopy(config))
    except Exception:  # its classes check values that mlx-lm may take as they are
        return None


def _fields(config: Config) -> frozenset[str]:
    """Names that mlx-lm's code for this type of model looks for."""
    try:
        module = sys.modules[mlx_lm_classes(config)[0].__module__]
    except (KeyError, TypeError, ValueError):  # not a type that it has
        return frozenset()
    classes: list[Any] = [each for each in vars(module).values() if isinstance(each, type)]
    return frozenset(
        field.name
        for each in filter(dataclasses.is_dataclass, classes)
        for field in dataclasses.fields(each)
    )


def _changes(config: Config, known: Any, fields: frozenset[str]) -> Config:
    """As `for_mlx_lm`, for one part of a config. `known` is transformers' reading of it, and
    gives what the config leaves out."""
    facts = _facts(config, known)
    _refuse_other_sums(facts, known)
    changes = {name: facts[name] for name in fields.difference(ROTARY) if name in facts}
    changes |= {
        name: facts[new] for name, new in RENAMED.items() if name in fields and new in facts
    }
    changes = {name: value for name, value in changes.items() if config.get(name) is None}
    changes |= _rotary(facts, fields) | _layers(facts, fields) | _full_sizes(facts)
    match facts.get("model_type"):
        case "falcon_h1":
            changes |= _falcon(facts)
        case "mamba2":
            changes["intermediate_size"] = facts["num_heads"] * facts["head_dim"]
        case "gpt_bigcode":
            changes["n_inner"] = facts.get("n_inner") or 4 * facts["n_embd"]
        case "exaone_moe":
            changes["is_moe_layer"] = [kind == "sparse" for kind in facts["mlp_layer_types"]]
    return {
        name: changes[name]
        for name in sorted(changes)
        if changes[name] != config.get(name, changes)
    }


def _facts(config: Config, known: Any) -> Config:
    """What the config says, and what transformers adds to it, under all of its names."""
    facts = known.to_dict() if known is not None else {}
    if known is not None:
        facts |= {old: facts[new] for old, new in known.attribute_map.items() if new in facts}
    rope = facts.get("rope_parameters")  # the old and the new form as one
    facts |= {name: value for name, value in config.items() if value is not None}
    return facts | ({"rope_parameters": rope} if rope else {})


# -- rotary positions ----------------------------------------------------------------------------


def _rotary(facts: Config, fields: frozenset[str]) -> Config:
    """`rope_parameters` under the names from before transformers 5."""
    rope, model_type = facts.get("rope_parameters"), facts.get("model_type")
    if not rope or not isinstance(rope, Mapping):
        return {}
    changes: Config = {"rope_parameters": rope}
    if isinstance(rope.get(FULL), Mapping):
        local, rope = rope.get(LOCAL) or {}, rope[FULL]
        changes["rope_local_base_freq"] = local.get("rope_theta")
        if "rope_local_base_freq" in fields and _kind(local) != "default":
            raise ValueError(
                f"mlx-lm does not scale the rotary positions of {model_type}'s layers with a "
                f"window, and this model's are scaled ({_kind(local)})"
            )
        # mlx-lm scales the positions of Olmo 3's layers with full attention alone.
        same = local == rope or (model_type == "olmo3" and _kind(local) == "default")
        bases = {local.get("rope_theta"), rope.get("rope_theta")}
        if fields and not fields & BOTH_KINDS and not (same and len(bases) == 1):
            raise ValueError(
                f"mlx-lm has one kind of rotary positions for {model_type}, and this model has two"
            )
    scales = fields & {"rope_scaling", "rope_parameters"} and model_type not in UNSCALED
    if not scales and fields and _kind(rope) != "default":
        raise ValueError(
            f"mlx-lm does not scale the rotary positions of {model_type}, and this model's are "
            f"scaled ({_kind(rope)})"
        )
    changes["rope_theta"] = changes["rotary_emb_base"] = rope.get("rope_theta")
    changes["rope_scaling"] = _scaling(rope, model_type)
    part = rope.get("partial_rotary_factor")
    if part is not None or "partial_rotary_factor" in fields:
        part = 1.0 if part is None else part
        if part != 1 and fields and not fields & PARTIAL:
            raise ValueError(
                f"mlx-lm turns all of {model_type}'s dimensions by position, and this model has a "
                f"partial_rotary_factor of {part}"
            )
        changes["partial_rotary_factor"] = changes["rotary_pct"] = part
    return {name: value for name, value in changes.items() if name in fields}


def _kind(rope: Mapping[str, Any]) -> str:
    return rope.get("rope_type") or rope.get("type") or "default"


def _scaling(rope: Mapping[str, Any], model_type: Any) -> Config | None:
    """`rope_scaling` as it was before transformers 5, with both names of its type."""
    kind = _kind(rope)
    if kind == "default":
        # mlx-lm has this model with yarn alone; with a factor of 1 it changes nothing.
        return {"type": "yarn", "factor": 1.0} if model_type == "deepseek_v2" else None
    scaling = {name: value for name, value in rope.items() if name not in ROTARY}
    if model_type == "phi3":  # transformers 4 takes exactly these
        return {"type": kind} | {name: scaling[name] for name in ("short_factor", "long_factor")}
    return scaling | {"type": kind, "rope_type": kind}


# -- layers --------------------------------------------------------------------------------------


def _layers(facts: Config, fields: frozenset[str]) -> Config:
    """`layer_types` as mlx-lm has them: as a list, a period or a pattern of letters."""
    kinds, model_type = facts.get("layer_types"), facts.get("model_type")
    if not isinstance(kinds, list):
        return {}
    if model_type == "granitemoehybrid":
        old = {"linear_attention": "mamba", FULL: "attention"}
        return {"layer_types": [old.get(kind, kind) for kind in kinds]}
    if model_type == "exaone4":
        letters = "".join("L" if kind == LOCAL else "G" for kind in kinds)
        return {"sliding_window_pattern": letters if "L" in letters else None}
    if "full_attention_interval" in fields:
        return {"full_attention_interval": _period(kinds, model_type)}
    if "sliding_window_pattern" in fields and "layer_types" not in fields:
        return {"sliding_window_pattern": _period(kinds, model_type)}
    return {}


def _period(kinds: list[str], model_type: Any) -> int:
    """Every how many layers attention is full."""
    period = kinds.index(FULL) + 1 if FULL in kinds else len(kinds) + 1
    if any((kind == FULL) != ((i + 1) % period == 0) for i, kind in enumerate(kinds)):
        raise ValueError(
            f"mlx-lm has full attention in every n-th layer of {model_type}, and this model's "
            "layer_types differ"
        )
    return period


def _full_sizes(facts: Config) -> Config:
    """Sizes of Gemma 4's layers with full attention."""
    layers = facts.get("per_layer_config")
    if not isinstance(layers, Mapping) or not layers:
        return {}
    names = {"head_dim": "global_head_dim", "num_key_value_heads": "num_global_key_value_heads"}
    sizes = [dict(each) for each in layers.values()]
    if any(each != sizes[0] for each in sizes) or set(sizes[0]) - set(names):
        raise ValueError("mlx-lm has no place for this model's per_layer_config")
    return {names[name]: size for name, size in sizes[0].items()}


def _falcon(facts: Config) -> Config:
    """Falcon-H1's multipliers for mlx-lm, which has queries and keys times
    `attention_in_multiplier`, values as they are, and no `key_multiplier`. Their products with
    these are transformers'."""
    into, key = facts["attention_in_multiplier"], facts["key_multiplier"]
    return {
        "attention_in_multiplier": into * math.sqrt(key),
        "attention_out_multiplier": facts["attention_out_multiplier"] * into,
    }


# -- what mlx-lm computes in another way ---------------------------------------------------------


def _refuse_other_sums(facts: Config, known: Any) -> None:
    """Refuse a value that mlx-lm's code would compute without."""
    model_type = facts.get("model_type")
    for model, name, value in BUILT_IN:
        if model == model_type and facts.get(name, value) != value:
            raise ValueError(f"mlx-lm computes {model} with {name} {value:g}, not {facts[name]}")
    if model_type == "falcon_h1" and facts["mamba_rms_norm"] and facts["mamba_n_groups"] > 1:
        raise ValueError("mlx-lm computes falcon_h1's mamba_rms_norm with one group alone")
    usual = type(known).default_config_fields() if known is not None else {}
    for name in set(ACTIVATIONS) & set(usual):
        built_in, own = (str(each[name]).split("_")[0] for each in (usual, facts))
        if built_in != own:
            raise ValueError(f"mlx-lm computes {model_type} with {built_in}, not {name}: {own}")


def differences(config: Config, tokens: float) -> list[str]:
    """In words, what mlx-lm leaves out of this model that touches sequences of up to `tokens`."""
    if not _written_by_transformers(config):
        return []
    text = config.get("text_config")
    part: Config = text if isinstance(text, dict) else config
    known = read_by_transformers(part)
    facts = part if known is None else _facts({}, known)
    model_type, window = facts.get("model_type"), facts.get("sliding_window")
    rope: Config = part.get("rope_scaling") or {}
    gelu = {facts.get(name) for name in ACTIVATIONS}
    sentences: list[str] = []
    if isinstance(window, int) and 0 < window < tokens and not _has_window(config, part):
        sentences.append(f"its attention looks further back than its window of {window:,} tokens")
    if model_type in GELU and gelu & {"gelu", *ROUGH_GELUS} and not gelu & GELU[model_type]:
        sentences.append("its gelu is exact where the model's is an approximation, or the reverse")
    if model_type == "jamba" and facts.get("num_experts_per_tok") != facts.get("num_experts"):
        sentences.append("its experts' shares are scaled to a sum of one")
    if model_type == "ernie4_5_moe":
        sentences.append("its router does without e_score_correction_bias")
    if _kind(rope) == "longrope":
        sentences.append("its rotary positions take the long factors for short texts too")
    if _kind(rope) == "yarn" and (rope.get("truncate") is False or rope.get("attention_factor")):
        sentences.append("its rotary positions do without yarn's truncate and attention_factor")
    return sentences


def _has_window(config: Config, part: Config) -> bool:
    """Whether mlx-lm's code has a window for this model. In its llama, which mistral shares,
    layers have one by their type alone."""
    fields = _fields(config) | _fields(part)
    by_type = "layer_types" in fields and "sliding_window_pattern" not in fields
    return "sliding_window" in fields and (not by_type or LOCAL in (part.get("layer_types") or ()))
