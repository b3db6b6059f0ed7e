"""From a provider's record to a stream's columns, as SQL over raw JSON.

Belongs here: compiling an integration's field map into the SQL that picks, checks, keys
and hashes records. Does not: parsing expressions (connectors) or moving rows (stage).

Python never sees a record: one query maps a whole batch and yields one row a record, with
a `reason` where it is rejected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from elt_assets.connectors.expressions import Comparison, Expression, Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.stream import Column, Kind, Stream

LONGEST_TEXT = 65_536
LONGEST_KEY = 1_024
UNREADABLE = "$unreadable"
"""A connector puts `{"$unreadable": reason, …}` in the place of a record that no JSON parser
takes, with the members that could be read: the key is often among them."""

_SCALARS = "('VARCHAR', 'UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE')"
_UPDATED_AT = "source_updated_at"


@dataclass(frozen=True, slots=True)
class MappingQuery:
    """SQL with named parameters (`$name`) that maps the records of `incoming`."""

    sql: str
    parameters: dict[str, object]


def mapping_query(
    stream: Stream, fields: Mapping[str, Expression], ref: IntegrationRef, incoming: str
) -> MappingQuery:
    """The query that maps one integration's records onto `stream`.

    `incoming` is SQL for the records: (seq INTEGER, raw JSON). The query's columns: seq,
    raw, id (UUID), key_text, the stream's columns, attributes (JSON), source_updated_at
    (TIMESTAMP), content_hash, reason (NULL when the record is good).
    """
    pointers = _Pointers()
    unreadable = f"texts[{pointers.position(Path((UNREADABLE,)))}]"
    column_names = {column.name for column in stream.columns} | {_UPDATED_AT}
    values = {column.name: _key(fields.get(column.name), pointers) for column in stream.key} | {
        column.name: _content(column, fields.get(column.name), pointers)
        for column in stream.content
    }
    updated_at = _timestamp(fields.get(_UPDATED_AT), pointers)
    attributes = _attributes(
        {name: fields[name] for name in sorted(fields) if name not in column_names}, pointers
    )
    key_reasons = [
        f"WHEN {values[name].problem} THEN '{name} is missing or not usable as a key'"
        for name in (column.name for column in stream.key)
    ]
    content_reasons = [
        f"WHEN {values[column.name].problem} THEN {values[column.name].complaint}"
        for column in stream.content
    ]
    content_texts = ", ".join(f"{column.name}::VARCHAR" for column in stream.content)
    jsons = "json_extract(raw, $pointers::VARCHAR[])" if "jsons[" in attributes else "NULL"
    sql = f"""
    WITH picked AS (
        SELECT
            seq,
            raw,
            json_type(raw) AS form,
            json_extract_string(raw, $pointers::VARCHAR[]) AS texts,
            json_type(raw, $pointers::VARCHAR[]) AS forms,
            {jsons} AS jsons
        FROM ({incoming})
    ),
    judged AS (
        SELECT
            seq,
            raw,
            CASE
                WHEN form <> 'OBJECT' THEN 'record is ' || {_spoken("form")} || ', not an object'
                {_lines(key_reasons, 16)}
            END AS key_reason,
            {unreadable} AS damage,
            CASE
                {_lines(content_reasons, 16)}
                WHEN {updated_at.problem} THEN {updated_at.complaint}
            END AS content_reason,
            {_lines([f"{value.sql} AS {name}," for name, value in values.items()], 12)}
            {updated_at.sql} AS {_UPDATED_AT},
            {attributes} AS attributes
        FROM picked
    ),
    keyed AS (
        SELECT *, CASE WHEN key_reason IS NULL THEN {_digest(stream)} END AS digest
        FROM judged
    )
    SELECT
        seq,
        raw,
        {_uuid("digest")} AS id,
        CASE WHEN key_reason IS NULL THEN {_key_text(stream)} END AS key_text,
        {", ".join(values)},
        attributes,
        {_UPDATED_AT},
        md5(to_json([{content_texts}, attributes::VARCHAR])::VARCHAR) AS content_hash,
        coalesce(damage, key_reason, content_reason) AS reason
    FROM keyed
    """
    parameters: dict[str, object] = {
        "pointers": pointers.all,
        "organization_id": ref.organization_id,
        "integration_id": ref.integration_id,
    }
    return MappingQuery(sql, parameters)


def _digest(stream: Stream) -> str:
    """SQL for the SHA-1 behind a record's id: UUIDv5 of [organization, integration, key …].

    The name is a JSON array, so that no two keys can run together into one text; the id
    equals `uuid.uuid5(stream.namespace, name)`. RFC 9562, section 5.5.
    """
    key = ", ".join(column.name for column in stream.key)
    name = f"to_json([$organization_id, $integration_id, {key}])::VARCHAR"
    return f"sha1(from_hex('{stream.namespace.hex}') || encode({name}))"


def _uuid(digest: str) -> str:
    """SQL for the UUIDv5 of a SHA-1 in hexadecimal: version 5, variant 10xx.

    The variant digit is a hex digit modulo 4; its ASCII code modulo 4 is the same for
    0 to 9 and one behind for a to f. `translate` says it plainer and takes five times
    as long as all the rest.
    """
    code = f"ascii({digest}[17:17])"
    variant = f"'89ab'[1 + ({code} + ({code} > 57)::INTEGER) % 4]"
    return f"({digest}[1:12] || '5' || {digest}[14:16] || {variant} || {digest}[18:32])::UUID"


@dataclass(frozen=True, slots=True)
class _Value:
    """SQL for a value, for whether it cannot be used, and for what to say then."""

    sql: str
    problem: str
    complaint: str = "NULL"


class _Pointers:
    """JSON pointers (RFC 6901) of all paths in a map, fetched from a record in one go."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def position(self, path: Path) -> int:
        """1-based position of the path's value in `texts`, `forms` and `jsons`."""
        pointer = "".join(
            "/" + str(segment).replace("~", "~0").replace("/", "~1") for segment in path.segments
        )
        if pointer not in self.all:
            self.all.append(pointer)
        return self.all.index(pointer) + 1


