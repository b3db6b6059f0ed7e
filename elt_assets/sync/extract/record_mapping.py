"""Compile an integration's field map to the SQL that maps, checks, keys and hashes raw records.

Python never sees a record: one query maps a whole batch and returns one row for each record, with a
`reason` where it is rejected.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from elt_assets.connectors.mapping.expressions import (
    PARENT,
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
    Path,
    Segment,
    Unordered,
    Value,
    Where,
)
from elt_assets.storage.warehouse.warehouse import literal
from elt_assets.sync.extract import scalars
from elt_assets.sync.extract.scalars import SCALAR
from elt_assets.sync.streams import Column, ColumnType, Stream

LONGEST_TEXT = 65_536
UNREADABLE = "$unreadable"
"""A connector puts `{"$unreadable": reason, …}` in the place of a record that no JSON parser
takes, with the members that could be read: the key is often among them."""

_UPDATED_AT = "source_updated_at"
_DELETED = "deleted"
"""The field that makes a record a tombstone: the provider says that its subject is deleted."""


def mapping_query(stream: Stream, fields: Mapping[str, Expression], incoming: str) -> str:
    """The query that maps records onto `stream` as `fields` say; equal for equal fields.

    `incoming` is SQL for the records: (seq INTEGER, raw JSON, parent VARCHAR, organization_id,
    connected_integration_id). The query's columns: seq, raw, parent, organization_id,
    connected_integration_id, id (UUID), key_text, the stream's columns, attributes (JSON),
    source_updated_at (TIMESTAMP), unreadable_time (whether there is one that cannot be read),
    tombstone, content_hash, reason (NULL when the record is good).
    It takes no parameters, so that its plan can be kept.
    """
    pointers = _Pointers()
    form = pointers.forms.at("")
    unreadable = pointers.find(Path((UNREADABLE,))).text
    column_names = {column.name for column in stream.columns} | {_UPDATED_AT, _DELETED}
    tombstone = _content(
        Column(_DELETED, "", ColumnType.BOOLEAN, False), fields.get(_DELETED), pointers
    )
    keys = {column.name: _key(fields.get(column.name), pointers) for column in stream.key}
    content = {
        column.name: _content(column, fields.get(column.name), pointers)
        for column in stream.content
    }
    updated_at = _timestamp(fields.get(_UPDATED_AT), pointers)
    attributes = _attributes(
        {name: fields[name] for name in sorted(fields) if name not in column_names}, pointers
    )
    key_reasons = [
        reason
        for name in keys
        for reason in (
            *(
                f"WHEN {twice} THEN '{name} stands more than once in the record'"
                for twice in _twice(fields.get(name))
            ),
            f"WHEN {name} IS NULL THEN '{name} is missing or not usable as a key'",
        )
    ]
    content_reasons = [f"WHEN {value.problem} THEN {value.complaint}" for value in content.values()]
    content_texts = ", ".join(f"{name}::VARCHAR" for name in content)
    whole_key = key_text(list(keys))
    return f"""
    WITH picked AS (
        SELECT
            seq,
            raw,
            parent,
            organization_id,
            connected_integration_id,
            {_lines([f"{each}," for each in pointers.fetched], 12)}
        FROM ({incoming})
    ),
    named AS (
        SELECT
            seq,
            raw,
            parent,
            organization_id,
            connected_integration_id,
            {_lines([f"{each}," for each in pointers.members], 12)}
        FROM picked
    ),
    found AS (
        SELECT
            *
            {_lines([f", {column}" for column in pointers.columns], 12)}
        FROM named
    ),
    -- What is used more than once is a column: inside of a CASE DuckDB computes it each time.
    mapped AS (
        SELECT
            *,
            {_lines([f"{sql} AS {name}," for name, sql in keys.items()], 12)}
            {_lines([f"{value.sql} AS {name}," for name, value in content.items()], 12)}
            {updated_at.sql} AS {_UPDATED_AT},
            {tombstone.sql} AS {_DELETED},
            {attributes} AS attributes
        FROM found
    ),
    judged AS (
        SELECT
            *,
            {updated_at.problem} AS unreadable_time,
            CASE
                WHEN {form} <> 'OBJECT' THEN 'record is ' || {_spoken(form)} || ', not an object'
                {_lines(key_reasons, 16)}
            END AS key_reason,
            CASE
                {_lines(content_reasons, 16)}
                WHEN {tombstone.problem} THEN {tombstone.complaint}
            END AS content_reason
        FROM mapped
    ),
    keyed AS (
        SELECT *, CASE WHEN key_reason IS NULL THEN {_digest(stream)} END AS digest
        FROM judged
    )
    SELECT
        seq,
        raw,
        parent,
        organization_id,
        connected_integration_id,
        {_uuid("digest")} AS id,
        CASE WHEN key_reason IS NULL THEN {whole_key} END AS key_text,
        {", ".join([*keys, *content])},
        attributes,
        {_UPDATED_AT},
        unreadable_time,
        coalesce({_DELETED}, false) AS tombstone,
        md5(to_json([{content_texts}, attributes::VARCHAR])::VARCHAR) AS content_hash,
        coalesce({unreadable}, key_reason, content_reason) AS reason
    FROM keyed
    """


def id_of_key(stream: Stream, keyed: str) -> str:
    """The query that adds `id` to the rows of `keyed`.

    `keyed` is SQL that yields organization_id, connected_integration_id and the key columns.
    """
    return f"""
        SELECT * EXCLUDE (digest), {_uuid("digest")} AS id
        FROM (SELECT *, {_digest(stream)} AS digest FROM ({keyed}))
        """


def _digest(stream: Stream) -> str:
    """SQL for the SHA-1 behind a record's id: UUIDv5 of [organization, integration, key …].

    The name is a JSON array, so that no two keys can run together into one text; the id
    equals `uuid.uuid5(stream.namespace, name)`. RFC 9562, section 5.5.
    """
    key = ", ".join(column.name for column in stream.key)
    name = f"to_json([organization_id, connected_integration_id, {key}])::VARCHAR"
    return f"sha1(from_hex('{stream.namespace.hex}') || encode({name}))"


def _uuid(digest: str) -> str:
    """SQL for the UUIDv5 of a SHA-1 in hexadecimal: version 5, variant 10xx.

    The variant digit is a hex digit modulo 4; its ASCII code modulo 4 is the same for
    0 to 9 and one behind for a to f. `translate` says it plainer and takes five times
    as long as all the rest.
    """
    code = f"ascii({digest}[17:17])"
    variant = f"'89ab'[1 + ({code} + ({code} > 57)::INTEGER) % 4]"
    # `substring` takes two thirds of the time of a slice.
    before, between, after = (
        f"substring({digest}, {first}, {length})" for first, length in ((1, 12), (14, 3), (18, 15))
    )
    return f"({before} || '5' || {between} || {variant} || {after})::UUID"


@dataclass(frozen=True, slots=True)
class _Value:
    """SQL for a value, for whether it cannot be used, and for what to say then."""

    sql: str
    problem: str
    complaint: str = "NULL"


@dataclass(frozen=True, slots=True)
class _Computed:
    """SQL for a value as text, for its JSON type and for itself as JSON."""

    text: str
    form: str
    json: str


@dataclass(frozen=True, slots=True)
class _Pointed:
    """The value of a plain path; every property that is read is fetched by the query."""

    pointers: _Pointers
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
    """What one function of DuckDB finds in a record at several JSON pointers (RFC 6901).

    It parses the record once for all of them, and takes longer for each.
    """

    def __init__(self, function: str, name: str) -> None:
        self._function = function
        self._name = name
        self._pointers: list[str] = []

    def at(self, pointer: str) -> str:
        """The column that will have what is found there."""
        if pointer not in self._pointers:
            self._pointers.append(pointer)
        return f"{self._name}_{self._pointers.index(pointer) + 1}"

    @property
    def all(self) -> list[str]:
        """SQL for the list of what is found, if anything is asked for."""
        pointed = ", ".join(map(literal, self._pointers))
        call = f"{self._function}(raw, [{pointed}]::VARCHAR[]) AS {self._name}s"
        return [call] if self._pointers else []

    @property
    def each(self) -> list[str]:
        """SQL for the columns, out of the list."""
        places = range(1, len(self._pointers) + 1)
        return [f"{self._name}s[{place}] AS {self._name}_{place}" for place in places]


class _Pointers:
    """What a mapping needs of a record: what plain paths lead to, and `columns`, computed once
    a record out of that.
    """

    def __init__(self) -> None:
        self.texts = _Fetched("json_extract_string", "text")
        self.forms = _Fetched("json_type", "form")
        self.jsons = _Fetched("json_extract", "json")
        self.columns: list[str] = []
        self._computed: dict[Value, _Found] = {}

    @property
    def fetched(self) -> list[str]:
        """SQL for the lists of what plain paths lead to."""
        return [*self.texts.all, *self.forms.all, *self.jsons.all]

    @property
    def members(self) -> list[str]:
        """SQL for the columns out of these lists."""
        return [*self.texts.each, *self.forms.each, *self.jsons.each]

    def find(self, value: Value) -> _Found:
        """SQL for what a value of the field map is in a record."""
        if isinstance(value, Unordered):
            return self.find(value.value)
        if value == PARENT:
            return _Computed(
                "parent", "CASE WHEN parent IS NOT NULL THEN 'VARCHAR' END", "to_json(parent)"
            )
        if isinstance(value, Path) and not any(isinstance(s, Where) for s in value.segments):
            return _Pointed(self, _pointer(value.segments))
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
        """The column `name`, in which `sql` is computed once a record."""
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
        """A path through members of lists that meet a condition."""
        base, way = "raw", list[Segment]()
        for segment in path.segments:
            if not isinstance(segment, Where):
                way.append(segment)
                continue
            at = f"{base}, {literal(_pointer(tuple(way)))}" if way else f"{base}, '$'"
            form = f"json_type(member, {literal(_pointer((segment.key,)))})"
            text = f"json_extract_string(member, {literal(_pointer((segment.key,)))})"
            holds = _equality(text, form, segment.literal, segment.negated)
            base = (
                f"list_filter(json_extract(json_extract({at}), '$[*]'), lambda member: {holds})[1]"
            )
            way = []
        pointer = literal(_pointer(tuple(way))) if way else "'$'"
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


def _pointer(segments: tuple[Segment, ...]) -> str:
    return "".join("/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in segments)


def _content(column: Column, expression: Expression | None, pointers: _Pointers) -> _Value:
    if expression is None:
        unmapped = "NULL" if column.unmapped is None else literal(column.unmapped)
        return _Value(f"{unmapped}::{column.sql_type}", "false")
    if column.kind is ColumnType.BOOLEAN:
        return _boolean(column, expression, pointers)
    return _text(column, expression, pointers)


def _text(column: Column, expression: Expression, pointers: _Pointers) -> _Value:
    if isinstance(expression, Condition):
        return _Value(f"({_comparison(expression, pointers)})::VARCHAR", "false")
    found = pointers.find(expression)
    text, form = found.text, found.form
    return _Value(
        # A text too long is not passed on: hashing and quoting it takes many times its size.
        f"CASE WHEN {form} NOT IN ('OBJECT', 'ARRAY', 'NULL')"
        f" AND strlen({text}) <= {4 * LONGEST_TEXT} THEN nullif({text}, '') END",
        f"({form} IN ('OBJECT', 'ARRAY') OR contains({text}, chr(0))"
        # The length in bytes is there, characters have to be counted.
        f" OR (strlen({text}) > {LONGEST_TEXT} AND length({text}) > {LONGEST_TEXT}))",
        f"CASE WHEN {form} IN ('OBJECT', 'ARRAY')"
        f" THEN '{column.name} is ' || {_spoken(form)} || ', not text'"
        f" ELSE '{column.name} has a null character or more than {LONGEST_TEXT} characters' END",
    )


def _key(expression: Expression | None, pointers: _Pointers) -> str:
    """SQL for a key, NULL if it cannot be used as one."""
    if not isinstance(expression, Path | Joined):
        return "NULL::VARCHAR"
    found = pointers.find(expression)
    return scalars.key(found.text, found.form)


def _twice(expression: Expression | None) -> list[str]:
    """SQL for each step to a key: whether the record has that name more than once.

    JSON parsers disagree on which of them counts, so the record has no certain key.
    """
    if expression == PARENT:
        return []
    segments = expression.segments if isinstance(expression, Path) else ()
    names = takewhile(lambda segment: isinstance(segment, str), segments)
    return [
        f"({_may_stand_twice(str(name))}"
        f" AND len(list_filter(json_keys(raw, {literal(_pointer(segments[:depth]))}),"
        f" lambda name: name = {literal(str(name))})) > 1)"
        for depth, name in enumerate(names)
    ]


def _may_stand_twice(name: str) -> str:
    """SQL that is cheap, and true of every record that has the name more than once.

    A name can be spelled otherwise only with a backslash. Where LIKE takes a character of the
    name for a pattern it is true too often, never too seldom.
    """
    twice = literal(f'%"{name}"%"{name}"%')
    return f"(contains(raw, chr(92)) OR raw LIKE {twice})"


def _boolean(column: Column, expression: Expression, pointers: _Pointers) -> _Value:
    if isinstance(expression, Condition):
        return _Value(f"({_comparison(expression, pointers)})", "false")
    found = pointers.find(expression)
    text, form = found.text, found.form
    return _Value(
        scalars.truth(text, form),
        f"({column.name} IS NULL AND NOT {scalars.blank(text, form)})",
        f"'{column.name} is ' || {_spoken(form)} || ' that means neither true nor false'",
    )


def _timestamp(expression: Expression | None, pointers: _Pointers) -> _Value:
    """When a record was changed. A time that cannot be read costs the time alone."""
    if expression is None or isinstance(expression, Condition):
        return _Value("NULL::TIMESTAMP", "false")
    found = pointers.find(expression)
    # Columns: inside of a CASE DuckDB would compute them each time.
    zoned = pointers.column("read_moment", scalars.zoned(found.text, found.form))
    spelled = pointers.column("spelled_moment", scalars.spelled(found.text, found.form, zoned))
    return _Value(
        scalars.moment(found.text, found.form, zoned, spelled),
        # A CASE, because DuckDB computes both sides of an AND.
        f"CASE WHEN {_UPDATED_AT} IS NULL THEN NOT {scalars.blank(found.text, found.form)}"
        " ELSE false END",
    )


def _attributes(extra: Mapping[str, Expression], pointers: _Pointers) -> str:
    members = []
    for name, expression in extra.items():
        value = (
            f"to_json({_comparison(expression, pointers)})"
            if isinstance(expression, Condition)
            else _attribute(expression, pointers)
        )
        members.append(f"{literal(name)}, {value}")
    # Names are sorted by the caller: the same values must always give the same text.
    return f"json_object({', '.join(members)})"


def _attribute(expression: Value, pointers: _Pointers) -> str:
    """SQL for a value as JSON in its one form, which is null for an empty text.

    DuckDB writes whole numbers, texts and constants in one form itself. They are known by their
    first character, because fetching a value's type and text takes longer.
    """
    value = pointers.find(expression).json
    function = "canonical_set" if isinstance(expression, Unordered) else "canonical_json"
    return (
        f"CASE WHEN {value} IS NULL OR {value}::VARCHAR = '\"\"' THEN NULL"
        f" WHEN ascii({value}::VARCHAR) IN (ascii('\"'), ascii('t'), ascii('f'), ascii('n'))"
        f" OR try_cast({value}::VARCHAR AS BIGINT)::VARCHAR = {value}::VARCHAR THEN {value}"
        f" ELSE {function}({value}::VARCHAR)::JSON END"
    )


def _comparison(expression: Condition, pointers: _Pointers) -> str:
    """SQL that is true or false, never NULL."""
    match expression:
        case All(conditions):
            return f"({' AND '.join(_comparison(one, pointers) for one in conditions)})"
        case AnyOf(conditions):
            return f"({' OR '.join(_comparison(one, pointers) for one in conditions)})"
        case Not(condition):
            return f"(NOT {_comparison(condition, pointers)})"
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
    """SQL that is true or false, never NULL."""
    if wanted is None:
        equal = f"coalesce({form}, 'NULL') = 'NULL'"
    elif isinstance(wanted, bool):
        equal = f"coalesce({form} = 'BOOLEAN' AND {text} = '{str(wanted).lower()}', false)"
    elif isinstance(wanted, str):
        equal = f"coalesce({form} = 'VARCHAR' AND {text} = {literal(wanted)}, false)"
    else:
        # A text that looks like the number is not the number, as everywhere in JSON.
        equal = (
            f"coalesce({form} {SCALAR} AND {form} <> 'VARCHAR'"
            f" AND try_cast({text} AS DOUBLE) = {wanted!r}, false)"
        )
    return f"NOT {equal}" if negated else equal


def _spoken(form: str) -> str:
    """SQL for DuckDB's name of a JSON type in words a reader of dead letters knows."""
    return (
        f"CASE {form} WHEN 'VARCHAR' THEN 'text' WHEN 'OBJECT' THEN 'an object'"
        f" WHEN 'ARRAY' THEN 'a list' WHEN 'BOOLEAN' THEN 'true or false'"
        f" WHEN 'NULL' THEN 'null' ELSE 'a number' END"
    )


def key_text(columns: Sequence[str]) -> str:
    """SQL of a key as one text: its column, or the JSON list of its columns."""
    return columns[0] if len(columns) == 1 else f"to_json([{', '.join(columns)}])::VARCHAR"


def _lines(parts: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(parts)
