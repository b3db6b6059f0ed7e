"""Streams: the kinds of record that are kept in sync, each declared once.

All SQL is made from these declarations: a new stream is a new entry in `STREAMS`.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import StrEnum

from elt_assets.identifiers import IntegrationRef

_NAMESPACE = uuid.UUID("6f1c1a52-5d0e-5c8e-9d54-0c5b6a1b7e11")


class ColumnType(StrEnum):
    """The type of a column; the mapping rejects a record whose value has another type."""

    TEXT = "text"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """One column that a provider's record fills.

    `unmapped` is the value when the integration maps no field to the column. Losing a `guarded`
    value counts as harm; where the column `activates`, false takes a person's access away.
    """

    name: str
    description: str
    kind: ColumnType = ColumnType.TEXT
    unmapped: str | bool | None = None
    guarded: bool = False
    activates: bool = False

    @property
    def sql_type(self) -> str:
        """The column's type in the warehouse."""
        return "BOOLEAN" if self.kind is ColumnType.BOOLEAN else "VARCHAR"


@dataclass(frozen=True, slots=True)
class Stream:
    """A kind of record: a name, the columns of its key and the columns of its content.

    Every stream also has `attributes` (fields an integration maps beyond these columns),
    `content_hash` over content and attributes, and `source_updated_at`, which orders
    several versions of one record and is not content.
    """

    name: str
    description: str
    key: tuple[Column, ...]
    content: tuple[Column, ...]
    parent: str | None = None
    """The stream whose external_id is the first column of this key: `groups` for memberships."""

    @property
    def columns(self) -> tuple[Column, ...]:
        """Key columns, then content columns."""
        return self.key + self.content

    @property
    def staging(self) -> str:
        """Warehouse view of raw and mapped records, all syncs."""
        return f"{self.name}_staging"

    @property
    def landed(self) -> str:
        """Warehouse table behind `staging`, which stores a batch that syncs share once."""
        return f"{self.name}_landed"

    @property
    def cdc(self) -> str:
        """Warehouse table of changes: the change log."""
        return f"{self.name}_cdc"

    @property
    def withheld(self) -> str:
        """Warehouse table of changes that were detected and withheld."""
        return f"{self.name}_withheld"

    @property
    def history(self) -> str:
        """Warehouse view of every version of every record with its time span."""
        return f"{self.name}_history"

    @property
    def latest(self) -> str:
        """Operational table that applications read."""
        return f"{self.name}_latest"

    @property
    def namespace(self) -> uuid.UUID:
        """Namespace of this stream's record ids (UUIDv5)."""
        return uuid.uuid5(_NAMESPACE, self.name)


@dataclass(frozen=True, slots=True)
class StreamKey:
    """One stream of one integration: what a sync brings up to date."""

    stream: Stream
    ref: IntegrationRef

    @property
    def values(self) -> tuple[str, str, str]:
        """The values of the three ledger columns that identify this key."""
        return (*self.ref.values, self.stream.name)


USERS = Stream(
    name="users",
    description="People with an account at the provider.",
    key=(Column("external_id", "The provider's own immutable id of the user."),),
    content=(
        Column("name", "Display name.", guarded=True),
        Column("email", "Primary e-mail address.", guarded=True),
        Column(
            "active",
            "Whether the account may sign in; true where the provider does not say.",
            kind=ColumnType.BOOLEAN,
            unmapped=True,
            activates=True,
        ),
    ),
)

GROUPS = Stream(
    name="groups",
    description="Groups, teams or roles that the provider sorts people into.",
    key=(Column("external_id", "The provider's own immutable id of the group."),),
    content=(
        Column("name", "Display name.", guarded=True),
        Column("description", "What the group is for, in the provider's words."),
    ),
)

GROUP_MEMBERSHIPS = Stream(
    name="group_memberships",
    description="Who belongs to which group.",
    key=(
        Column("group_external_id", "The group: `external_id` of a row of groups."),
        Column("member_external_id", "The member: `external_id` of a user or of another group."),
    ),
    content=(
        Column("kind", "What the member is, in the provider's words, such as User or Group."),
        Column("role", "The member's role in the group, where the provider has roles."),
    ),
    parent="groups",
)

STREAMS: dict[str, Stream] = {stream.name: stream for stream in (USERS, GROUPS, GROUP_MEMBERSHIPS)}
