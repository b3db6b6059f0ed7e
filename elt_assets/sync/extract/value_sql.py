"""SQL for the values of a record that expressions name, and for conditions on them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from elt_assets.connectors.mapping.expressions import (
    PARENT,
    All,
    Alternatives,
    AnyOf,
    Comparison,
    Condition,
    Contains,
    Joined,
    Literal,
    Lowered,
    Mapped,
    Not,
    OneOf,
    Path,
    Segment,
    Unordered,
    Value,
    Where,
)
from elt_assets.storage.warehouse.warehouse import literal
from elt_assets.sync.extract.scalars import SCALAR


@dataclass(frozen=True, slots=True)
class _Computed:
    """SQL for a value as text, for its JSON type and for the value as JSON."""

    text: str
    form: str
    json: str


@dataclass(frozen=True, slots=True)
class _Pointed:
    """The value of a plain path; reading a property makes the query fetch that form of it."""

    pointers: Pointers
    pointer: str

    @property
    def text(self) -> str:
        return self.pointers.texts.at(self.pointer)

    @property
    def form(self) -> str:
        return self.pointers.forms.at(self.pointer)

    @property
    def json(self) -> str:
        return self.pointers.jsons.at(self.pointer)


_Found = _Computed | _Pointed


class _Fetched:
    """The values that a DuckDB function extracts from a record at several JSON pointers (RFC 6901).

    The function parses the record once for all pointers, but each pointer takes additional time.
    """

    def __init__(self, function: str, name: str) -> None:
        self._function = function
        self._name = name
        self._pointers: list[str] = []

    def at(self, pointer: str) -> str:
        """The name of the column that will have the value at `pointer`."""
        if pointer not in self._pointers:
            self._pointers.append(pointer)
        return f"{self._name}_{self._pointers.index(pointer) + 1}"

    @property
    def all(self) -> list[str]:
        """SQL for the list of the extracted values; empty if no pointer was added."""
        pointed = ", ".join(map(literal, self._pointers))
        call = f"{self._function}(raw, [{pointed}]::VARCHAR[]) AS {self._name}s"
        return [call] if self._pointers else []

    @property
    def each(self) -> list[str]:
        """SQL for the columns, taken from the list."""
        places = range(1, len(self._pointers) + 1)
        return [f"{self._name}s[{place}] AS {self._name}_{place}" for place in places]


class Pointers:
    """The values that a mapping needs of a record.

    These are the values of plain paths, and `columns`, each computed from them once per record.
    """

    def __init__(self) -> None:
        self.texts = _Fetched("json_extract_string", "text")
        self.forms = _Fetched("json_type", "form")
        self.jsons = _Fetched("json_extract", "json")
        self.columns: list[str] = []
        self._computed: dict[Value, _Found] = {}

    @property
    def fetched(self) -> list[str]:
        """SQL for the lists with the values of plain paths."""
        return [*self.texts.all, *self.forms.all, *self.jsons.all]

    @property
    def members(self) -> list[str]:
        """SQL for the columns taken from these lists."""
        return [*self.texts.each, *self.forms.each, *self.jsons.each]

    def find(self, value: Value) -> _Found:
        """SQL for a record's value of an expression of the field map."""
        if isinstance(value, Unordered):
            return self.find(value.value)
        if value == PARENT:
            return _Computed(
                "parent", "CASE WHEN parent IS NOT NULL THEN 'VARCHAR' END", "to_json(parent)"
            )
        if isinstance(value, Path) and not any(isinstance(s, Where) for s in value.segments):
            return _Pointed(self, json_pointer(value.segments))
        if value not in self._computed:
            match value:
                case Path():
                    found = self._selected(value)
                case Joined():
                    found = self._joined(value)
                case Lowered():
                    found = self._lowered(value)
                case Mapped():
                    found = self._mapped(value)
                case Alternatives():
                    found = self._first(value)
            self._computed[value] = self._named(found)
        return self._computed[value]

    def column(self, name: str, sql: str) -> str:
        """Add the column `name`, in which `sql` is computed once per record; return the name."""
        self.columns.append(f"{sql} AS {name}")
        return name

    def _named(self, found: _Found) -> _Found:
        name = f"value_{len(self._computed)}"
        return _Computed(
            self.column(f"{name}_text", found.text),
            self.column(f"{name}_form", found.form),
            self.column(f"{name}_json", found.json),
        )

    def _selected(self, path: Path) -> _Found:
        """The value of a path that selects list members by a condition."""
        base, way = "raw", list[Segment]()
        for segment in path.segments:
            if not isinstance(segment, Where):
                way.append(segment)
                continue
            at = f"{base}, {literal(json_pointer(tuple(way)))}" if way else f"{base}, '$'"
            form = f"json_type(member, {literal(json_pointer((segment.key,)))})"
            text = f"json_extract_string(member, {literal(json_pointer((segment.key,)))})"
            holds = _equality(text, form, segment.literal, segment.negated)
            base = (
                f"list_filter(json_extract(json_extract({at}), '$[*]'), lambda member: {holds})[1]"
            )
            way = []
        pointer = literal(json_pointer(tuple(way))) if way else "'$'"
        return _Computed(
            f"json_extract_string({base}, {pointer})",
            f"json_type({base}, {pointer})",
            f"json_extract({base}, {pointer})",
        )

    def _lowered(self, lowered: Lowered) -> _Computed:
        found = self.find(lowered.path)
        text = f"CASE WHEN {found.form} = 'VARCHAR' THEN lower({found.text}) ELSE {found.text} END"
        json = f"CASE WHEN {found.form} = 'VARCHAR' THEN to_json({text}) ELSE {found.json} END"
        return _Computed(text, found.form, json)

    def _mapped(self, mapped: Mapped) -> _Computed:
        found = self.find(mapped.path)
        nested = f"{found.form} IN ('OBJECT', 'ARRAY', 'NULL')"
        scalar = f"CASE WHEN NOT {nested} THEN {found.text} END"

        def looked_up(write: Callable[[str | bool | None], str]) -> str:
            cases = [f"WHEN {literal(key)} THEN {write(value)}" for key, value in mapped.table]
            default = write(mapped.default)
            return f"CASE {scalar} {' '.join(cases)} ELSE {default} END" if cases else default

        return _Computed(
            looked_up(_written_text), looked_up(_written_form), looked_up(_written_json)
        )

    def _joined(self, joined: Joined) -> _Found:
        texts = []
        for part in joined.parts:
            if isinstance(part, str):
                continue
            found = self.find(part)
            texts.append(f"CASE WHEN {found.form} {SCALAR} THEN {found.text} END")
        there = iter(texts)
        parts = [literal(part) if isinstance(part, str) else next(there) for part in joined.parts]
        text = (
            f"CASE WHEN coalesce({', '.join(texts)}) IS NOT NULL"
            f" THEN nullif(trim(concat({', '.join(parts)})), '') END"
        )
        return _Computed(
            text, f"CASE WHEN {text} IS NOT NULL THEN 'VARCHAR' END", f"to_json({text})"
        )

    def _first(self, alternatives: Alternatives) -> _Found:
        *options, last = (self.find(option) for option in alternatives.options)
        cases = [
            (f"WHEN coalesce({one.form}, 'NULL') <> 'NULL' AND {one.text} <> ''", one)
            for one in options
        ]
        return _Computed(
            f"CASE {' '.join(f'{when} THEN {one.text}' for when, one in cases)}"
            f" ELSE {last.text} END",
            f"CASE {' '.join(f'{when} THEN {one.form}' for when, one in cases)}"
            f" ELSE {last.form} END",
            f"CASE {' '.join(f'{when} THEN {one.json}' for when, one in cases)}"
            f" ELSE {last.json} END",
        )


