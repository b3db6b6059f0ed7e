"""What Active Directory does otherwise, over a socket, by its documentation: [MS-ADTS]."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from elt_assets.connectors.source import Presence
from elt_assets.errors import PageUnreadable
from elt_assets_tests.connectors.ldap.conftest import opened, read
from elt_assets_tests.connectors.ldap.scripted import Asked, Said, Script, scripted

ADA = uuid.UUID("6f9619ff-8b86-d011-b42d-00cf4fc964ff")
SID = bytes.fromhex("010500000000000515000000a065cf7e784b9b5fe77c8770091c0100")


def data(port: int, **users: Any) -> dict[str, Any]:
    return {
        "connection": {"host": "127.0.0.1", "port": port, "tls": "off"},
        "directory": "active_directory",
        "base": "dc=acme,dc=example",
        "streams": {
            "users": {
                "filter": "(&(objectCategory=person)(objectClass=user))",
                "fields": {
                    "external_id": "objectGUID",
                    "name": "displayName",
                    "active": "$enabled",
                    "sid": "objectSid",
                    "groups": "memberOf",
                    "password_set": "pwdLastSet",
                    "expires": "accountExpires",
                    "source_updated_at": "whenChanged",
                },
            }
            | users
        },
    }


def listing(**attributes: list[bytes]) -> Script:
    """One person with these attributes."""
    return lambda _: Said(
        {"cn=Ada,dc=acme,dc=example": {"objectGUID": [ADA.bytes_le]} | attributes}
    )


def test_ids_times_and_flags_are_written_as_people_know_them() -> None:
    script = listing(
        objectSid=[SID],
        userAccountControl=[b"512"],
        pwdLastSet=[b"133485408000000000"],
        accountExpires=[b"9223372036854775807"],
        whenChanged=[b"20260102030405.0Z"],
        thumbnailPhoto=[b"\xff\xd8"],
    )
    fields = data(0)["streams"]["users"]["fields"] | {"photo": "thumbnailPhoto"}
    with scripted(script) as port:
        (record,) = read(opened(data(port, fields=fields)))
    assert record == {
        "objectGUID": "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        "objectSid": "S-1-5-21-2127521184-1604012920-1887927527-72713",
        "pwdLastSet": "2024-01-01T00:00:00+00:00",
        "accountExpires": None,
        "whenChanged": "2026-01-02T03:04:05.0Z",
        "thumbnailPhoto": "/9g=",
        "$enabled": True,
    }


@pytest.mark.parametrize(
    ("control", "enabled"), [(b"512", True), (b"514", False), (b"66050", False), (b"66048", True)]
)
def test_an_account_that_is_switched_off_is_not_active(control: bytes, enabled: bool) -> None:
    with scripted(listing(userAccountControl=[control])) as port:
        (record,) = read(opened(data(port)))
    assert record["$enabled"] is enabled


def ranged(asked: Asked, most: int = 1500) -> dict[str, list[bytes]]:
    """`memberOf` as the server sends it: 4,000 values in parts of `most`."""
    (wanted,) = (name for name in asked.attributes if name.startswith("memberOf"))
    begin = int(wanted.partition("=")[2].partition("-")[0] or 0)
    end = min(begin + most, 4_000)
    last = "*" if end == 4_000 else end - 1
    values = [b"cn=g%d" % number for number in range(begin, end)]
    return {"memberOf": [], f"memberOf;range={begin}-{last}": values}


def test_values_that_come_in_parts_are_all_read() -> None:
    def script(asked: Asked) -> Said:
        return Said({"cn=Ada": {"objectGUID": [ADA.bytes_le], **ranged(asked)}})

    with scripted(script) as port:
        (record,) = read(opened(data(port)))
    assert sorted(record["memberOf"]) == sorted(f"cn=g{number}" for number in range(4_000))


def test_a_part_that_does_not_come_is_an_error_and_not_the_end() -> None:
    def script(asked: Asked) -> Said:
        begins = "memberOf" in asked.attributes
        return Said({"cn=Ada": {"objectGUID": [ADA.bytes_le], **(ranged(asked) if begins else {})}})

    with scripted(script) as port, pytest.raises(PageUnreadable, match="the rest of memberOf"):
        read(opened(data(port)))


def test_a_part_that_comes_again_is_an_error() -> None:
    def script(asked: Asked) -> Said:
        first = Asked(0, "", ("memberOf",))
        return Said({"cn=Ada": {"objectGUID": [ADA.bytes_le], **ranged(first)}})

    with scripted(script) as port, pytest.raises(PageUnreadable, match="the rest of memberOf"):
        read(opened(data(port)))


def test_an_entry_is_searched_for_by_the_bytes_of_its_guid() -> None:
    with scripted(listing()) as port:
        source = opened(data(port))
        gone = str(uuid.UUID(int=ADA.int + 1))
        assert source.probe([gone], [str(ADA)]) == {gone: Presence.GONE}
