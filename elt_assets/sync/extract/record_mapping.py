"""Compile an integration's field map to the SQL that maps, checks, keys and hashes raw records.

Python never handles a single record: one query maps a whole batch and returns one row for each
record, with a `reason` if the record is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from elt_assets.connectors.mapping.expressions import (
    PARENT,
    Condition,
    Expression,
    Joined,
    Path,
    Unordered,
    Value,
)
from elt_assets.storage.warehouse.warehouse import literal
from elt_assets.sync.extract import scalars
from elt_assets.sync.extract.value_sql import Pointers, comparison_sql, json_pointer
from elt_assets.sync.streams import Column, ColumnType, Stream

LONGEST_TEXT = 65_536
UNREADABLE = "$unreadable"
"""A connector replaces a record that no JSON parser accepts by `{"$unreadable": reason, …}`, with
the members that could be read: the key is often among them."""

_UPDATED_AT = "source_updated_at"
_DELETED = "deleted"
"""The field that makes a record a tombstone: the provider reports the record as deleted."""


def mapping_query(stream: Stream, fields: Mapping[str, Expression], incoming: str) -> str:
    """The query that maps records to `stream` by the field map `fields`; equal for equal fields.

    `incoming` is SQL for the records: (seq INTEGER, raw JSON, parent VARCHAR, organization_id,
    connected_integration_id). The query's columns: seq, raw, parent, organization_id,
    connected_integration_id, id (UUID), key_text, the stream's columns, attributes (JSON),
    source_updated_at (TIMESTAMP), unreadable_time (whether there is one that cannot be read),
    tombstone, content_hash, reason (NULL when the record is good).
    It takes no parameters, so that its plan can be kept.
    """
    pointers = Pointers()
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
    """SQL for the SHA-1 behind a record's id, the UUIDv5 of [organization, integration, key …].

    The name is a JSON array, so that different keys never make the same text; the id
    equals `uuid.uuid5(stream.namespace, name)`. RFC 9562, section 5.5.
    """
    key = ", ".join(column.name for column in stream.key)
    name = f"to_json([organization_id, connected_integration_id, {key}])::VARCHAR"
    return f"sha1(from_hex('{stream.namespace.hex}') || encode({name}))"


def _uuid(digest: str) -> str:
    """SQL for the UUIDv5 of a SHA-1 in hexadecimal: version 5, variant 10xx.

    The variant digit is a hex digit modulo 4. Its ASCII code modulo 4 is the same for 0 to 9 and
    one less for a to f. `translate` would be simpler, but takes five times as long as all the
    rest.
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
    """SQL for a value, for whether it cannot be used, and for the reason to report then."""

    sql: str
    problem: str
    complaint: str = "NULL"


def _content(column: Column, expression: Expression | None, pointers: Pointers) -> _Value:
    if expression is None:
        unmapped = "NULL" if column.unmapped is None else literal(column.unmapped)
        return _Value(f"{unmapped}::{column.sql_type}", "false")
    if column.kind is ColumnType.BOOLEAN:
        return _boolean(column, expression, pointers)
    return _text(column, expression, pointers)


def _text(column: Column, expression: Expression, pointers: Pointers) -> _Value:
    if isinstance(expression, Condition):
        return _Value(f"({comparison_sql(expression, pointers)})::VARCHAR", "false")
    found = pointers.find(expression)
    text, form = found.text, found.form
    return _Value(
        # A text that is too long becomes NULL: hashing and quoting it takes many times its size.
        f"CASE WHEN {form} NOT IN ('OBJECT', 'ARRAY', 'NULL')"
        f" AND strlen({text}) <= {4 * LONGEST_TEXT} THEN nullif({text}, '') END",
        f"({form} IN ('OBJECT', 'ARRAY') OR contains({text}, chr(0))"
        # The length in bytes is known, whereas characters have to be counted.
        f" OR (strlen({text}) > {LONGEST_TEXT} AND length({text}) > {LONGEST_TEXT}))",
        f"CASE WHEN {form} IN ('OBJECT', 'ARRAY')"
        f" THEN '{column.name} is ' || {_spoken(form)} || ', not text'"
        f" ELSE '{column.name} has a null character or more than {LONGEST_TEXT} characters' END",
    )


def _key(expression: Expression | None, pointers: Pointers) -> str:
    """SQL for a key column; NULL if the value cannot be used as a key."""
    if not isinstance(expression, Path | Joined):
        return "NULL::VARCHAR"
    found = pointers.find(expression)
    return scalars.key(found.text, found.form)


