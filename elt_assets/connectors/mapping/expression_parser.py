"""The parser of expressions; `expressions` has their grammar and parsed form."""

from __future__ import annotations

import json
import re
import sys

from elt_assets.connectors.mapping.expressions import (
    BARE_KEY,
    All,
    Alternatives,
    AnyOf,
    Comparison,
    Condition,
    Contains,
    Expression,
    Joined,
    Literal,
    Lowered,
    Mapped,
    Not,
    OneOf,
    Operand,
    Path,
    Segment,
    Single,
    Where,
)
from elt_assets.errors import InvalidInput

_POSITION = re.compile(r"\[(\d{1,9})\]", re.ASCII)

_OPERATOR = re.compile(r"\s*(==|!=)\s*")

_COMPARED = re.compile(r"\s*(==|!=)\s*|\s+(not\s+in|in|contains)\b\s*")

_NOT = re.compile(r"not\s+(?!in\s*\[|contains\s*[\"\d])(?=[\w@$\"(\[])|not(?=\()")

_FUNCTION = re.compile(r"(lower|map)\(\s*")

_COMMA = re.compile(r"\s*,\s*")

_CLOSED = re.compile(r"\s*\)")

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')

_QUOTED_OR_BARE = re.compile(rf"{_STRING.pattern}|{BARE_KEY.pattern}")

_TEXT = re.compile(r"'((?:[^']|'')*)'")

_PLUS = re.compile(r"\s*\+\s*")

_OR = re.compile(r"\s*\|\|\s*")

_OR_ELSE = re.compile(r"\s*\|\|\s*|\s+or\s+")

_AND = re.compile(r"\s*&&\s*|\s+and\s+")

_DEEPEST = 32

_CONDITION = re.compile(r"\[\s*")

_CLOSING = re.compile(r"\s*\]")


def parse(text: str) -> Expression:
    """Read an expression. Raises `InvalidInput` naming the position of the first mistake."""
    source = text.strip()
    if _NOT.match(source) or source.startswith("("):
        return _whole_condition(source)
    value, position = _joined(source, 0)
    if isinstance(value, Operand) and _COMPARED.match(source, position):
        return _whole_condition(source)
    options: list[Single | Joined] = [value]
    while following := _OR.match(source, position):
        value, position = _joined(source, following.end())
        options.append(value)
    if position < len(source):
        raise _mistake(source, position, "expected '.', '[', '==', '!=', '+', '||' or the end")
    return options[0] if len(options) == 1 else Alternatives(tuple(options))


def parse_path(text: str) -> Path:
    """Read a path alone, without a comparison. Raises `InvalidInput`."""
    expression = parse(text)
    if isinstance(expression, Condition):
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
        # DuckDB takes '*' for all keys at once and refuses an empty key.
        raise InvalidInput(f"{text!r} has a key that is '*' or empty, which cannot be read here")
    return keys


def parse_condition(text: str) -> tuple[tuple[str, ...], Literal]:
    """Read a condition `keys == literal`, such as `kind == "list"`. Raises `InvalidInput`."""
    expression = parse(text)
    if (
        not isinstance(expression, Comparison)
        or expression.negated
        or not isinstance(expression.path, Path)
    ):
        raise InvalidInput(f'{text!r} is no condition like kind == "list"')
    return parse_keys(str(expression.path)), expression.literal


def _whole_condition(source: str) -> Condition:
    found, position = _condition(source, 0, 0)
    if position < len(source):
        raise _mistake(source, position, "expected 'and', 'or' or the end")
    return found


def _condition(source: str, position: int, depth: int) -> tuple[Condition, int]:
    found, position = _each(source, position, depth)
    options = [found]
    while following := _OR_ELSE.match(source, position):
        found, position = _each(source, following.end(), depth)
        options.append(found)
    return options[0] if len(options) == 1 else AnyOf(tuple(options)), position


def _each(source: str, position: int, depth: int) -> tuple[Condition, int]:
    found, position = _test(source, position, depth)
    parts = [found]
    while following := _AND.match(source, position):
        found, position = _test(source, following.end(), depth)
        parts.append(found)
    return parts[0] if len(parts) == 1 else All(tuple(parts)), position


