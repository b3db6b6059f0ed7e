"""What an answer about one record means, next to the answer to a control."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.probing.probe_answers import ProbeAnswer, ProbeShape, answer_of
from elt_assets.connectors.source import Presence

ERROR = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404"}
CONTROL = answer_of(200, {"content-type": "application/json; charset=utf-8"}, b'{"id": "c"}')
SHAPE = ProbeShape(parse("id"))
PRESENT, GONE, UNKNOWN = Presence.PRESENT, Presence.GONE, Presence.UNKNOWN


def answer(status: int, body: Any, kind: str = "application/json") -> ProbeAnswer:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return answer_of(status, {"content-type": kind}, content)


@pytest.mark.parametrize(
    ("given", "meaning"),
    [
        (answer(200, {"id": "u1"}), PRESENT),
        (answer(200, {"id": "u2"}), UNKNOWN),
        (answer(200, {}), UNKNOWN),
        (answer(200, b"<html>"), UNKNOWN),
        (answer(200, b""), UNKNOWN),
        (answer(404, {"error": "not found"}), GONE),
        (answer(410, {"error": "not found"}), GONE),
        (answer(404, {"error": "not found"}, "Application/JSON; charset=utf-8"), GONE),
        (answer(404, {"title": "Not Found"}, "application/problem+json"), GONE),
        (answer(404, b"<html>Not Found</html>", "text/html"), UNKNOWN),
        (answer(404, b"<html>Not Found</html>"), UNKNOWN),
        (answer(404, {"error": "not found"}, "text/html"), UNKNOWN),
        (answer(404, b""), UNKNOWN),
        (answer(404, ERROR, "text/plain"), GONE),
        (answer(403, {"error": "forbidden"}), UNKNOWN),
        (answer(500, {"id": "u1"}), UNKNOWN),
    ],
)
def test_an_answer_counts_only_if_it_is_the_apis_own(given: ProbeAnswer, meaning: Presence) -> None:
    assert SHAPE.judge(given, "u1", CONTROL) is meaning


def test_a_record_that_fails_the_streams_filter_is_gone() -> None:
    shape = replace(SHAPE, record=("user",), active=parse('status != "DEPROVISIONED"'))

    def judged(**user: str) -> Presence:
        return shape.judge(answer(200, {"user": {"id": "u1", **user}}), "u1", CONTROL)

    assert judged(status="ACTIVE") is PRESENT
    assert judged(status="DEPROVISIONED") is GONE
    assert judged() is PRESENT


def test_an_error_with_status_200_says_gone_only_in_the_words_that_were_declared() -> None:
    shape = replace(SHAPE, record=("user",), gone_if=parse('error == "user_not_found"'))

    def judged(document: Any, kind: str = "application/json") -> Presence:
        return shape.judge(answer(200, document, kind), "u1", CONTROL)

    assert judged({"ok": False, "error": "user_not_found"}) is GONE
    assert judged({"ok": False, "error": "user_not_found"}, "text/html") is UNKNOWN
    assert judged({"ok": False, "error": "ratelimited"}) is UNKNOWN
    assert judged({"ok": True, "user": {"id": "u1"}}) is PRESENT


def test_where_the_listing_is_filtered_a_record_that_comes_back_may_have_left_it() -> None:
    shape = replace(SHAPE, filtered=True)
    assert shape.judge(answer(200, {"id": "u1"}), "u1", CONTROL) is UNKNOWN
    assert shape.judge(answer(404, {}), "u1", CONTROL) is GONE
    assert shape.found(answer(200, {"id": "u1"}), "u1") is PRESENT
