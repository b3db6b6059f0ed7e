"""Faults of pagination: cursors, page boundaries, the shape of a page and the declared total."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from elt_assets_tests.testbed.faulty_provider.fault import (
    FAILED,
    INCOMPLETE,
    RIGHT,
    Ending,
    Endings,
    Exchange,
    Family,
    Fault,
    Need,
)

_ODD = "\"'; DROP TABLE users; -- &=+%25 /../\\ ünï ☃ #?"
_VOID = "void-"
_TOTAL = frozenset({Need.TOTAL})
_GRACE = frozenset({Need.TOTAL, Need.GRACE})
_CURSOR = frozenset({Need.CURSOR})


def _to_the_first_page(exchange: Exchange) -> object:
    if exchange.page.next is None:
        return False
    exchange.page.next = exchange.alias("again-from-the-start", None)
    return None


def _to_itself(exchange: Exchange) -> object:
    if exchange.page.next is None or "cursor" not in exchange.query:
        return False
    exchange.page.next = exchange.query["cursor"]
    return None


def _forget_the_cursor(exchange: Exchange) -> object:
    return exchange.query.pop("cursor", None) is not None


def _page_before(exchange: Exchange) -> object:
    """Replace the records of this page by those of the previous page."""
    if not exchange.affliction.earlier:
        return False
    for record in exchange.page.records:
        exchange.touched(record)
    exchange.page.records = list(exchange.affliction.earlier[-1])
    return None


def _void_before_the_page(exchange: Exchange) -> None:
    name = f"{_VOID}{exchange.affliction.requests}"
    exchange.page.records = []
    exchange.page.next = exchange.alias(name, exchange.query.get("cursor"))


def _empty_last_page(exchange: Exchange) -> object:
    if exchange.page.next is not None or not exchange.page.records:
        return False
    exchange.page.next = exchange.alias(f"{_VOID}{exchange.affliction.requests}", f"{_VOID}end")
    return None


def _end_here(exchange: Exchange) -> object:
    if exchange.page.next is None:
        return False
    exchange.page.next = None
    return None


def _end_here_without_a_total(exchange: Exchange) -> object:
    exchange.page.total = None
    return _end_here(exchange)


def _only_an_end(exchange: Exchange) -> object:
    """Send an empty last page without a total, as providers do that swallow an error."""
    if not exchange.page.records:
        return False
    exchange.page.records, exchange.page.next, exchange.page.total = [], None, None
    return None


def _whole_listing(exchange: Exchange) -> None:
    exchange.query["limit"] = "1000"


def _single_records(exchange: Exchange) -> None:
    exchange.query["limit"] = "1"


def _odd_cursor(exchange: Exchange) -> object:
    following = exchange.page.next
    if following is None:
        return False
    exchange.page.next = exchange.alias(f"{_ODD}{following}", following)
    return None


def _number_for_a_cursor(exchange: Exchange) -> object:
    following = exchange.page.next
    if following is None:
        return False
    number = str(10**15 + exchange.affliction.requests)
    exchange.alias(number, following)
    exchange.page.next_raw = number.encode()
    return None


def _expired(exchange: Exchange) -> object:
    if "cursor" not in exchange.query:
        return False
    exchange.status = 410
    exchange.spoiled = b'{"error":{"code":"cursor_expired"}}'
    return None


def _next(value: bytes) -> Callable[[Exchange], object]:
    def act(exchange: Exchange) -> object:
        if exchange.page.next is None:
            return False
        exchange.page.next_raw = value
        return None

    return act


def _false_at_the_end(exchange: Exchange) -> object:
    if exchange.page.next is not None:
        return False
    exchange.page.next_raw = b"false"
    return None


def _body(change: Callable[[bytes], bytes]) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.spoiled = change(exchange.page.encoded())

    return act


def _counted(change: Callable[[int], int | None]) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.page.total = change(exchange.page.total or 0)

    return act


def _total(value: bytes) -> Callable[[Exchange], None]:
    def act(exchange: Exchange) -> None:
        exchange.page.total_raw = value

    return act


def _total_in_words(exchange: Exchange) -> None:
    exchange.page.total_raw = msgspec.json.encode(str(exchange.page.total))


def _other_people_twice(exchange: Exchange) -> object:
    """Two lists of the same length under one name: parsers disagree about which one counts."""
    page = exchange.page.encoded()
    records = exchange.page.records
    if not records:
        return False
    for record in records:
        exchange.touched(record)
    phantoms = [b'{"id":"phantom-%d"}' % number for number in range(len(records))]
    exchange.affliction.keys |= {f"phantom-{number}" for number in range(len(records))}
    second = b'"items":[' + b",".join(phantoms) + b"],"
    first_wins = exchange.chance.random() < 0.5
    place = page.index(b'"next":') if first_wins else page.index(b'"items":')
    exchange.spoiled = page[:place] + second + page[place:]
    return None


def _shift(exchange: Exchange) -> object:
    """Hide one record, then repeat one, as index pagination does when people join or leave."""
    affliction, records = exchange.affliction, exchange.page.records
    if affliction.hidden is None:
        place = exchange.victim() if exchange.page.next is not None else None
        if place is None:
            return False
        affliction.hidden = records.pop(place)
        return None
    again = exchange.earlier_record()
    if again is None:
        return False
    records.insert(0, again)
    affliction.hidden = None
    return None


def _hide_behind_a_newcomer(exchange: Exchange) -> object:
    """Replace a record by that of a new person, so that the count still agrees."""
    place = exchange.victim()
    if place is None:
        return False
    newcomer = b"newcomer-%d" % exchange.affliction.requests
    exchange.affliction.keys.add(newcomer.decode())
    exchange.page.records[place] = b'{"id":"%b","status":"ACTIVE"}' % newcomer
    return None


def _fault(
    name: str,
    act: Callable[[Exchange], object],
    fleeting: Endings | None,
    lasting: Endings | None = None,
    **more: Any,
) -> Fault:
    return Fault(name, Family.PAGINATION, fleeting, lasting, act=act, **more)


_LOUD = FAILED | INCOMPLETE
_UNSURE = frozenset(Ending)

FAULTS = (
    # From the second page on, because a first page that leads to itself is only read twice.
    _fault(
        "cursor_cycle",
        _to_the_first_page,
        INCOMPLETE,
        INCOMPLETE,
        from_page=2,
        before_last=True,
        needs=_CURSOR,
    ),
    _fault(
        "cursor_to_itself",
        _to_itself,
        INCOMPLETE,
        INCOMPLETE,
        from_page=2,
        before_last=True,
        # Without a total, this may be a last page that names itself as the next one.
        needs=_TOTAL | _CURSOR,
    ),
    Fault(
        "cursor_ignored",
        Family.PAGINATION,
        INCOMPLETE,
        INCOMPLETE,
        begin=_forget_the_cursor,
        from_page=2,
        needs=_CURSOR,
    ),
    _fault("repeated_page", _page_before, RIGHT | INCOMPLETE, needs=_TOTAL, from_page=2),
    _fault("empty_page_with_a_next", _void_before_the_page, INCOMPLETE, needs=_CURSOR),
    _fault("empty_pages_without_end", _void_before_the_page, None, INCOMPLETE, needs=_CURSOR),
    _fault("empty_last_page", _empty_last_page, None, RIGHT, needs=_CURSOR),
    _fault(
        "ends_too_early",
        _end_here,
        INCOMPLETE,
        INCOMPLETE,
        needs=_TOTAL | _CURSOR,
        before_last=True,
    ),
    _fault(
        "ends_too_early_and_counts_nothing",
        _end_here_without_a_total,
        INCOMPLETE,
        needs=_TOTAL | _CURSOR,
        from_page=2,
        before_last=True,
    ),
    _fault("empty_end", _only_an_end, INCOMPLETE, INCOMPLETE, needs=_TOTAL, from_page=2),
    _fault("null_page", _body(lambda _: b"null"), FAILED, FAILED),
    _fault("null_data", _body(lambda _: b'{"data":null}'), FAILED, FAILED),
    _fault(
        "null_list",
        _body(lambda _: b'{"data":{"items":null,"next":null}}'),
        INCOMPLETE,
        INCOMPLETE,
        needs=_TOTAL,
    ),
    _fault("no_list", _body(lambda body: body.replace(b'"items"', b'"people"', 1)), FAILED),
    _fault("object_for_a_list", _body(lambda _: b'{"data":{"items":{"0":{}}}}'), FAILED),
    _fault("text_for_a_page", _body(lambda _: b'"all of them"'), FAILED),
    _fault("page_in_a_list", _body(lambda body: b"[" + body + b"]"), FAILED),
    _fault("two_pages_in_a_row", _body(lambda body: body + b"\n" + body), FAILED),
    _fault(
        "empty_list_of_the_same_name",
        _body(lambda body: body.replace(b'"next":', b'"items":[],"next":', 1)),
        _LOUD,
    ),
    _fault("two_lists_of_one_name", _other_people_twice, FAILED),
    _fault(
        "error_instead_of_a_page",
        _body(lambda _: b'{"error":{"code":"rate_limited","message":"slow down"}}'),
        RIGHT,
        FAILED,
    ),
    _fault(
        "error_beside_the_records",
        _body(lambda body: b'{"errors":[{"code":"partial"}],' + body[1:]),
        FAILED,
        FAILED,
    ),
    _fault(
        "error_inside_of_data",
        _body(lambda _: b'{"data":{"error":"backend away","items":[],"next":null}}'),
        FAILED,
        FAILED,
    ),
    Fault("page_size_ignored", Family.PAGINATION, RIGHT, RIGHT, begin=_whole_listing),
    Fault("page_size_shrinks", Family.PAGINATION, RIGHT, begin=_single_records),
    _fault("odd_cursor", _odd_cursor, RIGHT, RIGHT, before_last=True, needs=_CURSOR),
    _fault(
        "number_for_a_cursor", _number_for_a_cursor, RIGHT, RIGHT, before_last=True, needs=_CURSOR
    ),
    _fault("cursor_expires", _expired, RIGHT, FAILED, from_page=2, needs=_CURSOR),
    _fault("object_for_a_cursor", _next(b'{"after":7}'), FAILED, before_last=True, needs=_CURSOR),
    _fault(
        "huge_cursor", _next(b'"' + b"c" * 9000 + b'"'), FAILED, before_last=True, needs=_CURSOR
    ),
    _fault("false_at_the_end", _false_at_the_end, None, RIGHT, needs=_CURSOR),
    _fault("total_too_high", _counted(lambda total: total + 1), _LOUD, _LOUD, needs=_TOTAL),
    _fault("total_of_zero", _counted(lambda _: 0), _LOUD, _LOUD, needs=_TOTAL),
    _fault("total_missing", _counted(lambda _: None), RIGHT, RIGHT),
    _fault("total_in_words", _total_in_words, RIGHT, RIGHT),
    _fault("total_is_an_object", _total(b'{"value":3,"relation":"gte"}'), FAILED, needs=_TOTAL),
    _fault("total_is_negative", _total(b"-1"), RIGHT, RIGHT, needs=_TOTAL),
    _fault(
        "pages_shift_while_reading",
        _shift,
        _UNSURE - FAILED,
        needs=_TOTAL | _CURSOR,
        before_last=True,
        answers=2,
    ),
    _fault("somebody_hidden_while_reading", _hide_behind_a_newcomer, RIGHT, needs=_GRACE),
)
