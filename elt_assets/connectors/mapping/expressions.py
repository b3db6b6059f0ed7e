"""Expressions that find a field in a provider's record: `profile.email`, `status == "ACTIVE"`.

The module defines the grammar and the parsed form; the parser is in `expression_parser`. The sync
engine compiles expressions to SQL in `sync.extract.record_mapping`, so that no record becomes a
Python object.

    expression = condition  |  value { "||" value }
    condition  = each { ( "||" | "or" ) each }        each = test { ( "&&" | "and" ) test }
    test       = "not" test | "(" condition ")" | operand compared
    compared   = ( "==" | "!=" | "contains" ) literal
               | [ "not" ] "in" "[" literal { "," literal } "]"
    operand    = path | "lower(" path ")"
    value      = part { "+" part }
    part       = operand | 'text' | "map(" path "," { text: literal } [ "," literal ] ")"
    path       = step { "." key | select }     step = key | select
    select     = "[" position "]"  |  "[" key ( "==" | "!=" ) literal "]"
    key        = letters, digits and _ @ $ - :   |   any JSON string, for example "a.b"
                 (one that begins with @ includes its dots: @odata.nextLink is one key)
    literal    = a JSON string, number, true, false or null

`$parent` is the key of the record under which a record was listed, such as a member's group.
`emails[primary == true].value` is the first member of a list for which the condition holds.
`a == 1 && b == 2` is true where both conditions are. `a || b` is the first of the two values that
is present and not empty. `first + ' ' + last` joins texts; missing parts are left out, and so is
white space around the result. `contains` tests for a member of a list or a part of a text.
`map(state, {"A": "active"}, "other")` looks up a text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

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
class Lowered:
    """A text in lower case."""

    path: Path


@dataclass(frozen=True, slots=True)
class Mapped:
    """The table's entry for the scalar at `path`; without one, the default."""

    path: Path
    table: tuple[tuple[str, str | bool | None], ...]
    default: str | bool | None = None


Operand = Path | Lowered


@dataclass(frozen=True, slots=True)
class Comparison:
    """Whether the value at `path` equals (or, negated, differs from) a literal."""

    path: Operand
    literal: Literal
    negated: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """Whether the value at `path` equals one of several literals."""

    path: Operand
    literals: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """Whether the list at `path` has a member equal to the literal, or the text contains it."""

    path: Operand
    literal: Literal


@dataclass(frozen=True, slots=True)
class All:
    """Whether every condition holds."""

    comparisons: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whether some condition holds."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Whether the condition does not hold."""

    condition: Condition


Condition = Comparison | OneOf | Contains | All | AnyOf | Not


@dataclass(frozen=True, slots=True)
class Joined:
    """Texts joined into one; a part that is a plain `str` is literal text."""

    parts: tuple[Single | str, ...]


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The first option that is present and not empty."""

    options: tuple[Single | Joined, ...]


@dataclass(frozen=True, slots=True)
class Unordered:
    """A list whose order means nothing, as the integration declares; not part of the grammar."""

    value: Single | Joined | Alternatives


Single = Path | Lowered | Mapped
Value = Single | Joined | Alternatives | Unordered
Expression = Value | Condition

BARE_KEY = re.compile(r"@[\w$:-]+(?:\.[\w$:-]+)*|[\w@$:-]+")


def speaks_of_parent(expression: Expression) -> bool:
    """Whether an expression reads the parent under which the record was listed."""
    match expression:
        case Comparison(path=path) | OneOf(path=path) | Contains(path=path):
            return speaks_of_parent(path)
        case Lowered(path) | Mapped(path=path):
            return path == PARENT
        case All(parts) | AnyOf(parts):
            return any(speaks_of_parent(one) for one in parts)
        case Not(condition):
            return speaks_of_parent(condition)
        case Unordered(value):
            return speaks_of_parent(value)
        case Joined(joined):
            return any(not isinstance(one, str) and speaks_of_parent(one) for one in joined)
        case Alternatives(options):
            return any(speaks_of_parent(option) for option in options)
    return expression == PARENT


def literals_of(condition: Condition) -> set[Literal]:
    """The literals that a condition compares with."""
    match condition:
        case Comparison(literal=literal) | Contains(literal=literal):
            return {literal}
        case OneOf(literals=literals):
            return set(literals)
        case All(parts) | AnyOf(parts):
            return {literal for one in parts for literal in literals_of(one)}
        case Not(inner):
            return literals_of(inner)


def names_used(expression: Expression) -> set[str]:
    """The top-level keys of the record that an expression reads."""
    match expression:
        case Path(segments):
            return {segment for segment in segments[:1] if isinstance(segment, str)}
        case Comparison(path=path) | OneOf(path=path) | Contains(path=path):
            return names_used(path)
        case Lowered(path) | Mapped(path=path):
            return names_used(path)
        case All(conditions) | AnyOf(conditions):
            return {name for one in conditions for name in names_used(one)}
        case Not(condition):
            return names_used(condition)
        case Unordered(value):
            return names_used(value)
        case Joined(parts):
            return {name for one in parts if not isinstance(one, str) for name in names_used(one)}
        case Alternatives(options):
            return {name for one in options for name in names_used(one)}


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
            key = (
                segment if BARE_KEY.fullmatch(segment) else json.dumps(segment, ensure_ascii=False)
            )
            text += f".{key}" if text else key
    return text
