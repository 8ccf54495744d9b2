"""Settings from files, presets and `key=value` words, and back to a commented file.

Configs of mlx-lm and mlx-lm-lora load as they are: their names for our settings are read, and
their keys that mean nothing here are accepted with a note; `engine.settings.foreign_keys` lists
them.
"""

import difflib
import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.errors import UserError
from engine.file_kinds import is_dir, is_file
from engine.settings.fields import Setting
from engine.settings.foreign_keys import ALIASES, FOREIGN, LOAD_IN, USE_DORA
from engine.settings.schema import SECTIONS, Settings, fields, value
from engine.settings.yaml_text import parse_yaml, yaml_line

# What a list holds, where that is not names.
LISTS = {
    "data_mix": "a list of sources, each {data: NAME, weight: ...}",
    "lr_schedule.arguments": "a list of numbers",
    "judge_weights": "a list of numbers",
    "judge_criteria": "a list of {name: ..., text: ..., weight: ...}",
}
SIZE_LIMIT = 1_000_000  # bytes

# What bytes of a command line become that are no UTF-8, and an escape of YAML may stand for.
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_BY_KEY = {field.key: field for field in fields()}
_GROUPS = {key.split(".")[0] for key in _BY_KEY if "." in key}


def read(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, not yet checked against the settings."""
    try:
        if not is_file(path):
            what = "is a folder" if is_dir(path) else "is not there"
            raise UserError(
                f"{path} {what}: give a config file, such as `lora-studio config` prints"
            )
        if path.stat().st_size > SIZE_LIMIT:
            raise UserError(f"{path} is larger than {SIZE_LIMIT:,} bytes: that is no config file")
        raw = path.read_bytes()
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8") from error
    data = parse_yaml(text, str(path))
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path} holds no settings: write one `key: value` a line")
    return data


def load(path: str | Path) -> Settings:
    """The settings in a YAML file; keys it leaves out are at their default."""
    return from_mapping(read(Path(path)), str(path))


def load_known(path: str | Path) -> tuple[Settings, list[str]]:
    """The settings in a YAML file as far as this version knows them, to show or to export what was
    trained by them, and a sentence on each key that it does not know, as of a newer version.

    Raises:
        UserError: the file cannot be read, or a key that is known has a value that it cannot have.
    """
    data, unknown = read(Path(path)), []
    for key, entry in list(data.items()):
        parts = {f"{key}.{part}" for part in entry} if isinstance(entry, Mapping) else set()
        names = parts if key in _GROUPS and parts else {str(key)}
        for name in sorted(names):
            if _is_known(name):
                continue
            unknown.append(name)
            data = _without(data, name)
    notes = [f"{_show(key)} is no setting of this version, and is left out" for key in unknown]
    return from_mapping(data, str(path)), notes


def _is_known(key: str) -> bool:
    try:
        canonical({key: None}, "")
    except UserError:
        return False
    return True


def preset(name: str) -> Settings:
    """One of the ready-made settings, by its name in `PRESETS`.

    Raises:
        UserError: there is no such preset.
    """
    return from_mapping(preset_mapping(name), f"preset {name}")


def preset_mapping(name: str) -> dict[str, Any]:
    """A preset as a config file would say it."""
    from engine.settings.presets import PRESETS

    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def from_mapping(data: Mapping[str, Any], source: str) -> Settings:
    """Settings from a config's mapping. `source` is what errors name: a file, `--set`, a form."""
    mapping = canonical(data, source)
    for key, entry in mapping.items():
        text = json.dumps(entry, ensure_ascii=False, default=str, skipkeys=True)
        if _LONE_SURROGATE.search(text):
            raise UserError(f"{source}: {key} is {_show(entry)}, but has to be text that is UTF-8")
    try:
        return Settings.model_validate(mapping)
    except ValidationError as error:
        raise UserError(_explain(error, source)) from error


def apply_overrides(data: Mapping[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    """`data` with `key=value` words laid over it; keys may be dotted, values are YAML.

    The value of a text setting is taken as it is, and no value at all means the default.
    """
    merged = canonical(data, "the settings")
    for override in overrides:
        key, equals, text = override.partition("=")
        key = key.strip()
        if not equals or not key:
            raise UserError(f"--set {override}: write it as key=value")
        field = _BY_KEY.get(ALIASES.get(key, key))
        literal = field is not None and field.kind in ("text", "multiline")
        parsed = text if literal else parse_yaml(text, f"--set {key}")
        parsed = None if parsed == "" else parsed
        # Checked alone first, so that an error names --set and not the file below it.
        change = canonical({key: parsed}, "--set")
        from_mapping(change, "--set")
        merged = _merge(merged, change) if change else _without(merged, ALIASES.get(key, key))
    return merged


def notes(data: Mapping[str, Any]) -> list[str]:
    """A sentence for each key of a config that has no effect here."""
    sentences = [
        f"{key} has no effect here: {why}"
        for key, why in FOREIGN.items()
        if (entry := _entry_at(data, key)) is not None and not _only_aliases(key, entry)
    ]
    if data.get(USE_DORA) is True and (chosen := _train_type(data)) not in (None, "dora"):
        sentences.append(f"{USE_DORA} has no effect here: train_type is {_show(chosen)}")
    if data.get("mask_prompt") is False:
        sentences.append("mask_prompt: false has no effect here: prompt tokens never carry loss")
    return sentences


def canonical(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A config in our own names: aliases renamed, dotted keys nested, foreign and unset dropped."""
    mapping: dict[str, Any] = {}
    for key, entry in data.items():
        key = str(key)
        if key == "judge_config" and isinstance(entry, Mapping):
            entries = {f"{key}.{name}": inner for name, inner in entry.items()}
        else:
            entries = {key: entry}
        for name, inner in entries.items():
            _place(mapping, name, inner, source)
    _take_load_in(mapping, source)
    _take_dora(mapping, source)
    _take_optimizers(mapping)
    schedule = mapping.get("lr_schedule")
    if isinstance(schedule, str):
        mapping["lr_schedule"] = {"name": schedule}
    return mapping


def _place(mapping: dict[str, Any], key: str, entry: Any, source: str) -> None:
    """Put one entry under its own name; drop it where it is foreign or says nothing."""
    name = ALIASES.get(key, key)
    if name not in _BY_KEY and name not in _GROUPS and name not in (*LOAD_IN, USE_DORA):
        if name in FOREIGN or name.startswith("judge_config."):
            return
        raise UserError(f"{source}: {_unknown(name)}")
    if entry is None:
        # `quantization:` left empty says none; any other empty value leaves the default.
        if name == "quantization":
            entry = "none"
        else:
            return
    group, _, inner = name.partition(".")
    if inner:
        place = mapping.setdefault(group, {})
        if isinstance(place, str):
            place = mapping[group] = {"name": place}
        if isinstance(place, dict):
            place = mapping[group] = {**place, inner: entry}
            return
        name, entry = group, place
    elif name in _GROUPS and isinstance(entry, Mapping):
        for part in entry:
            if f"{name}.{part}" not in _BY_KEY and f"{name}.{part}" not in FOREIGN:
                raise UserError(f"{source}: {_unknown(f'{name}.{part}')}")
        entry = {
            part: item
            for part, item in entry.items()
            if item is not None and f"{name}.{part}" not in FOREIGN
        }
        entry = {**entry, **mapping[name]} if isinstance(mapping.get(name), dict) else entry
    elif name in mapping and mapping[name] != entry:
        # Our own name may have come first or last.
        other = key if key in ALIASES else " or ".join(_other_names(name))
        raise UserError(f"{source}: {other} and {name} name the same setting; keep one of them")
    mapping[name] = entry


def _take_load_in(mapping: dict[str, Any], source: str) -> None:
    """Turn mlx-lm-lora's load_in_... switches into `quantization`."""
    switches = {key: mapping.pop(key) for key in LOAD_IN if key in mapping}
    if not switches:
        return
    for key, entry in switches.items():
        if not isinstance(entry, bool):
            raise UserError(f"{source}: {key} is {_show(entry)}, but has to be true or false")
    by_switch = [LOAD_IN[key] for key, on in switches.items() if on] or ["none"]
    by_name = [mapping["quantization"]] if "quantization" in mapping else []
    quantizations = list(dict.fromkeys([*by_switch, *by_name]))
    if len(quantizations) > 1:
        chosen = ", ".join(str(word) for word in quantizations)
        raise UserError(f"{source}: more than one quantization is asked for ({chosen}); keep one")
    mapping["quantization"] = quantizations[0]


def _take_dora(mapping: dict[str, Any], source: str) -> None:
    """Turn mlx-lm's older switch into `train_type`, which wins over it."""
    use_dora = mapping.pop(USE_DORA, None)
    if use_dora is not None and not isinstance(use_dora, bool):
        raise UserError(f"{source}: {USE_DORA} is {_show(use_dora)}, but has to be true or false")
    if use_dora:
        mapping.setdefault("train_type", "dora")


def _take_optimizers(mapping: dict[str, Any]) -> None:
    """Read optimizers as mlx-lm does: in any case, and without arguments where none are given."""
    if isinstance(mapping.get("optimizer"), str):
        mapping["optimizer"] = mapping["optimizer"].lower()
    arguments = mapping.get("optimizer_config")
    if isinstance(arguments, Mapping):
        mapping["optimizer_config"] = {
            name: entry
            for name, entry in arguments.items()
            if entry is not None and f"optimizer_config.{name}" not in FOREIGN
        }


def _entry_at(data: Mapping[str, Any], key: str) -> Any:
    """What a config says under a dotted key, nested or written out."""
    group, _, inner = key.partition(".")
    nested = data.get(group) if inner else None
    return nested.get(inner) if isinstance(nested, Mapping) else data.get(key)


def _train_type(data: Mapping[str, Any]) -> Any:
    names = ("train_type", *_other_names("train_type"))
    return next((data[name] for name in names if data.get(name) is not None), None)


def _other_names(key: str) -> list[str]:
    return [name for name, ours in ALIASES.items() if ours == key]


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`, mapping by mapping."""
    merged = dict(below)
    for key, entry in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(entry, dict):
            entry = _merge(under, entry)
        merged[key] = entry
    return merged


def _without(data: dict[str, Any], key: str) -> dict[str, Any]:
    """`data` less one setting, which so goes back to its default."""
    group, _, inner = key.partition(".")
    rest = {name: entry for name, entry in data.items() if name != group}
    if inner and isinstance(data.get(group), dict):
        rest[group] = {name: entry for name, entry in data[group].items() if name != inner}
    return rest


def _only_aliases(key: str, entry: Any) -> bool:
    return isinstance(entry, Mapping) and all(f"{key}.{name}" in ALIASES for name in entry)


def _unknown(key: str) -> str:
    known = [*_BY_KEY, *LOAD_IN, *ALIASES, *_GROUPS]
    near = difflib.get_close_matches(key[:100], known, n=1, cutoff=0.0)
    return f"there is no setting {_show(key)}; the nearest is {near[0]}"


def _explain(error: ValidationError, source: str) -> str:
    """The first complaint of pydantic in one sentence of our own."""
    first, *more = error.errors(include_url=False)
    path = [str(part) for part in first["loc"]]
    # pydantic names the arm of a union after the key; only the key itself is of interest.
    keys = [".".join(path[:length]) for length in (1, 2)]
    field = next((_BY_KEY[key] for key in reversed(keys) if key in _BY_KEY), None)
    rest = {complaint["loc"][:1] for complaint in more} - {first["loc"][:1]}
    others = f" (and {len(rest)} more to mend)" if rest else ""
    if field is None:
        group = path[0] if path else "the file"
        what = "a switch where a number belongs" if first["type"] == "value_error" else "wrong"
        message = str(first.get("ctx", {}).get("error", "")) or f"{group} is {what}"
        if first["type"] in ("model_type", "dict_type"):
            message = f"{group} is {_show(first['input'])}, but has to hold settings of its own"
        return f"{source}: {message}{others}"
    return (
        f"{source}: {field.key} is {_show(first['input'])}, but has to be {expected(field)}{others}"
    )


def expected(field: Setting) -> str:
    """What a setting's value has to be, in words."""
    kinds = {
        "switch": "true or false",
        "choice": f"one of {', '.join(field.choices)}",
        "integer": "a whole number",
        "number": "a number",
        "text": "text",
        "multiline": "text",
        "list": LISTS.get(field.key, "a list of names"),
        "mapping": "a mapping from an optimizer to its arguments",
    }
    bounds = field.bounds if field.kind in ("integer", "number") else ""
    if field.choices and field.kind == "integer":
        return bounds
    # A cap that only keeps numbers sane is not in the bounds, but whoever met it has to know it.
    cap = f"at most {field.le:,.0f}" if field.le is not None and field.le >= 1e6 else ""
    cap = f"below {field.lt:,.0f}" if field.lt is not None and field.lt >= 1e6 else cap
    return ", ".join(part for part in (kinds[field.kind], bounds, cap) if part)


def _show(entry: Any) -> str:
    """A value from outside, short and harmless to print."""
    text = ascii(entry) if isinstance(entry, str) and not entry.isprintable() else repr(entry)
    return text if len(text) <= 60 else text[:57] + "..."


def to_yaml(settings: Settings, commented: bool = True) -> str:
    """Every setting as a file that loads back equal, in sections, with help where `commented`."""
    lines: list[str] = []
    for section in SECTIONS:
        if commented:
            lines += ["", f"# {section} ".ljust(80, "-")]
        group = ""
        for field in (field for field in fields() if field.section == section):
            outer, _, inner = field.key.rpartition(".")
            if outer and outer != group:
                lines.append(f"{outer}:")
            group = outer
            indent = "  " if outer else ""
            if commented:
                lines += [f"{indent}# {line}" for line in _comment(field)]
            lines += [
                indent + line for line in yaml_line(inner or field.key, value(settings, field.key))
            ]
    return "\n".join(lines).lstrip("\n") + "\n"


def _comment(field: Setting) -> list[str]:
    danger = "DANGEROUS. " if field.dangerous else ""
    words = f"{danger}{field.help}" + (f" [{'; '.join(field.facts)}]" if field.facts else "")
    return textwrap.wrap(words, 88, break_long_words=False, break_on_hyphens=False)