def _content(column: Column, expression: Expression | None, pointers: _Pointers) -> _Value:
    if expression is None:
        unmapped = "NULL" if column.unmapped is None else _literal(column.unmapped)
        return _Value(
            f"{unmapped}::{'BOOLEAN' if column.kind is Kind.BOOLEAN else 'VARCHAR'}", "false"
        )
    if column.kind is Kind.BOOLEAN:
        return _boolean(column, expression, pointers)
    return _text(column, expression, pointers)


def _text(column: Column, expression: Expression, pointers: _Pointers) -> _Value:
    if isinstance(expression, Comparison):
        return _Value(f"({_comparison(expression, pointers)})::VARCHAR", "false")
    at = pointers.position(expression)
    text, form = f"texts[{at}]", f"forms[{at}]"
    return _Value(
        f"CASE WHEN {form} IN {_SCALARS} OR {form} = 'BOOLEAN' THEN {text} END",
        f"({form} IN ('OBJECT', 'ARRAY') OR contains({text}, chr(0))"
        f" OR length({text}) > {LONGEST_TEXT})",
        f"CASE WHEN {form} IN ('OBJECT', 'ARRAY')"
        f" THEN '{column.name} is ' || {_spoken(form)} || ', not text'"
        f" ELSE '{column.name} has a null character or more than {LONGEST_TEXT} characters' END",
    )


def _key(expression: Expression | None, pointers: _Pointers) -> _Value:
    if not isinstance(expression, Path):
        return _Value("NULL::VARCHAR", "true")
    at = pointers.position(expression)
    text, form = f"texts[{at}]", f"forms[{at}]"
    usable = (
        f"coalesce({form} IN {_SCALARS} AND {text} <> '' AND NOT contains({text}, chr(0))"
        f" AND length({text}) <= {LONGEST_KEY}, false)"
    )
    return _Value(f"CASE WHEN {usable} THEN {text} END", f"NOT {usable}")