def _twice(expression: Expression | None) -> list[str]:
    """SQL for each name on the path to a key: whether the record has that name more than once.

    JSON parsers disagree on which occurrence counts, so such a record has no certain key.
    """
    if expression == PARENT:
        return []
    segments = expression.segments if isinstance(expression, Path) else ()
    names = takewhile(lambda segment: isinstance(segment, str), segments)
    return [
        f"({_may_stand_twice(str(name))}"
        f" AND len(list_filter(json_keys(raw, {literal(json_pointer(segments[:depth]))}),"
        f" lambda name: name = {literal(str(name))})) > 1)"
        for depth, name in enumerate(names)
    ]


def _may_stand_twice(name: str) -> str:
    """A cheap SQL condition that is true for every record that has the name more than once.

    A name can be spelled in another way only with a backslash. If LIKE treats a character of the
    name as a wildcard, the condition is true too often, but never too seldom.
    """
    twice = literal(f'%"{name}"%"{name}"%')
    return f"(contains(raw, chr(92)) OR raw LIKE {twice})"


def _boolean(column: Column, expression: Expression, pointers: Pointers) -> _Value:
    if isinstance(expression, Condition):
        return _Value(f"({comparison_sql(expression, pointers)})", "false")
    found = pointers.find(expression)
    text, form = found.text, found.form
    return _Value(
        scalars.truth(text, form),
        f"({column.name} IS NULL AND NOT {scalars.blank(text, form)})",
        f"'{column.name} is ' || {_spoken(form)} || ' that means neither true nor false'",
    )


def _timestamp(expression: Expression | None, pointers: Pointers) -> _Value:
    """SQL for the time at which a record was changed; an unreadable time rejects no record."""
    if expression is None or isinstance(expression, Condition):
        return _Value("NULL::TIMESTAMP", "false")
    found = pointers.find(expression)
    # These are columns, because DuckDB would compute them at each use inside a CASE.
    zoned = pointers.column("read_moment", scalars.zoned(found.text, found.form))
    spelled = pointers.column("spelled_moment", scalars.spelled(found.text, found.form, zoned))
    return _Value(
        scalars.moment(found.text, found.form, zoned, spelled),
        # A CASE, because DuckDB evaluates both sides of an AND.
        f"CASE WHEN {_UPDATED_AT} IS NULL THEN NOT {scalars.blank(found.text, found.form)}"
        " ELSE false END",
    )


def _attributes(extra: Mapping[str, Expression], pointers: Pointers) -> str:
    members = []
    for name, expression in extra.items():
        value = (
            f"to_json({comparison_sql(expression, pointers)})"
            if isinstance(expression, Condition)
            else _attribute(expression, pointers)
        )
        members.append(f"{literal(name)}, {value}")
    # The caller has sorted the names, because equal values must always make the same text.
    return f"json_object({', '.join(members)})"


def _attribute(expression: Value, pointers: Pointers) -> str:
    """SQL for a value as canonical JSON, in which an empty text is null.

    DuckDB itself writes whole numbers, texts and constants in canonical form. Most are recognized
    by their first character, because fetching a value's type and text takes longer.
    """
    value = pointers.find(expression).json
    function = "canonical_set" if isinstance(expression, Unordered) else "canonical_json"
    return (
        f"CASE WHEN {value} IS NULL OR {value}::VARCHAR = '\"\"' THEN NULL"
        f" WHEN ascii({value}::VARCHAR) IN (ascii('\"'), ascii('t'), ascii('f'), ascii('n'))"
        f" OR try_cast({value}::VARCHAR AS BIGINT)::VARCHAR = {value}::VARCHAR THEN {value}"
        f" ELSE {function}({value}::VARCHAR)::JSON END"
    )


def _spoken(form: str) -> str:
    """SQL that turns DuckDB's name of a JSON type into ordinary words, for dead letters."""
    return (
        f"CASE {form} WHEN 'VARCHAR' THEN 'text' WHEN 'OBJECT' THEN 'an object'"
        f" WHEN 'ARRAY' THEN 'a list' WHEN 'BOOLEAN' THEN 'true or false'"
        f" WHEN 'NULL' THEN 'null' ELSE 'a number' END"
    )


def key_text(columns: Sequence[str]) -> str:
    """SQL for a key as one text: its column, or the JSON list of its columns."""
    return columns[0] if len(columns) == 1 else f"to_json([{', '.join(columns)}])::VARCHAR"


def _lines(parts: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(parts)