def _test(source: str, position: int, depth: int) -> tuple[Condition, int]:
    if depth > _DEEPEST:
        raise _mistake(source, position, f"expected no more than {_DEEPEST} conditions in another")
    if negation := _NOT.match(source, position):
        found, position = _test(source, negation.end(), depth + 1)
        return Not(found), position
    if source.startswith("(", position):
        found, position = _condition(source, _after_space(source, position + 1), depth + 1)
        return found, _closed(source, position)
    operand, position = _operand(source, position)
    operator = _COMPARED.match(source, position)
    if operator is None:
        raise _mistake(source, position, "expected '==', '!=', 'in' or 'contains'")
    if operator[2] is not None and operator[2] != "contains":
        literals, position = _literals(source, operator.end())
        one_of = OneOf(operand, literals)
        return one_of if operator[2] == "in" else Not(one_of), position
    literal, position = _literal(source, operator.end())
    if operator[2] == "contains":
        return Contains(operand, literal), position
    return Comparison(operand, literal, negated=operator[1] == "!="), position


def _operand(source: str, position: int) -> tuple[Operand, int]:
    function = _FUNCTION.match(source, position)
    if function is None:
        return _path(source, position)
    if function[1] != "lower":
        raise _mistake(source, position, "expected a path or lower(path)")
    path, position = _path(source, function.end())
    return Lowered(path), _closed(source, position)


def _mapped(source: str, position: int) -> tuple[Mapped, int]:
    path, position = _path(source, position)
    comma = _COMMA.match(source, position)
    position = position if comma is None else comma.end()
    try:
        table, end = _DECODER.raw_decode(source, position)
    except ValueError:
        table, end = None, position
    if comma is None or not isinstance(table, dict) or not all(map(_is_entry, table.values())):
        raise _mistake(
            source, position, 'expected , {"from": "to", …} with texts, true, false or null'
        )
    default: Literal = None
    position = end
    if comma := _COMMA.match(source, position):
        default, position = _literal(source, comma.end())
    if not _is_entry(default):
        raise _mistake(source, position, "expected a text, true, false or null before this")
    return Mapped(path, tuple(table.items()), default), _closed(source, position)  # type: ignore[arg-type]


def _is_entry(value: object) -> bool:
    return value is None or isinstance(value, str | bool)


def _literals(source: str, position: int) -> tuple[tuple[Literal, ...], int]:
    if not source.startswith("[", position):
        raise _mistake(source, position, 'expected a list such as ["A", "B"]')
    found: list[Literal] = []
    position = _after_space(source, position + 1)
    while True:
        literal, position = _literal(source, position)
        found.append(literal)
        comma = _COMMA.match(source, position)
        if comma is None:
            break
        position = comma.end()
    closing = _CLOSING.match(source, position)
    if closing is None:
        raise _mistake(source, position, "expected ',' or ']'")
    return tuple(found), closing.end()


def _after_space(source: str, position: int) -> int:
    while position < len(source) and source[position].isspace():
        position += 1
    return position


def _closed(source: str, position: int) -> int:
    closing = _CLOSED.match(source, position)
    if closing is None:
        raise _mistake(source, position, "expected ')'")
    return closing.end()


_EXPECTED_LITERAL = 'expected "text", a number, true, false or null after it'


def _joined(source: str, position: int) -> tuple[Single | Joined, int]:
    start = position
    parts: list[Single | str] = []
    while True:
        part: Single | str
        if text := _TEXT.match(source, position):
            part, position = text[1].replace("''", "'"), text.end()
        elif (function := _FUNCTION.match(source, position)) and function[1] == "map":
            part, position = _mapped(source, function.end())
        elif function is not None:
            part, position = _operand(source, position)
        else:
            part, position = _path(source, position)
        parts.append(part)
        following = _PLUS.match(source, position)
        if following is None:
            break
        position = following.end()
    if len(parts) == 1 and not isinstance(parts[0], str):
        return parts[0], position
    if all(isinstance(part, str) for part in parts):
        raise _mistake(source, start, "expected a path in addition to the text")
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
    if bare := BARE_KEY.match(source, position):
        return bare[0], bare.end()
    raise _mistake(source, position, "expected a key")


def _mistake(source: str, position: int, expected: str) -> InvalidInput:
    return InvalidInput(f"expression {source!r}: {expected}, at position {position + 1}")


def _refuse(constant: str) -> None:
    raise ValueError(constant)


_DECODER = json.JSONDecoder(parse_constant=_refuse)
