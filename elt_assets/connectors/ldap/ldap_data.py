"""The models of an LDAP integration's provider_data.

Every description appears in the JSON Schema and in the documentation.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from elt_assets.config.durations import duration
from elt_assets.connectors.ldap.codec import check_filter
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.mapping.expressions import Path, names_used
from elt_assets.connectors.mapping.field_map import (
    Fields,
    Unsorted,
    check_streams,
    check_unordered,
    key_fields,
)
from elt_assets.connectors.provider_fields import (
    OwnSafeguards,
    Priority,
    Secret,
    SourceName,
    Strict,
    WholePath,
)
from elt_assets.connectors.source import Incremental

MEMBERSHIPS = "group_memberships"
DN, ENABLED = "$dn", "$enabled"
COMPUTED = {DN, ENABLED}
"""Names in a record that are computed and not attributes."""
MEMBERSHIP = ("group", "member", "kind")
"""Names in the record of a membership."""

_ATTRIBUTE = re.compile(r"(?:[A-Za-z][A-Za-z0-9-]*|[0-2](?:\.[0-9]+)+)", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")
_PORTS = {"ldaps": 636, "start_tls": 389, "off": 389}


def _host(value: str) -> str:
    if not _HOST.fullmatch(value):
        raise ValueError("write the server's name or address alone; port and tls are fields")
    return value


def _attribute(value: str) -> str:
    if not _ATTRIBUTE.fullmatch(value):
        raise ValueError(f"{value!r} is no attribute's name, such as memberOf")
    return value


def _duration(value: str) -> str:
    duration(value)
    return value


Attribute = Annotated[str, AfterValidator(_attribute)]
Name = Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00]*$")]
Filter = Annotated[str, Field(max_length=8192), AfterValidator(check_filter)]
Span = Annotated[str, AfterValidator(_duration)]


class LdapConnection(Strict):
    """A directory server, and the account that reads it."""

    host: Annotated[str, Field(min_length=1, max_length=256), AfterValidator(_host)] = Field(
        description="Name of the server, as its certificate has it."
    )
    port: int | None = Field(
        None, ge=1, le=65535, description="Port, if not 636, or 389 without LDAPS."
    )
    tls: Literal["ldaps", "start_tls", "off"] = Field(
        "ldaps",
        description="TLS from the start, TLS after StartTLS, or none. With off, the password and "
        "all entries are sent unencrypted.",
    )
    tls_ca: WholePath | None = Field(
        None, description="File of the authority that signed the server's certificate."
    )
    user: Name | None = Field(
        None,
        description="Distinguished name of the account, or in Active Directory name@domain; the "
        "account needs read access only. Without one the bind is anonymous.",
    )
    password: Secret | None = Field(None, description="Where the password is kept.")

    @property
    def port_used(self) -> int:
        return self.port or _PORTS[self.tls]

    @model_validator(mode="after")
    def _whole(self) -> LdapConnection:
        if (self.user is None) != (self.password is None):
            raise ValueError("is incomplete; give user and password, or neither")
        return self


class LdapMembership(Strict):
    """How a group lists its members."""

    attribute: Attribute = Field(
        "member", description="The group's attribute: member, uniqueMember or memberUid."
    )
    names: Attribute | None = Field(
        None,
        description="The member's attribute with the same value, such as uid for memberUid; "
        "left out if the values are distinguished names.",
    )
    nested: bool = Field(
        False, description="Whether members of a nested group belong to the outer group as well."
    )


class LdapIncremental(Strict):
    """Reads only the entries that changed, by the time or the number of their last change."""

    by: Literal["time", "usn"] = Field(
        "time",
        description="Active Directory: usn reads by uSNChanged, the number that the domain "
        "controller gives each change. Another controller, or one that was restored, is read in "
        "full.",
    )

    full_every: Span = Field("7d", description="How often all entries are read nevertheless.")
    overlap: Span = Field(
        "5m",
        description="With by: time, how far before the newest known change the next extraction "
        "begins.",
    )
    deleted: bool = Field(
        False,
        description="Active Directory: whether deleted objects are read, too, so that deletes are "
        "known without a full listing. The account must be allowed to list them.",
    )

    def seam(self) -> Incremental:
        """The same settings in the engine's form."""
        by_mark = self.by == "usn"
        return Incremental(duration(self.full_every), duration(self.overlap), by_mark)


