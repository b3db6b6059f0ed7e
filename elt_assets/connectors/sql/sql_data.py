"""The models of a SQL integration's provider_data, with their limits and error messages.

Which queries are allowed is decided in `select`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from elt_assets.connectors.mapping.field_map import Fields, Unsorted, check_streams, check_unordered
from elt_assets.connectors.provider_fields import (
    OwnSafeguards,
    Priority,
    Secret,
    SourceName,
    Strict,
    WholePath,
)
from elt_assets.connectors.sql.select import check_select

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]


class ServerConnection(Strict):
    """A database server; use a user with the right to read only."""

    type: Literal["postgresql", "mysql"] = Field(
        description="Kind of server; mysql is also for MariaDB."
    )
    host: Name | None = Field(None, description="Name or address of the server.")
    port: int | None = Field(None, ge=1, le=65535, description="Port, if not the default.")
    database: Name | None = Field(None, description="Name of the database.")
    user: Name | None = Field(None, description="The user to log in as; needs only SELECT.")
    password: Secret | None = Field(None, description="Where the password is kept.")
    uri: Secret | None = Field(
        None,
        description="Where a whole postgresql:// or mysql:// URI is kept, instead of host, port, "
        "database, user and password.",
    )
    tls: Literal["verify", "require", "off"] = Field(
        "verify",
        description="verify: the connection is encrypted and the server's certificate is checked. "
        "require: it is encrypted only. off: neither.",
    )
    tls_ca: WholePath | None = Field(
        None, description="File of the authority that signed the server's certificate."
    )

    @model_validator(mode="after")
    def _one_way(self) -> ServerConnection:
        parts = (self.host, self.port, self.database, self.user, self.password)
        if self.uri is not None:
            if any(part is not None for part in parts):
                raise ValueError("give uri or host, database, user and password, not both")
        elif self.host is None or self.database is None or self.user is None:
            raise ValueError("is incomplete; give host, database and user, or a uri")
        return self


class FileConnection(Strict):
    """A SQLite file on this machine."""

    type: Literal["sqlite"]
    path: WholePath = Field(description="The database file.")


class SqlStream(Strict):
    """One kind of record and the query that lists it."""

    query: str = Field(
        min_length=1, max_length=65_536, description="One SELECT, e.g. SELECT id, email FROM users."
    )
    key: Name = Field(
        description="Column of the result that is unique and never null; rows are read in its "
        "order, so an index on it helps."
    )
    page_size: int = Field(5_000, ge=1, le=50_000, description="Rows of one page.")
    fields: Fields
    unordered: Unsorted = Field([])

    @model_validator(mode="after")
    def _sets(self) -> SqlStream:
        check_unordered(self.fields, self.unordered)
        return self


class SqlData(Strict):
    """provider_data of a SQL integration."""

    permission_source_name: SourceName = None
    connection: Annotated[ServerConnection | FileConnection, Field(discriminator="type")] = Field(
        description="The database, and the user to log in as."
    )
    statement_timeout: float = Field(60.0, gt=0, le=3600, description="Seconds for one page.")
    streams: dict[str, SqlStream] = Field(min_length=1, description="Streams by name: users.")
    safeguards: OwnSafeguards = None
    priority: Priority = 0

    @property
    def has_snapshot(self) -> bool:
        """True: every query is read in the order of its key."""
        return True

    @model_validator(mode="after")
    def _consistent(self) -> SqlData:
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        for name, stream in self.streams.items():
            try:
                check_select(stream.query, self.connection.type)
            except ValueError as error:
                raise ValueError(f"streams.{name}.query {error}") from None
        return self
