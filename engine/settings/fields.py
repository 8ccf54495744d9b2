"""What a setting is made of: its value's type and bounds for pydantic, and words for a person.

`engine.settings.schema` holds the settings themselves.
"""

import types
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo

# The highest value of a count: far above any real one, and safe in every file format.
MANY = 10**9

Kind = Literal["switch", "choice", "integer", "number", "text", "multiline", "list", "mapping"]


@dataclass(frozen=True, slots=True)
class Condition:
    """When a setting has an effect, and the reason to give when it has none."""

    holds: Callable[[Any], bool]
    otherwise: str


def setting(
    default: Any,
    section: str,
    help: str,
    *,
    unit: str = "",
    applies: Condition | None = None,
    dangerous: bool = False,
    multiline: bool = False,
    **bounds: float,
) -> Any:
    """A field of `Settings`. `bounds` are pydantic's: gt, ge, lt, le."""
    extra = {
        "section": section,
        "unit": unit,
        "applies": applies,
        "dangerous": dangerous,
        "multiline": multiline,
    }
    # pydantic wants plain JSON here because it may draw a JSON schema, which nothing asks for.
    return Field(default, description=help, json_schema_extra=cast(Any, extra), **cast(Any, bounds))


class SettingsModel(BaseModel):
    """A frozen group of settings; an unknown key is an error."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, coerce_numbers_to_str=True
    )

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_not_switches(cls, data: Any) -> Any:
        """`batch_size: true` is a slip, not a 1."""
        if isinstance(data, dict):
            for key, value in data.items():
                info = cls.model_fields.get(key)
                if isinstance(value, bool) and info and _kind(info) in ("integer", "number"):
                    raise ValueError(f"{key} is a switch where a number belongs")
        return data


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """A setting as a form, a file or a table needs it. `key` is dotted where it is nested.

    `choices` lists the words that are allowed; a `kind` that is not choice allows other values
    too. `optional` fields may be None, which their help calls empty.
    """

    key: str
    section: str
    kind: Kind
    default: Any
    help: str
    unit: str
    dangerous: bool
    optional: bool
    choices: tuple[str, ...]
    gt: float | None
    ge: float | None
    lt: float | None
    le: float | None
    applies: Condition | None

    @property
    def bounds(self) -> str:
        """What values are allowed, in words; empty where any value of the kind is."""
        low = f"above {self.gt:g}" if self.gt is not None else ""
        low = f"at least {self.ge:g}" if self.ge is not None else low
        # Caps that only keep numbers sane are not worth a reader's time.
        high = f"below {self.lt:g}" if self.lt is not None and self.lt < 1e6 else ""
        high = f"at most {self.le:g}" if self.le is not None and self.le < 1e6 else high
        words = ", ".join(part for part in (low, high) if part)
        return " or ".join(part for part in (", ".join(self.choices), words) if part)

    @property
    def facts(self) -> list[str]:
        """Its unit and its bounds, where it has them."""
        return [fact for fact in (self.unit, self.bounds) if fact]


def _arms(info: FieldInfo) -> tuple[Any, ...]:
    """The alternatives of a field's type: `int | None` has two."""
    if typing.get_origin(info.annotation) in (types.UnionType, typing.Union):
        return tuple(_bare(arm) for arm in typing.get_args(info.annotation))
    return (info.annotation,)


def _bare(arm: Any) -> Any:
    """A type without its bounds: int of `Annotated[int, Field(ge=0)]`."""
    return typing.get_args(arm)[0] if typing.get_origin(arm) is typing.Annotated else arm


def _limits(info: FieldInfo) -> dict[str, float]:
    """The bounds of a field, wherever in its type they stand."""
    annotated = [
        extra
        for arm in typing.get_args(info.annotation)
        if typing.get_origin(arm) is typing.Annotated
        for extra in typing.get_args(arm)[1:]
    ]
    limits = [*info.metadata, *(limit for extra in annotated for limit in extra.metadata)]
    names = ("gt", "ge", "lt", "le")
    return {n: getattr(limit, n) for n in names for limit in limits if hasattr(limit, n)}


def _kind(info: FieldInfo) -> Kind | None:
    arms = [typing.get_origin(arm) or arm for arm in _arms(info)]
    kinds: dict[Any, Kind] = {
        bool: "switch",
        int: "integer",
        float: "number",
        str: "text",
        list: "list",
        dict: "mapping",
        Literal: "choice",
    }
    for kind_type, kind in kinds.items():
        if kind_type in arms:
            extra = cast(dict[str, Any], info.json_schema_extra)
            return "multiline" if extra["multiline"] else kind
    return None


def _field(key: str, info: FieldInfo) -> Setting:
    extra = cast(dict[str, Any], info.json_schema_extra)
    arms = _arms(info)
    limits = _limits(info)
    kind = _kind(info)
    assert kind, key
    return Setting(
        key=key,
        section=extra["section"],
        kind=kind,
        default=info.default,
        help=info.description or "",
        unit=extra["unit"],
        dangerous=extra["dangerous"],
        optional=type(None) in arms,
        choices=tuple(
            word
            for arm in arms
            if typing.get_origin(arm) is Literal
            for word in typing.get_args(arm)
        ),
        gt=limits.get("gt"),
        ge=limits.get("ge"),
        lt=limits.get("lt"),
        le=limits.get("le"),
        applies=extra["applies"],
    )


def describe(model: type[BaseModel], prefix: str = "") -> Iterator[Setting]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield from describe(info.annotation, f"{prefix}{name}.")
        else:
            yield _field(prefix + name, info)
