"""Expressions that find a field in a provider's record: `profile.email`, `status == "ACTIVE"`.

Belongs here: the grammar, its parser and the parsed form. Does not: evaluating it (the
engine compiles it to SQL, so that no record becomes a Python object).

    expression = comparison { "&&" comparison }  |  value { "||" value }
    comparison = path ( "==" | "!=" ) literal
    value      = part { "+" part }             part = path | 'text'
    path       = step { "." key | select }     step = key | select
    select     = "[" position "]"  |  "[" key ( "==" | "!=" ) literal "]"
    key        = letters, digits and _ @ $ - :   |   any JSON string, for example "a.b"
                 (one that begins with @ includes its dots: @odata.nextLink is one key)
    literal    = a JSON string, number, true, false or null

`$parent` is the key of whom a record was listed under, such as a member's group;
`emails[primary == true].value` is the first member of a list where the condition holds;
`a == 1 && b == 2` is true where both are; `a || b` is the first of the two that is there and
not empty; `first + ' ' + last` joins
texts, leaving out what is missing and white space around the whole.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass

from elt_assets.errors import InvalidInput

Literal = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Where:
    """The first member of a list whose `key` equals (or, negated, differs from) a literal."""

    key: str
    literal: Literal
    negated: bool = False


Segment = str | int | Where


@dataclass(frozen=True, slots=True)
class Path:
    """Steps from the record to a value: object keys, list positions and conditions."""

    segments: tuple[Segment, ...]

    def __str__(self) -> str:
        return written(self.segments)


PARENT = Path(("$parent",))
"""The parent under which the record was listed; it comes with the page (`Page.parents`)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the value at `path` equals (or, negated, differs from) a literal."""

    path: Path
    literal: Literal
    negated: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Whether every comparison holds."""

    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True, slots=True)
