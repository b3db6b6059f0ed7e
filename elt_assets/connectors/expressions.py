"""Expressions that find a field in a provider's record: `profile.email`, `status == "ACTIVE"`.

Belongs here: the grammar, its parser and the parsed form. Does not: evaluating it (the
engine compiles it to SQL, so that no record becomes a Python object).

    expression = path [ ("==" | "!=") literal ]
    path       = step { "." key | "[" position "]" }      step = key | "[" position "]"
    key        = letters, digits and _ @ $ - :   |   any JSON string, for example "a.b"
    literal    = a JSON string, number, true, false or null
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from elt_assets.errors import InvalidInput

Segment = str | int


@dataclass(frozen=True, slots=True)
class Path:
    """Steps from the record to a value: object keys and list positions."""

    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return written(self.segments)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the value at `path` equals (or, negated, differs from) a literal."""

    path: Path
    literal: str | int | float | bool | None
    negated: bool = False


Expression = Path | Comparison

_KEY = re.compile(r"[\w@$:-]+")
_POSITION = re.compile(r"\[(\d{1,9})\]", re.ASCII)
_OPERATOR = re.compile(r"\s*(==|!=)\s*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')


def parse(text: str) -> Expression:
    """Read an expression. Raises `InvalidInput` naming the position of the first mistake."""
    source = text.strip()
    path, position = _path(source)
    if position == len(source):
        return path
    operator = _OPERATOR.match(source, position)
    if operator is None:
        raise _mistake(source, position, "expected '.', '[', '==', '!=' or the end")
    literal = source[operator.end() :]
    try:
        value = json.loads(literal, parse_constant=_refuse)
    except ValueError:
        value = []
    if isinstance(value, (list, dict)):
        raise _mistake(
            source, operator.end(), 'expected "text", a number, true, false or null after it'
        )
    return Comparison(path, value, negated=operator[1] == "!=")


def parse_path(text: str) -> Path:
    """Read a path alone, without a comparison. Raises `InvalidInput`."""
    expression = parse(text)
    if isinstance(expression, Comparison):
        raise InvalidInput(f"{text!r} compares; here only a path like data.items can stand")
    return expression


def parse_keys(text: str) -> tuple[str, ...]:
    """Read a path made of object keys alone; an empty text is the empty path."""
    if not text.strip():
        return ()
    segments = parse_path(text).segments
    keys = tuple(segment for segment in segments if isinstance(segment, str))
    if len(keys) != len(segments):
        raise InvalidInput(
            f"{text!r} has a list position; here only keys like data.items can stand"
        )
    return keys


def written(segments: tuple[Segment, ...]) -> str:
    """A path as a person writes it, for messages."""
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
        else:
            key = segment if _KEY.fullmatch(segment) else json.dumps(segment, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def _path(source: str) -> tuple[Path, int]:
    segments: list[Segment] = []
    position = 0
    while True:
        if index := _POSITION.match(source, position):
            segments.append(int(index[1]))
            position = index.end()
        else:
            if segments:
                if not source.startswith(".", position):
                    return Path(tuple(segments)), position
                position += 1
            key, position = _key(source, position)
            segments.append(key)


def _key(source: str, position: int) -> tuple[str, int]:
    if quoted := _STRING.match(source, position):
        try:
            return str(json.loads(quoted[0])), quoted.end()
        except ValueError:
            raise _mistake(source, position, "this quoted key is not a JSON string") from None
    if bare := _KEY.match(source, position):
        return bare[0], bare.end()
    raise _mistake(source, position, "expected a key")


def _mistake(source: str, position: int, expected: str) -> InvalidInput:
    return InvalidInput(f"expression {source!r}: {expected}, at position {position + 1}")


def _refuse(constant: str) -> None:
    raise ValueError(constant)