def json_pointer(segments: tuple[Segment, ...]) -> str:
    """The path as a JSON pointer (RFC 6901)."""
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def comparison_sql(expression: Condition, pointers: Pointers) -> str:
    """SQL for a condition of the field map; it is true or false, never NULL."""
    match expression:
        case All(conditions):
            return f"({' AND '.join(comparison_sql(one, pointers) for one in conditions)})"
        case AnyOf(conditions):
            return f"({' OR '.join(comparison_sql(one, pointers) for one in conditions)})"
        case Not(condition):
            return f"(NOT {comparison_sql(condition, pointers)})"
        case Comparison(path, wanted, negated):
            found = pointers.find(path)
            return _equality(found.text, found.form, wanted, negated)
        case OneOf(path, literals):
            found = pointers.find(path)
            equal = (_equality(found.text, found.form, one, False) for one in literals)
            return f"({' OR '.join(equal)})"
        case Contains(path, wanted):
            return _containment(pointers.find(path), wanted)


def _containment(found: _Found, wanted: Literal) -> str:
    equal = _equality("json_extract_string(member, '$')", "json_type(member)", wanted, False)
    members = f"list_filter(json_extract({found.json}, '$[*]'), lambda member: {equal})"
    part = (
        f" WHEN {found.form} = 'VARCHAR' THEN contains({found.text}, {literal(wanted)})"
        if isinstance(wanted, str)
        else ""
    )
    return f"coalesce(CASE WHEN {found.form} = 'ARRAY' THEN len({members}) > 0{part} END, false)"


def _written_text(value: str | bool | None) -> str:
    return (
        "NULL"
        if value is None
        else literal(str(value).lower() if value is True or value is False else value)
    )


def _written_form(value: str | bool | None) -> str:
    return "NULL" if value is None else "'BOOLEAN'" if isinstance(value, bool) else "'VARCHAR'"


def _written_json(value: str | bool | None) -> str:
    return "NULL" if value is None else f"{literal(json.dumps(value, ensure_ascii=False))}::JSON"


def _equality(text: str, form: str, wanted: Literal, negated: bool) -> str:
    """SQL for whether a value equals `wanted`; it is true or false, never NULL."""
    if wanted is None:
        equal = f"coalesce({form}, 'NULL') = 'NULL'"
    elif isinstance(wanted, bool):
        equal = f"coalesce({form} = 'BOOLEAN' AND {text} = '{str(wanted).lower()}', false)"
    elif isinstance(wanted, str):
        equal = f"coalesce({form} = 'VARCHAR' AND {text} = {literal(wanted)}, false)"
    else:
        # A text that looks like the number is not equal to the number, as everywhere in JSON.
        equal = (
            f"coalesce({form} {SCALAR} AND {form} <> 'VARCHAR'"
            f" AND try_cast({text} AS DOUBLE) = {wanted!r}, false)"
        )
    return f"NOT {equal}" if negated else equal