class LdapStream(Strict):
    """One kind of record and the search that lists it."""

    filter: Filter = Field(
        description="LDAP filter for the entries, e.g. (objectClass=inetOrgPerson)."
    )
    base: Name | None = Field(
        None, description="Where the search begins, if not at the integration's base."
    )
    scope: Literal["subtree", "one_level"] = Field(
        "subtree", description="All entries below the base, or only those directly below it."
    )
    page_size: int = Field(
        500,
        ge=1,
        le=10_000,
        description="Entries of one page; Active Directory sends 1000 at most.",
    )
    several: list[Attribute] = Field(
        [],
        description="Attributes whose values are a list. Any other attribute has its first value "
        "in alphabetical order. memberOf and proxyAddresses are always lists.",
    )
    referrals: Literal["incomplete", "ignore"] = Field(
        "incomplete",
        description="Whether the listing is incomplete if another server holds a part of the "
        "searched tree. Write ignore if that part holds no records of this stream.",
    )
    incremental: LdapIncremental | None = Field(
        None, description="Set to read only what changed between full listings."
    )
    members: LdapMembership | None = Field(
        None,
        description="For group_memberships, where the filter finds the groups: how a group lists "
        "its members.",
    )
    fields: Fields
    unordered: Unsorted = Field([])

    @model_validator(mode="after")
    def _consistent(self) -> LdapStream:
        check_unordered(self.fields, self.unordered)
        for field, text in self.fields.items():
            for name in names_used(parse(text)):
                known = MEMBERSHIP if self.members is not None else COMPUTED
                if name not in known and (self.members or not _ATTRIBUTE.fullmatch(name)):
                    raise ValueError(
                        f"fields: {field} names {name!r}; there is {', '.join(sorted(known))}"
                        + ("" if self.members else " and each attribute")
                    )
        if self.members is not None and self.incremental is not None:
            raise ValueError("incremental: a membership has no time of its own")
        return self


class LdapData(Strict):
    """provider_data of an LDAP directory or Active Directory."""

    permission_source_name: SourceName = None
    connection: LdapConnection = Field(description="The server, and the account to log in as.")
    directory: Literal["active_directory", "openldap"] = Field(
        description="active_directory (also for Samba), or openldap for servers whose entries "
        "have entryUUID and entryDN (RFC 4530, RFC 5020)."
    )
    base: Name = Field(description="Where searches begin, e.g. dc=acme,dc=example.")
    streams: dict[str, LdapStream] = Field(min_length=1, description="Streams by name: users.")
    safeguards: OwnSafeguards = None
    priority: Priority = 0

    def id_attribute(self, stream: str) -> str:
        """The attribute that identifies an entry of a stream, which may be absent in `streams`."""
        known = self.streams.get(stream)
        if known is None:
            return "objectGUID" if self.directory == "active_directory" else "entryUUID"
        return attribute_of(known.fields["external_id"])

    @property
    def deleted_objects(self) -> str:
        """The container of deleted objects in Active Directory, below the domain of the base."""
        parts = re.split(r"(?<!\\),", self.base)
        domain = [part for part in parts if part.strip().lower().startswith("dc=")]
        return ",".join(["CN=Deleted Objects", *domain])

    @property
    def changed_attribute(self) -> str:
        """The attribute with the time of an entry's last change."""
        return "whenChanged" if self.directory == "active_directory" else "modifyTimestamp"

    @property
    def dn_attribute(self) -> str:
        """The attribute for searching an entry by its distinguished name."""
        return "distinguishedName" if self.directory == "active_directory" else "entryDN"

    @model_validator(mode="after")
    def _whole(self) -> LdapData:
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        for name, stream in self.streams.items():
            if (name == MEMBERSHIPS) != (stream.members is not None):
                raise ValueError(
                    f"streams.{name}: members belongs to {MEMBERSHIPS}, and only there"
                )
            if stream.members is not None:
                continue
            if stream.incremental is not None and self.directory != "active_directory":
                if stream.incremental.deleted:
                    raise ValueError(
                        f"streams.{name}.incremental: only active_directory keeps what was "
                        "deleted; remove deleted"
                    )
                if stream.incremental.by == "usn":
                    raise ValueError(
                        f"streams.{name}.incremental: only active_directory numbers its changes; "
                        "remove by"
                    )
            (key,) = key_fields(name)
            if not attribute_of(stream.fields[key]):
                raise ValueError(
                    f"streams.{name}.fields: {key} must be one attribute that never changes, such "
                    f"as objectGUID or entryUUID; {stream.fields[key]!r} is not"
                )
        return self


def attribute_of(expression: str) -> str:
    """The attribute, if the expression is only an attribute's name; otherwise an empty text."""
    match parse(expression):
        case Path((str(name),)) if name not in COMPUTED:
            return name
    return ""
