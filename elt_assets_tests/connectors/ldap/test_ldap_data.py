"""provider_data of a directory: every mistake is one line that names the field."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput

DATA: dict[str, Any] = {
    "connection": {
        "host": "ldap.acme.example",
        "user": "cn=reader,dc=acme,dc=example",
        "password": {"env": "LDAP_PASSWORD"},
    },
    "directory": "openldap",
    "base": "dc=acme,dc=example",
}
USERS: dict[str, Any] = {
    "filter": "(objectClass=inetOrgPerson)",
    "fields": {"external_id": "entryUUID", "name": "cn"},
}
MEMBERSHIPS: dict[str, Any] = {
    "filter": "(objectClass=groupOfNames)",
    "members": {},
    "fields": {"group_external_id": "group", "member_external_id": "member"},
}


def test_what_is_right_is_kept_as_it_is() -> None:
    data = DATA | {"streams": {"users": USERS, "group_memberships": MEMBERSHIPS}}
    assert catalog.validate("ldap", data) == data


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        ({"password": "s3cret"}, "connection.password: give a secret as {env: NAME}"),
        ({"password": None}, "give user and password, or neither"),
        ({"host": "ldaps://ldap.acme.example"}, "connection.host: write the server's name"),
        ({"tls": "verify"}, "connection.tls"),
        ({"tls_ca": "authority.pem"}, "connection.tls_ca: write the whole path"),
        ({"port": 70_000}, "connection.port"),
    ],
)
def test_a_wrong_connection_is_named(connection: dict[str, Any], words: str) -> None:
    data = DATA | {"streams": {"users": USERS}, "connection": DATA["connection"] | connection}
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("ldap", data)
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("users", "words"),
    [
        ({"filter": "objectClass=person"}, "'objectClass=person' is not an LDAP filter"),
        ({"filter": "(&(cn=a)"}, "is not an LDAP filter"),
        ({"filter": "(cn=a)(cn=b)"}, "is not an LDAP filter"),
        ({"fields": {"name": "cn"}}, "streams.users.fields: has no external_id"),
        ({"fields": {"external_id": "$dn"}}, "must be one attribute that never changes"),
        ({"fields": {"external_id": "a.b"}}, "must be one attribute that never changes"),
        ({"fields": {"external_id": "uid", "name": "$name"}}, "fields: name names '$name'"),
        ({"several": ["member;range=0-1"]}, "is no attribute's name"),
        ({"incremental": {"full_every": "weekly"}}, "a length of time such as 30s"),
        ({"incremental": {"deleted": True}}, "streams.users.incremental: only active_directory"),
        ({"incremental": {"by": "usn"}}, "only active_directory numbers its changes; remove by"),
        ({"incremental": {"by": "dirsync"}}, "streams.users.incremental.by"),
        ({"members": {}}, "streams.users"),
    ],
)
def test_a_wrong_stream_is_named(users: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("ldap", DATA | {"streams": {"users": USERS | users}})
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("memberships", "words"),
    [
        ({"members": None}, "streams.group_memberships: members belongs to group_memberships"),
        ({"incremental": {}}, "a membership has no time of its own"),
        (
            {"fields": {"group_external_id": "cn", "member_external_id": "member"}},
            "group_external_id names 'cn'; there is group, kind, member",
        ),
    ],
)
def test_wrong_memberships_are_named(memberships: dict[str, Any], words: str) -> None:
    streams = {"group_memberships": MEMBERSHIPS | memberships}
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("ldap", DATA | {"streams": streams})
    assert words in str(refused.value)
