"""Evaluate an expression on one decoded record, without a database.

Pages are mapped in SQL by `sync.extract.record_mapping`; a test checks that both give the same
results.
"""

from __future__ import annotations

from typing import Any

from elt_assets.connectors.mapping.expressions import (
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
    Unordered,
    Where,
)

_FALSE = ("false", "f", "no", "n", "0")


def holds(expression: Expression, record: Any) -> bool:
    """Whether the expression is true of the record; a missing value counts as true."""
    match expression:
        case Comparison(path, literal, negated):
            return equal(_operand(path, record), literal) is not negated
        case OneOf(path, literals):
            value = _operand(path, record)
            return any(equal(value, literal) for literal in literals)
        case Contains(path, literal):
            return _contains(_operand(path, record), literal)
        case All(conditions):
            return all(holds(one, record) for one in conditions)
        case AnyOf(conditions):
            return any(holds(one, record) for one in conditions)
        case Not(condition):
            return not holds(condition, record)
    text = text_at(expression, record)
    return text is None or text.lower() not in _FALSE


def text_at(expression: Expression, record: Any) -> str | None:
    """The scalar that an expression finds in the record, as text."""
    if isinstance(expression, Condition):
        return str(holds(expression, record)).lower()
    match expression:
        case Unordered(value):
            return text_at(value, record)
        case Path() | Lowered():
            return _text(_operand(expression, record))
        case Mapped(path, table, default):
            key = text_at(path, record)
            return _text(default if key is None else dict(table).get(key, default))
        case Joined(parts):
            found = [part if isinstance(part, str) else text_at(part, record) for part in parts]
            there = any(
                text is not None and not isinstance(part, str)
                for part, text in zip(parts, found, strict=True)
            )
            return ("".join(text or "" for text in found).strip() or None) if there else None
        case Alternatives(options):
            return next((text for one in options if (text := text_at(one, record))), None)


def _operand(operand: Operand, record: Any) -> Any:
    if isinstance(operand, Path):
        return _at(operand, record)
    value = _at(operand.path, record)
    return value.lower() if isinstance(value, str) else value


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, (str, int, float)) else None


def _contains(value: Any, literal: Literal) -> bool:
    if isinstance(value, list):
        return any(equal(member, literal) for member in value)
    return isinstance(value, str) and isinstance(literal, str) and literal in value


def _at(path: Path, value: Any) -> Any:
    for segment in path.segments:
        match segment:
            case str() if isinstance(value, dict):
                value = value.get(segment)
            case int() if isinstance(value, list) and segment < len(value):
                value = value[segment]
            case Where(key, literal, negated) if isinstance(value, list):
                value = next(
                    (
                        member
                        for member in value
                        if equal(member.get(key) if isinstance(member, dict) else None, literal)
                        is not negated
                    ),
                    None,
                )
            case _:
                return None
    return value


def equal(value: Any, literal: Literal) -> bool:
    """Whether a value equals the literal; a text never equals a number."""
    if isinstance(value, bool) or isinstance(literal, bool):
        return value is literal
    if isinstance(value, (int, float)) and isinstance(literal, (int, float)):
        return value == literal
    return type(value) is type(literal) and value == literal