class Joined:
    """Texts one after the other; the parts that are plain `str` are written as they are."""

    parts: tuple[Path | str, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The first option that is there and not empty."""

    options: tuple[Path | Joined, ...]


@dataclass(frozen=True, slots=True)
class Unordered:
    """A list whose order means nothing, by the integration's word: it is no part of a grammar."""

    value: Path | Joined | Alternatives


Value = Path | Joined | Alternatives | Unordered
Expression = Value | Comparison | All

_KEY = re.compile(r"@[\w$:-]+(?:\.[\w$:-]+)*|[\w@$:-]+")
_POSITION = re.compile(r"\[(\d{1,9})\]", re.ASCII)
_OPERATOR = re.compile(r"\s*(==|!=)\s*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_QUOTED_OR_BARE = re.compile(rf"{_STRING.pattern}|{_KEY.pattern}")
_TEXT = re.compile(r"'((?:[^']|'')*)'")
_PLUS = re.compile(r"\s*\+\s*")
_OR = re.compile(r"\s*\|\|\s*")
_AND = re.compile(r"\s*&&\s*")
_CONDITION = re.compile(r"\[\s*")
_CLOSING = re.compile(r"\s*\]")


def parse(text: str) -> Expression:
    """Read an expression. Raises `InvalidInput` naming the position of the first mistake."""
    source = text.strip()
    value, position = _joined(source, 0)
    if isinstance(value, Path) and _OPERATOR.match(source, position):
        return _comparisons(source)
    options: list[Path | Joined] = [value]
    while following := _OR.match(source, position):
        value, position = _joined(source, following.end())
        options.append(value)
    if position < len(source):
        raise _mistake(source, position, "expected '.', '[', '==', '!=', '+', '||' or the end")
    return options[0] if len(options) == 1 else Alternatives(tuple(options))


def speaks_of_parent(expression: Expression) -> bool:
    """Whether an expression reads the parent under which the record was listed."""
    match expression:
        case Comparison(path=path):
            return path == PARENT
        case All(comparisons):
            return any(speaks_of_parent(one) for one in comparisons)
        case Unordered(value):
            return speaks_of_parent(value)
        case Joined(parts):
            return PARENT in parts
        case Alternatives(options):
            return any(speaks_of_parent(option) for option in options)
    return expression == PARENT


def names_used(expression: Expression) -> set[str]:
    """Keys of the record itself that an expression looks at."""
    match expression:
        case Path(segments):
            return {segment for segment in segments[:1] if isinstance(segment, str)}
        case Comparison(path=path):
            return names_used(path)
        case All(comparisons):
            return {name for one in comparisons for name in names_used(one)}
        case Unordered(value):
            return names_used(value)
        case Joined(parts):
            return {name for one in parts if isinstance(one, Path) for name in names_used(one)}
        case Alternatives(options):
            return {name for one in options for name in names_used(one)}


def parse_path(text: str) -> Path:
    """Read a path alone, without a comparison. Raises `InvalidInput`."""
    expression = parse(text)
    if isinstance(expression, Comparison | All):
        raise InvalidInput(f"{text!r} compares; here only a path like data.items can stand")
    if not isinstance(expression, Path):
        raise InvalidInput(f"{text!r} is more than a path; here only one like data.items can stand")
    return expression


def parse_keys(text: str) -> tuple[str, ...]:
    """Read a path made of object keys alone; an empty text is the empty path."""
    if not text.strip():
        return ()
    segments = parse_path(text).segments
    keys = tuple(segment for segment in segments if isinstance(segment, str))
    if len(keys) != len(segments):
        raise InvalidInput(
            f"{text!r} has a list position or a condition; here only keys like data.items can stand"
        )
    if "*" in keys or "" in keys:
        # DuckDB takes the one for all keys at once and refuses the other.
        raise InvalidInput(f"{text!r} has a key that is '*' or empty, which cannot be read here")
    return keys


def parse_condition(text: str) -> tuple[tuple[str, ...], Literal]:
    """Read `keys == literal`, such as `kind == "list"`, made of object keys alone."""
    expression = parse(text)
    if not isinstance(expression, Comparison) or expression.negated:
        raise InvalidInput(f'{text!r} is no condition like kind == "list"')
    return parse_keys(str(expression.path)), expression.literal


def written(segments: tuple[Segment, ...]) -> str:
    """A path as a person writes it, for messages."""
    text = ""
    for segment in segments:
        if isinstance(segment, int):
            text += f"[{segment}]"
        elif isinstance(segment, Where):
            operator = "!=" if segment.negated else "=="
            literal = json.dumps(segment.literal, ensure_ascii=False)
            text += f"[{written((segment.key,))} {operator} {literal}]"
        else:
            key = segment if _KEY.fullmatch(segment) else json.dumps(segment, ensure_ascii=False)
            text += f".{key}" if text else key
    return text


def _comparisons(source: str) -> Comparison | All:
    found: list[Comparison] = []
    position = 0
    while True:
        path, position = _path(source, position)
        operator = _OPERATOR.match(source, position)
        if operator is None:
            raise _mistake(source, position, "expected '==' or '!='")
        literal, position = _literal(source, operator.end())
        found.append(Comparison(path, literal, negated=operator[1] == "!="))
        following = _AND.match(source, position)
        if following is None:
            break
        position = following.end()
    if position < len(source):
        raise _mistake(source, operator.end(), _EXPECTED_LITERAL)
    return found[0] if len(found) == 1 else All(tuple(found))


_EXPECTED_LITERAL = 'expected "text", a number, true, false or null after it'


def _joined(source: str, position: int) -> tuple[Path | Joined, int]:
    start = position
    parts: list[Path | str] = []
    while True:
        part: Path | str
        if text := _TEXT.match(source, position):
            part, position = text[1].replace("''", "'"), text.end()
        else:
            part, position = _path(source, position)
        parts.append(part)
        following = _PLUS.match(source, position)
        if following is None:
            break
        position = following.end()
    if len(parts) == 1 and isinstance(parts[0], Path):
        return parts[0], position
    if not any(isinstance(part, Path) for part in parts):
        raise _mistake(source, start, "expected a path beside the text")
    return Joined(tuple(parts)), position


def _where(source: str, position: int) -> tuple[Where, int]:
    opening = _CONDITION.match(source, position)
    name = _QUOTED_OR_BARE.match(source, position if opening is None else opening.end())
    operator = None if name is None else _OPERATOR.match(source, name.end())
    if name is None or operator is None:
        raise _mistake(source, position, "expected [0] or [key == literal]")
    key, _ = _key(source, name.start())
    literal, position = _literal(source, operator.end())
    closing = _CLOSING.match(source, position)
    if closing is None:
        raise _mistake(source, position, "expected ']'")
    return Where(key, literal, negated=operator[1] == "!="), closing.end()


def _literal(source: str, position: int) -> tuple[Literal, int]:
    try:
        value, end = _DECODER.raw_decode(source, position)
    except ValueError:
        value, end = [], position
    if isinstance(value, (list, dict)):
        raise _mistake(source, position, _EXPECTED_LITERAL)
    if isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max:
        raise _mistake(source, position, "the number is too large to compare with")
    return value, end


def _path(source: str, position: int) -> tuple[Path, int]:
    segments: list[Segment] = []
    while True:
        if index := _POSITION.match(source, position):
            segments.append(int(index[1]))
            position = index.end()
        elif source.startswith("[", position):
            where, position = _where(source, position)
            segments.append(where)
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


_DECODER = json.JSONDecoder(parse_constant=_refuse)
