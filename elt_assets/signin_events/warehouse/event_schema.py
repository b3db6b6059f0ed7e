"""The schema of a sign-in event, declared once, and the SQL that validates records against it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

_LONGEST_KEY = 1_024


class FieldType(StrEnum):
    """The type of a field."""

    TEXT = "VARCHAR"
    TIME = "TIMESTAMP"


@dataclass(frozen=True, slots=True)
class Field:
    """One field. `allowed` maps each accepted spelling, in lower case, to the value to store.

    A record that deletes an event needs only the fields that are `required_always`.
    """

    name: str
    description: str
    kind: FieldType = FieldType.TEXT
    required: bool = False
    required_always: bool = False
    allowed: dict[str, str] = field(default_factory=dict)
    pattern: str | None = None
    shape: str = ""
    """The meaning of `pattern`, as a dead letter's reason words it."""


@dataclass(frozen=True, slots=True)
class EventSchema:
    """A kind of event. Every row stores the version, which rises when a field changes."""

    name: str
    version: int
    fields: tuple[Field, ...]

    def __str__(self) -> str:
        return f"{self.name}_v{self.version}"

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the fields, which are also those of the columns."""
        return tuple(one.name for one in self.fields)


SIGNIN_EVENT = EventSchema(
    name="signin_event",
    version=2,
    fields=(
        Field("organization_id", "Whose event it is.", required=True, required_always=True),
        Field("event_id", "The source's own id of it.", required=True, required_always=True),
        Field("integration_id", "Which provider saw it, where that is known."),
        Field("user_external_id", "Who signed in: external_id of a user.", required=True),
        Field("occurred_at", "When, in UTC.", FieldType.TIME, required=True),
        Field(
            "result",
            "Whether it succeeded.",
            required=True,
            allowed={
                "success": "success",
                "failure": "failure",
                # The results of a comparison in an integration's field map.
                "true": "success",
                "false": "failure",
            },
        ),
        Field(
            "country",
            "From where, ISO 3166-1 alpha-2.",
            pattern="[A-Za-z]{2}",
            shape="a country code of two letters",
        ),
        Field("ip", "From which address."),
        Field("user_agent", "With which program."),
        Field("application", "Into which application."),
        Field(
            "op",
            "What the record does to the event; a plain sighting where it does not say.",
            allowed={"insert": "INSERT", "update": "UPDATE", "delete": "DELETE"},
        ),
        Field("source_updated_at", "Which version of the event it is, in time.", FieldType.TIME),
    ),
)


def conforming(schema: EventSchema, incoming: str) -> str:
    """A query that validates the records of `incoming`.

    `incoming` is SQL with every field of the schema as text, the column `damage` (why a row is not
    a record, or NULL) and any further columns, which are passed on. The query replaces the texts by
    typed fields and adds `reason`, which is NULL for a record that conforms. Reasons have names of
    fields, never values. The parameter `$organizations` has the registered organizations.
    """
    typed = ",\n            ".join(f"{_typed(one)} AS {one.name}" for one in schema.fields)
    texts = ", ".join(f"{one.name} AS {one.name}_text" for one in schema.fields)
    names = ", ".join(schema.names)
    reasons = "\n            ".join(line for one in schema.fields for line in _reasons(one))
    return f"""
    SELECT
        * EXCLUDE (damage, {", ".join(f"{name}_text" for name in schema.names)}),
        CASE
            WHEN damage IS NOT NULL THEN damage
            {reasons}
            WHEN organization_id NOT IN (SELECT unnest($organizations::VARCHAR[]))
                THEN 'organization_id is not a registered organization'
        END AS reason
    FROM (
        SELECT
            *,
            {typed}
        FROM (SELECT * EXCLUDE ({names}), {texts} FROM ({incoming}))
    )
    """


def violations(schema: EventSchema) -> str:
    """The SQL condition that a row of a table with this schema violates the schema."""
    broken = [f"schema_version IS DISTINCT FROM {schema.version}"]
    for one in schema.fields:
        if one.required:
            broken.append(f"{one.name} IS NULL")
        if one.allowed:
            kept = ", ".join(f"'{value}'" for value in sorted(set(one.allowed.values())))
            broken.append(f"coalesce({one.name} NOT IN ({kept}), false)")
        if one.pattern is not None:
            matches = f"regexp_full_match({one.name}, '{one.pattern}')"
            broken.append(f"coalesce(NOT {matches}, false)")
    return " OR ".join(broken)


def _typed(one: Field) -> str:
    text = f"nullif(trim({one.name}_text), '')"
    if one.kind is FieldType.TIME:
        return _time(text)
    if one.allowed:
        cases = " ".join(f"WHEN '{said}' THEN '{kept}'" for said, kept in one.allowed.items())
        return f"CASE lower({text}) {cases} END"
    return f"upper({text})" if one.pattern is not None else text


def _time(text: str) -> str:
    """SQL that parses ISO 8601 (UTC without an offset), or seconds or milliseconds since 1970."""
    number = f"try_cast({text} AS DOUBLE)"
    return f"""CASE
                WHEN try_cast({text} AS TIMESTAMPTZ) IS NOT NULL
                    THEN CASE WHEN isfinite(try_cast({text} AS TIMESTAMPTZ))
                        THEN make_timestamp(epoch_us(try_cast({text} AS TIMESTAMPTZ))) END
                WHEN {number} BETWEEN 0 AND 1e14
                    THEN make_timestamp(
                        ({number} * CASE WHEN {number} > 1e11 THEN 1e3 ELSE 1e6 END)::BIGINT
                    )
            END"""


def _reasons(one: Field) -> list[str]:
    """WHEN clauses for everything that can be wrong with a field, the simplest first."""
    empty = f"nullif(trim({one.name}_text), '') IS NULL"
    found = []
    if one.required:
        needed = "" if one.required_always else " AND op IS DISTINCT FROM 'DELETE'"
        found.append(f"WHEN {empty}{needed} THEN '{one.name} is missing'")
    if one.required_always:
        found.append(
            f"WHEN length({one.name}) > {_LONGEST_KEY}"
            f" THEN '{one.name} is longer than {_LONGEST_KEY} characters'"
        )
    if one.kind is FieldType.TIME:
        found.append(
            f"WHEN {one.name} IS NULL AND NOT {empty}"
            f" THEN '{one.name} is no time (ISO 8601 or seconds since 1970)'"
        )
    if one.allowed:
        kept = ", ".join(dict.fromkeys(one.allowed.values()))
        found.append(
            f"WHEN {one.name} IS NULL AND NOT {empty} THEN '{one.name} is not one of {kept}'"
        )
    if one.pattern is not None:
        found.append(
            f"WHEN NOT regexp_full_match({one.name}, '{one.pattern}')"
            f" THEN '{one.name} is not {one.shape}'"
        )
    return found
