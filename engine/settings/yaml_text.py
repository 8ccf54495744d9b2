"""YAML as a config file needs it: read safely and without surprises, written line by line.

Reading follows YAML 1.2 where 1.1 surprises: `1e-5` is a number, `010` and `1:30` are not, and
only true and false are switches. Anchors and aliases are refused, because a few lines of them can
stand for gigabytes, and a key given twice is an error.
"""

import re
from typing import Any

import yaml

from engine.errors import UserError

_FLOAT = re.compile(
    r"""^(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?
    |[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+
    |[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$""",
    re.VERBOSE,
)
_RESOLVERS = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")),
    ("tag:yaml.org,2002:float", _FLOAT, list("-+0123456789.")),
)
# What the parser says, whether the mistake is where it began to read, and what to say instead.
_MISTAKES = (
    (
        "mapping values are not allowed",
        False,
        "a ':' out of place: keys of one level begin in one column, and a text with ': ' in it is "
        "put in quotes",
    ),
    ("could not find expected ':'", True, "this is no `key: value`"),
    ("character '\\t'", False, "a tab, where YAML reads spaces alone"),
    ("that cannot start any token", False, "a text that begins with such a sign is put in quotes"),
    ("expected alphabetic or numeric", False, "a text that begins with * or & is put in quotes"),
    ("sequence entries are not allowed", False, "a text that begins with '- ' is put in quotes"),
    ("unexpected end of stream", True, "the quote that begins here is not closed"),
    ("but found '<scalar>'", False, "there is more after the closing quote: quote the whole text"),
    ("expected ',' or ']'", True, "the bracket that begins here is not closed"),
    ("expected ',' or '}'", True, "the bracket that begins here is not closed"),
)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - ours alone, not PyYAML's

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases (*name) are not read", problem_mark=mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        keys: set[str] = set()
        for key, _ in node.value:
            if key.value in keys and isinstance(key, yaml.ScalarNode):
                problem = f"{key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if isinstance(key, yaml.ScalarNode):
                keys.add(key.value)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Quotes each text that a reader of YAML 1.1 or of ours would take for something else."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - a copy of our own, not PyYAML's
        first: list(known) for first, known in yaml.SafeDumper.yaml_implicit_resolvers.items()
    }

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Text with line breaks of any script, or other odd characters, is quoted and escaped."""
    style = None if text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)
for _tag, _pattern, _first in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _pattern, _first)
    _Dumper.add_implicit_resolver(_tag, _pattern, _first)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text. Raises `UserError` naming `source` and the line."""
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark, problem = _in_words(error)
        line = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{source}{line}: {_one_line(problem)}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{source}: {_one_line(str(error))}") from error
    except RecursionError as error:
        raise UserError(f"{source}: nested too deeply") from error
    except (ValueError, OverflowError, TypeError, AttributeError, KeyError) as error:
        # PyYAML lets a few malformed values through to the constructors of Python's types.
        raise UserError(
            f"{source}: a value that YAML cannot hold ({_one_line(str(error))})"
        ) from error


def _in_words(error: yaml.MarkedYAMLError) -> tuple[yaml.Mark | None, str]:
    """Where YAML is at fault, and what is to be done: the parser stops where it can go on no more,
    which may be lines after the mistake, and speaks of its own parts."""
    mark, problem = error.problem_mark or error.context_mark, error.problem or "not YAML"
    for said, at_context, words in _MISTAKES:
        if said in problem:
            return (error.context_mark or mark) if at_context else mark, words
    if problem.startswith("but "):  # the end of a sentence that begins in the context
        problem = f"{error.context}, {problem}"
    return mark, problem


def yaml_line(key: str, entry: Any) -> list[str]:
    """The lines of `key: entry`; a text of several lines is written as a block where it can be."""
    if isinstance(entry, str) and _fits_block(entry):
        return [f"{key}: |-", *(f"  {line}" if line else "" for line in entry.split("\n"))]
    text = yaml.dump(
        entry, Dumper=_Dumper, default_flow_style=True, width=10**9, allow_unicode=True
    )
    return [
        f"{key}: {text.removesuffix('...' + chr(10)).strip()}" if entry is not None else f"{key}:"
    ]


def _fits_block(text: str) -> bool:
    lines = text.split("\n")
    plain = all(line.isprintable() and line == line.strip() for line in lines)
    return len(lines) > 1 and plain and bool(lines[0]) and bool(lines[-1])


def _one_line(text: str) -> str:
    words = " ".join(text.split())
    return "".join(char if char.isprintable() else "?" for char in words)[:200]
