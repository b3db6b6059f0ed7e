"""The SQL in which SQLite and PostgreSQL differ.

All statements mark parameters by `?`, and declare columns as TEXT, INTEGER or REAL, like SQLite.
`postgres_database` and `postgres_transaction` translate both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class SqlDialect(Protocol):
    """The parts of SQL that differ between databases."""

    boolean: str
    """Type of a column that is true, false or NULL."""
    clustered: str
    """Suffix of CREATE TABLE that stores the rows in the order of the primary key."""
    texts: str
    """Query of the texts in a JSON array, which is the only parameter."""
    pairs: str
    """Query of `first` and `second` of each pair in a JSON array, which is the only parameter."""

    def number_at(self, document: str, *path: str) -> str:
        """A number inside a JSON text; NULL where there is none."""

    def json_object(self, members: Mapping[str, str]) -> str:
        """The text of a JSON object of these SQL expressions."""

    def json_array(self, values: Sequence[str]) -> str:
        """The text of a JSON array of these SQL expressions."""

    def json_boolean(self, column: str) -> str:
        """A boolean column as a member of a JSON object."""

    def json_document(self, text: str) -> str:
        """A JSON text as a member of a JSON object."""

    def seconds_between(self, first: str, last: str) -> str:
        """Seconds from one ISO 8601 text to another."""

    def append_only(self, table: str) -> list[str]:
        """Idempotent statements that make the table refuse updates and deletes."""

    def exclusive(self, table: str) -> list[str]:
        """Statements that keep other writers out of the table until the transaction ends."""


class SqliteDialect:
    """SQLite with its JSON functions."""

    boolean = "INTEGER"
    clustered = " WITHOUT ROWID"
    texts = "SELECT value FROM json_each(?)"
    pairs = "SELECT value ->> 0 AS first, value ->> 1 AS second FROM json_each(?)"

    def number_at(self, document: str, *path: str) -> str:
        return f"json_extract({document}, '$.{'.'.join(path)}')"

    def json_object(self, members: Mapping[str, str]) -> str:
        return f"json_object({_members(members)})"

    def json_array(self, values: Sequence[str]) -> str:
        return f"json_array({', '.join(values)})"

    def json_boolean(self, column: str) -> str:
        return f"CASE {column} WHEN 1 THEN json('true') WHEN 0 THEN json('false') END"

    def json_document(self, text: str) -> str:
        return f"json({text})"

    def seconds_between(self, first: str, last: str) -> str:
        return f"(julianday({last}) - julianday({first})) * 86400"

    def append_only(self, table: str) -> list[str]:
        return [
            f"CREATE TRIGGER IF NOT EXISTS append_only_{table}_{action.lower()} BEFORE {action} ON"
            f" {table} BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for action in ("UPDATE", "DELETE")
        ]

    def exclusive(self, table: str) -> list[str]:
        """Empty: SQLite has only one writer at a time."""
        return []


class PostgresDialect:
    """PostgreSQL 13 and newer."""

    boolean = "BOOLEAN"
    clustered = ""
    texts = "SELECT json_array_elements_text(CAST(? AS json)) AS value"
    pairs = (
        "SELECT pair ->> 0 AS first, pair ->> 1 AS second"
        " FROM json_array_elements(CAST(? AS json)) AS listed(pair)"
    )

    def number_at(self, document: str, *path: str) -> str:
        return f"CAST(CAST({document} AS json) #>> '{{{','.join(path)}}}' AS double precision)"

    def json_object(self, members: Mapping[str, str]) -> str:
        return f"CAST(json_build_object({_members(members)}) AS text)"

    def json_array(self, values: Sequence[str]) -> str:
        return f"CAST(json_build_array({', '.join(values)}) AS text)"

    def json_boolean(self, column: str) -> str:
        return column

    def json_document(self, text: str) -> str:
        return f"CAST({text} AS json)"

    def seconds_between(self, first: str, last: str) -> str:
        return (
            f"CAST(extract(epoch FROM CAST({last} AS timestamptz) - CAST({first} AS timestamptz))"
            " AS double precision)"
        )

    def append_only(self, table: str) -> list[str]:
        return [
            f"CREATE OR REPLACE FUNCTION append_only_{table}() RETURNS trigger LANGUAGE plpgsql AS"
            f" 'BEGIN RAISE EXCEPTION ''{table} is append-only''; END'",
            f"DROP TRIGGER IF EXISTS append_only ON {table}",
            f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}"
            f" FOR EACH STATEMENT EXECUTE FUNCTION append_only_{table}()",
        ]

    def exclusive(self, table: str) -> list[str]:
        return [f"LOCK TABLE {table} IN EXCLUSIVE MODE"]


def _members(members: Mapping[str, str]) -> str:
    return ", ".join(f"'{name}', {value}" for name, value in members.items())
