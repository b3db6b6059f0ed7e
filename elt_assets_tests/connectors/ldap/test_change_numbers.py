"""Changes by `uSNChanged`: marks that hold, marks of another controller, servers without any."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import pytest

from elt_assets.connectors.source import Page
from elt_assets.errors import MarkRefused, PositionRefused, ProviderRefused
from elt_assets_tests.connectors.ldap.conftest import opened
from elt_assets_tests.connectors.ldap.scripted import Asked, Said, done, entry, scripted

SETTINGS = "CN=NTDS Settings,CN=DC1,CN=Configuration,DC=acme,DC=example"
ONE, OTHER = uuid.UUID(int=1), uuid.UUID(int=2)


@dataclass
class Controller:
    """A domain controller with one person, which answers by [MS-ADTS]."""

    identity: uuid.UUID = ONE
    newest: str | None = "4711"
    readable: bool = True
    filters: list[bytes] = field(default_factory=list)

    def __call__(self, asked: Asked) -> Said:
        if asked.base == "":
            root = {"dsServiceName": [SETTINGS.encode()]}
            if self.newest is not None:
                root["highestCommittedUSN"] = [self.newest.encode()]
            return Said({"": root}, paged=False)
        if asked.base == SETTINGS:
            known = {"invocationId": [self.identity.bytes_le]} if self.readable else {}
            return Said({SETTINGS: known}, paged=False)
        self.filters.append(asked.filter)
        return Said({"CN=Ada": {"objectGUID": [ONE.bytes_le], "displayName": [b"Ada"]}})


def data(port: int, **incremental: Any) -> dict[str, Any]:
    return {
        "connection": {"host": "127.0.0.1", "port": port, "tls": "off"},
        "directory": "active_directory",
        "base": "DC=acme,DC=example",
        "streams": {
            "users": {
                "filter": "(objectClass=user)",
                "fields": {"external_id": "objectGUID", "name": "displayName"},
                "incremental": {"by": "usn"} | incremental,
            }
        },
    }


def pages(controller: Controller, since: str | None = None, cursor: Any = None) -> list[Page]:
    with scripted(controller) as port:
        return list(opened(data(port)).pages(cursor, since))


def test_a_listing_ends_with_the_mark_of_its_beginning() -> None:
    controller = Controller()
    (page,) = pages(controller)
    assert page.mark == f"4711@{ONE}"
    assert b"uSNChanged" not in controller.filters[0]


def test_changes_are_those_with_a_greater_number() -> None:
    controller = Controller(newest="5000")
    (page,) = pages(controller, f"4711@{ONE}")
    assert b"uSNChanged" in controller.filters[0]
    assert b"4712" in controller.filters[0]
    assert page.mark == f"5000@{ONE}"


@pytest.mark.parametrize(
    ("since", "words"),
    [
        (f"4711@{OTHER}", "the domain controller is not the one of the last sync"),
        (f"4712@{ONE}", "has a lower number than the changes already read"),
        ("2026-11-01T00:00:00.000000Z", "is not one of a domain controller"),
    ],
)
def test_a_mark_that_means_nothing_here_is_refused(since: str, words: str) -> None:
    controller = Controller()
    with pytest.raises(MarkRefused, match=words):
        pages(controller, since)
    assert controller.filters == []


def test_a_listing_does_not_go_on_at_another_controller() -> None:
    cursor = {"pages": 1, "mark": f"4700@{OTHER}"}
    with pytest.raises(PositionRefused, match="the domain controller is not the one"):
        pages(Controller(), cursor=cursor)


def test_a_listing_that_goes_on_keeps_its_first_mark() -> None:
    (page,) = pages(Controller(), cursor={"pages": 1, "mark": f"4700@{ONE}"})
    assert page.mark == f"4700@{ONE}"


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        (Controller(newest=None), r"no highestCommittedUSN\); remove incremental.by"),
        (Controller(newest="many"), "no highestCommittedUSN"),
        (Controller(readable=False), f"may not read invocationId of {SETTINGS}"),
    ],
)
def test_a_server_without_marks_is_refused_in_one_line(controller: Controller, words: str) -> None:
    with pytest.raises(ProviderRefused, match=words) as refused:
        pages(controller)
    assert "\n" not in str(refused.value)
    assert controller.filters == []


def test_deleted_objects_are_read_from_the_same_number_on() -> None:
    controller = Controller()
    with scripted(controller) as port:
        source = opened(data(port, deleted=True))
        *_, last = source.pages(None, f"4000@{ONE}")
    people, deleted = controller.filters
    assert b"isDeleted" in deleted
    assert b"isDeleted" not in people
    assert b"4001" in people
    assert b"4001" in deleted
    assert last.mark == f"4711@{ONE}"


def test_a_place_among_deleted_objects_keeps_the_mark() -> None:
    def script(asked: Asked) -> Said:
        if b"isDeleted" not in asked.filter:
            return Controller()(asked)
        name = f"CN=Ada\\0ADEL:{OTHER},CN=Deleted Objects,DC=acme,DC=example"
        found = entry(asked.number, name, {"objectGUID": [OTHER.bytes_le]})
        return Said(raw=[found, done(asked.number)])

    with scripted(script) as port:
        source = opened(data(port, deleted=True))
        first, *_ = source.pages(None, f"4000@{ONE}")
        cursor = json.loads(json.dumps(first.next))
        (rest,) = source.pages(cursor, f"4000@{ONE}")
    assert first.mark is None
    assert (rest.count, rest.mark) == (1, f"4711@{ONE}")
