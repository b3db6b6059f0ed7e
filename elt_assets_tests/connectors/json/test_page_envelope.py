"""What a page says about itself, and what is said about a page that is wrong."""

from __future__ import annotations

import json

import pytest

from elt_assets.connectors.json.page_envelope import Envelope, EnvelopeReader
from elt_assets.connectors.json.page_words import described
from elt_assets.errors import PageUnreadable, ProviderUnavailable

READER = EnvelopeReader(("data", "items"), cursor=("data", "next"), total=("meta", "total"))


def read(body: bytes | object, reader: EnvelopeReader = READER) -> Envelope:
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return reader.read(encoded, "page 17")


def complaint(body: bytes | object, reader: EnvelopeReader = READER) -> str:
    with pytest.raises(PageUnreadable) as caught:
        read(body, reader)
    return str(caught.value)


def test_count_cursor_and_total_are_read_from_where_they_stand() -> None:
    found = read({"data": {"items": [{"id": 1}, {"id": 2}], "next": "c"}, "meta": {"total": 9}})
    assert (found.count, found.cursor, found.total) == (2, "c", 9)


def test_keys_with_dots_and_signs_are_keys_like_any_other() -> None:
    reader = EnvelopeReader(("value",), cursor=("@odata.nextLink",), total=("@odata.count",))
    found = read({"value": [], "@odata.nextLink": "u", "@odata.count": 0}, reader)
    assert (found.count, found.cursor, found.total) == (0, "u", 0)


def test_a_body_that_is_the_list_needs_no_path() -> None:
    assert read([{"id": 1}], EnvelopeReader(())).count == 1


@pytest.mark.parametrize("last", [{"next": None}, {"next": ""}, {"next": False}, {}])
def test_every_way_to_say_that_there_is_no_next_page_is_understood(last: object) -> None:
    assert isinstance(last, dict)
    assert read({"data": {"items": [], **last}}).cursor is None


def test_a_whole_number_is_a_cursor_too_and_keeps_its_type() -> None:
    assert read({"data": {"items": [], "next": 0}}).cursor == 0


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"a": 1}, "an object with keys a"),
        ([1], "a list of 1"),
        (1.5, "a number"),
        (True, "true"),
    ],
)
def test_a_cursor_of_another_kind_is_refused(found: object, words: str) -> None:
    message = complaint({"data": {"items": [], "next": found}})
    assert message.startswith(f"page 17 has {words}")
    assert "'data.next'" in message


def test_a_cursor_too_long_to_be_one_is_refused() -> None:
    assert "10,000 characters" in complaint({"data": {"items": [], "next": "x" * 10_000}})


@pytest.mark.parametrize(
    ("total", "expected"),
    [
        ("12", 12),
        (" 12 ", 12),
        (12.0, 12),
        ("12.0", 12),
        (0, 0),
        (None, None),
        ("", None),
        (-1, None),
        ("-1", None),
        (-1.0, None),
    ],
    ids=repr,
)
def test_a_total_may_be_written_in_several_ways_or_be_missing(
    total: object, expected: object
) -> None:
    assert read({"data": {"items": []}, "meta": {"total": total}}).total == expected
    assert read({"data": {"items": []}}).total is None


@pytest.mark.parametrize("total", [1.5, "1.5", "many", "1e3", True, {"value": 3}], ids=repr)
def test_a_total_that_is_no_count_is_refused(total: object) -> None:
    assert "'meta.total', not a count" in complaint(
        {"data": {"items": []}, "meta": {"total": total}}
    )


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"requestId": "r", "error": "boom"}, "an object with keys error, requestId; boom"),
        ({"data": {"users": []}}, "an object with keys users at 'data'"),
        ({"data": {"items": {"1": 2}}}, "an object with keys 1 at 'data.items'"),
        ({"data": None}, "null at 'data'"),
        ({"data": [1, 2]}, "a list of 2 at 'data'"),
        ([1], "a list of 1"),
        ("text", "a text"),
        (None, "null"),
        ({}, "an empty object"),
    ],
)
def test_a_page_without_the_records_path_names_the_path_and_what_was_found(
    body: object, found: str
) -> None:
    assert complaint(body) == (
        f"page 17 has no list at 'data.items' (found {found}); fix records in provider_data"
    )


def test_a_page_that_should_be_a_list_and_is_an_object_says_so() -> None:
    assert "no list at its top (found an object with keys message)" in complaint(
        {"message": "rate limited"}, EnvelopeReader(())
    )


def test_messages_show_keys_shortened_and_never_values() -> None:
    message = complaint({"secret": "do-not-show", "k" * 80: 1, **{f"x{n}": n for n in range(20)}})
    assert "do-not-show" not in message
    assert "and 14 more" in message
    assert f"{'k' * 39}…, secret" in message


@pytest.mark.parametrize("key", ["error", "errors"])
def test_an_error_beside_the_records_is_not_a_full_answer(key: str) -> None:
    for value in ("boom", ["a"], {"code": 1}):
        assert f"carries '{key}' next to its records" in complaint(
            {"data": {"items": []}, key: value}
        )
    values: tuple[object, ...] = (None, "", [], {}, False, 0)
    for nothing in values:
        assert read({"data": {"items": []}, key: nothing}).count == 0


def test_a_list_of_records_may_itself_be_called_errors() -> None:
    assert read({"errors": [1]}, EnvelopeReader(("errors",))).count == 1


def test_html_instead_of_json_is_recognised() -> None:
    message = complaint(b"\n<!doctype html><title>Sign in</title>")
    assert message == "page 17 is not JSON (it is an HTML or XML document)"
    assert "is not JSON (it is a body of 5 bytes)" in complaint(b"Oops!")


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_empty_body_is_not_an_empty_listing(body: bytes) -> None:
    assert complaint(body) == "page 17 is empty"


WHOLE = b'{"data": {"items": [{"id": "a]}"}, {"id": 2}], "next": null}, "meta": {"total": 2}}'


@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_page_cut_anywhere_is_a_failure_to_retry_and_never_a_short_listing(length: int) -> None:
    with pytest.raises(ProviderUnavailable, match="stops in the middle"):
        read(WHOLE[:length])


def test_broken_json_that_is_not_cut_is_permanent() -> None:
    assert complaint(b'{"data": {"items": [] "next": 1}}').endswith("page 17 is not valid JSON")
    assert complaint(b'{"data": {"items": [{},], "next": 1}}').endswith("page 17 is not valid JSON")
    assert complaint(WHOLE + b"x").endswith("page 17 is not valid JSON")
    assert complaint(b'{"data": {"items": [], "next": "\\ud800"}}').endswith("not valid JSON")


def test_the_way_to_a_cursor_must_lead_through_objects() -> None:
    reader = EnvelopeReader(("items",), cursor=("paging", "next"))
    assert read({"items": []}, reader).cursor is None
    assert read({"items": [], "paging": None}, reader).cursor is None
    assert complaint({"items": [], "paging": ["x"]}, reader) == (
        "page 17 cannot have 'paging.next' (found a list of 1 at 'paging')"
    )


def test_a_byte_order_mark_is_not_part_of_the_page() -> None:
    assert read(b"\xef\xbb\xbf" + WHOLE).body == WHOLE


def test_an_error_answer_is_described_by_its_keys() -> None:
    assert described(b'{"code": 1, "message": "x"}') == "an object with keys code, message"
    assert described(b"<html>") == "an HTML or XML document"
    assert described(b"") == "with nothing to read"
