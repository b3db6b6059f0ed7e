"""False claims: totals, ends, states and single records that are well formed but wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from elt_assets.demo.edits import Edits
from elt_assets.demo.people import person_id
from elt_assets_tests.testbed.faulty_provider.fault import (
    INCOMPLETE,
    RIGHT,
    Endings,
    Exchange,
    Family,
    Fault,
    Need,
    OneAnswer,
)

_TOTAL = frozenset({Need.TOTAL})
_CURSOR = frozenset({Need.TOTAL, Need.CURSOR})
_SINGLE = frozenset({Need.SINGLE})
_MOST = 12
_COUNTED = "counted-"
_EITHER = RIGHT | INCOMPLETE


def _counted(change: Callable[[Exchange, int], int]) -> Callable[[Exchange], object]:
    def act(exchange: Exchange) -> bool:
        told = exchange.page.total or 0
        exchange.page.total = max(0, change(exchange, told))
        return exchange.page.total != told

    return act


def _overlap(exchange: Exchange) -> object:
    """Start with the last record of the previous page, and lose the last record of this one."""
    before = exchange.affliction.earlier[-1] if exchange.affliction.earlier else []
    records = exchange.page.records
    if not before or not records:
        return False
    exchange.touched(records[-1])
    exchange.page.records = [before[-1], *records[:-1]]
    return None


def _lost_page(exchange: Exchange) -> object:
    """Remove the records of a page but keep its next cursor."""
    if not exchange.page.records:
        return False
    for record in exchange.page.records:
        exchange.touched(record)
    exchange.page.records = []
    return None


def _capped(exchange: Exchange) -> object:
    """List at most twelve people, and report that as the total."""
    room = max(0, _MOST - sum(map(len, exchange.affliction.earlier)))
    told = exchange.page.total or 0
    if told <= _MOST:
        return False
    for record in exchange.page.records[room:]:
        exchange.touched(record)
    exchange.affliction.keys.update(_everybody(exchange))
    exchange.page.records = exchange.page.records[:room]
    exchange.page.total = _MOST
    if len(exchange.page.records) == room:
        exchange.page.next = None
    return None


def _follow_the_count(exchange: Exchange) -> object:
    """Treat the cursor as an offset; once, remove a person before it and add another person."""
    cursor = exchange.query.get("cursor", "")
    if not cursor.startswith(_COUNTED):
        return False
    del exchange.query["cursor"]
    exchange.query["offset"] = cursor.removeprefix(_COUNTED)
    if _COUNTED not in exchange.affliction.aliases:
        exchange.affliction.aliases[_COUNTED] = None
        snapshot = exchange.directory.snapshot(exchange.ref)
        first, *others = snapshot.overlay.numbers(snapshot.people)
        if others:
            exchange.affliction.keys.update(_everybody(exchange))
            exchange.directory.edit(exchange.ref, Edits(remove=[first], add=1))
    return None


def _lead_by_count(exchange: Exchange) -> object:
    """Set the next cursor to the number of people that were served so far."""
    page = exchange.page
    seen = sum(map(len, exchange.affliction.earlier)) + len(page.records)
    page.next = f"{_COUNTED}{seen}" if page.records and seen < (page.total or 0) else None
    return page.next is not None


def _everybody(exchange: Exchange) -> list[str]:
    snapshot = exchange.directory.snapshot(exchange.ref)
    return [person_id(number) for number in snapshot.overlay.numbers(snapshot.people)]


def _each(change: Callable[[dict[str, Any]], None]) -> Callable[[Exchange], object]:
    """Change every record of the page."""

    def act(exchange: Exchange) -> object:
        changed = []
        for record in exchange.page.records:
            exchange.touched(record)
            document = msgspec.json.decode(record)
            change(document)
            changed.append(msgspec.json.encode(document))
            exchange.touched(changed[-1])
        exchange.page.records = changed
        return bool(changed)

    return act


def _inactive(document: dict[str, Any]) -> None:
    document["status"] = "SUSPENDED"


def _without_email(document: dict[str, Any]) -> None:
    document["profile"]["email"] = None


def _renamed_key(document: dict[str, Any]) -> None:
    document["id"] = f"migrated-{document['id']}"


def _from_the_future(document: dict[str, Any]) -> None:
    document["lastUpdated"] = "2999-01-01T00:00:00Z"


def _gone(_key: str, _answer: OneAnswer) -> OneAnswer:
    return OneAnswer(404, "application/json", b'{"error":{"code":"not_found"}}')


def _proxied(_key: str, _answer: OneAnswer) -> OneAnswer:
    return OneAnswer(404, "text/html", b"<html><h1>404 Not Found</h1><hr>nginx</html>")


def _there(key: str, answer: OneAnswer) -> OneAnswer:
    record = msgspec.json.encode({"id": key, "status": "ACTIVE", "profile": {}})
    return OneAnswer(200, "application/json", record) if answer.status == 404 else answer


def _lie(
    name: str,
    act: Callable[[Exchange], object],
    allowed: Endings,
    needs: frozenset[Need] = frozenset(),
    **placed: Any,
) -> Fault:
    """A false claim that may happen once or always."""
    return Fault(name, Family.LIE, allowed, allowed, act=act, needs=needs, **placed)


def _about_one(name: str, single: Callable[[str, OneAnswer], OneAnswer]) -> Fault:
    return Fault(name, Family.LIE, lasting=_EITHER, single=single, needs=_SINGLE)


FAULTS = (
    _lie("total_too_low", _counted(lambda _, total: total - 3), INCOMPLETE, _TOTAL),
    _lie(
        "total_is_that_of_the_page",
        _counted(lambda exchange, _: len(exchange.page.records)),
        INCOMPLETE,
        _TOTAL,
    ),
    _lie("total_is_an_estimate", _counted(lambda _, total: total * 9 // 10), INCOMPLETE, _TOTAL),
    _lie("pages_overlap", _overlap, INCOMPLETE, _TOTAL, from_page=2),
    _lie("page_lost_in_the_middle", _lost_page, INCOMPLETE, _CURSOR, from_page=2, before_last=True),
    Fault("lists_no_more_than_twelve", Family.LIE, lasting=_EITHER, act=_capped, needs=_TOTAL),
    Fault(
        "cursor_is_an_offset",
        Family.LIE,
        lasting=_EITHER,
        begin=_follow_the_count,
        act=_lead_by_count,
        needs=_CURSOR,
    ),
    _lie("everybody_inactive", _each(_inactive), RIGHT),
    _lie("email_addresses_lost", _each(_without_email), RIGHT),
    _lie("identities_changed", _each(_renamed_key), _EITHER),
    _lie("changed_in_the_future", _each(_from_the_future), RIGHT),
    _about_one("404_for_every_single_user", _gone),
    _about_one("404_of_a_proxy_for_every_single_user", _proxied),
    _about_one("leavers_there_when_asked_for", _there),
)