def _boolean(column: Column, expression: Expression, pointers: _Pointers) -> _Value:
    if isinstance(expression, Comparison):
        return _Value(f"({_comparison(expression, pointers)})", "false")
    at = pointers.position(expression)
    text, form = f"texts[{at}]", f"forms[{at}]"
    value = (
        f"CASE WHEN {form} IN ('BOOLEAN', 'VARCHAR', 'UBIGINT')"
        f" THEN try_cast({text} AS BOOLEAN) END"
    )
    return _Value(
        value,
        f"(coalesce({form}, 'NULL') <> 'NULL' AND ({value}) IS NULL)",
        f"'{column.name} is ' || {_spoken(form)} || ' that means neither true nor false'",
    )


def _timestamp(expression: Expression | None, pointers: _Pointers) -> _Value:
    if not isinstance(expression, Path):
        return _Value("NULL::TIMESTAMP", "false")
    at = pointers.position(expression)
    text, form = f"texts[{at}]", f"forms[{at}]"
    # Numbers are seconds since 1970, or milliseconds where seconds would be past the year 5000.
    number = f"try_cast({text} AS DOUBLE)"
    zoned = f"try_cast({text} AS TIMESTAMPTZ)"
    value = (
        # A cast to TIMESTAMP would drop the offset in silence. The session's zone is UTC.
        f"CASE WHEN {form} = 'VARCHAR'"
        f" THEN CASE WHEN isfinite({zoned}) THEN make_timestamp(epoch_us({zoned})) END"
        f" WHEN {form} IN {_SCALARS} AND {number} BETWEEN 0 AND 1e14"
        f" THEN make_timestamp((CASE WHEN {number} > 1e11 THEN {number} * 1e3"
        f" ELSE {number} * 1e6 END)::BIGINT)"
        f" END"
    )
    return _Value(
        value,
        f"(coalesce({form}, 'NULL') <> 'NULL' AND nullif({text}, '') IS NOT NULL"
        f" AND ({value}) IS NULL)",
        f"'{_UPDATED_AT} is ' || {_spoken(form)}"
        f" || ' that is no time (ISO 8601 or seconds since 1970)'",
    )


def _attributes(extra: Mapping[str, Expression], pointers: _Pointers) -> str:
    members = []
    for name, expression in extra.items():
        value = (
            f"to_json({_comparison(expression, pointers)})"
            if isinstance(expression, Comparison)
            else f"jsons[{pointers.position(expression)}]"
        )
        members.append(f"{_literal(name)}, {value}")
    # Names are sorted by the caller: the same values must always give the same text.
    return f"json_object({', '.join(members)})"


def _comparison(expression: Comparison, pointers: _Pointers) -> str:
    at = pointers.position(expression.path)
    text, form = f"texts[{at}]", f"forms[{at}]"
    literal = expression.literal
    if literal is None:
        equal = f"coalesce({form}, 'NULL') = 'NULL'"
    elif isinstance(literal, bool):
        equal = f"coalesce({form} = 'BOOLEAN' AND {text} = '{str(literal).lower()}', false)"
    elif isinstance(literal, str):
        equal = f"coalesce({form} = 'VARCHAR' AND {text} = {_literal(literal)}, false)"
    else:
        equal = (
            f"coalesce({form} IN {_SCALARS} AND try_cast({text} AS DOUBLE) = {literal!r}, false)"
        )
    return f"NOT {equal}" if expression.negated else equal


def _spoken(form: str) -> str:
    """SQL for DuckDB's name of a JSON type in words a reader of dead letters knows."""
    return (
        f"CASE {form} WHEN 'VARCHAR' THEN 'text' WHEN 'OBJECT' THEN 'an object'"
        f" WHEN 'ARRAY' THEN 'a list' WHEN 'BOOLEAN' THEN 'true or false'"
        f" WHEN 'NULL' THEN 'null' ELSE 'a number' END"
    )


def _key_text(stream: Stream) -> str:
    if len(stream.key) == 1:
        return stream.key[0].name
    return f"to_json([{', '.join(column.name for column in stream.key)}])::VARCHAR"


def _literal(value: str | bool) -> str:
    """An SQL literal. Names and literals come from a validated configuration, not from records."""
    if isinstance(value, bool):
        return str(value).lower()
    return "'" + value.replace("'", "''") + "'"


def _lines(parts: list[str], indent: int) -> str:
    return ("\n" + " " * indent).join(parts)
