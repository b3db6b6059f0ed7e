"""The parameters of a consumer's request, parsed from its query string."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from elt_assets.errors import InvalidInput
from elt_assets.feed.numbering import BEGINNING
from elt_assets.identifiers import checked_name
from elt_assets.sync.streams import STREAMS

MOST = 5_000
"""The most entries or rows in one answer."""
LONGEST_WAIT = 60

_USUAL = 1_000
_FORMATS = {"json": False, "jsonl": True}


class FeedQuery(msgspec.Struct, frozen=True):
    """The parameters of GET /feed."""

    after: str = BEGINNING
    limit: int = _USUAL
    organization: str | None = None
    stream: str | None = None
    wait: int = 0
    lines: bool = False


class SnapshotQuery(msgspec.Struct, frozen=True):
    """The parameters of GET /snapshot."""

    stream: str
    page: str | None = None
    limit: int = _USUAL
    organization: str | None = None
    lines: bool = False


def feed_query(given: Mapping[str, str], accept: str) -> FeedQuery:
    """Parse the query of GET /feed. Raises `InvalidInput` naming the parameter that is wrong."""
    _refuse_unknown(given, ("after", "limit", "organization", "stream", "wait", "format"))
    return FeedQuery(
        after=given.get("after", BEGINNING),
        limit=_number(given, "limit", _USUAL, 1, MOST),
        organization=_organization(given),
        stream=_stream(given),
        wait=_number(given, "wait", 0, 0, LONGEST_WAIT),
        lines=_as_lines(given, accept),
    )


def snapshot_query(given: Mapping[str, str], accept: str) -> SnapshotQuery:
    """Parse the query of GET /snapshot. Raises `InvalidInput` naming the wrong parameter."""
    _refuse_unknown(given, ("stream", "page", "limit", "organization", "format"))
    return SnapshotQuery(
        stream=_stream(given) or "users",
        page=given.get("page"),
        limit=_number(given, "limit", _USUAL, 1, MOST),
        organization=_organization(given),
        lines=_as_lines(given, accept),
    )


def _refuse_unknown(given: Mapping[str, str], known: tuple[str, ...]) -> None:
    for name in given:
        if name not in known:
            raise InvalidInput(f"unknown parameter {name[:40]!r}; send any of {', '.join(known)}")


def _number(given: Mapping[str, str], name: str, usual: int, least: int, most: int) -> int:
    text = given.get(name, str(usual))
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and least <= int(text) <= most):
        raise InvalidInput(f"{name} is {text[:20]!r}: send a whole number from {least} to {most}")
    return int(text)


def _stream(given: Mapping[str, str]) -> str | None:
    stream = given.get("stream")
    if stream is not None and stream not in STREAMS:
        raise InvalidInput(f"stream is {stream[:40]!r}: send one of {', '.join(STREAMS)}")
    return stream


def _organization(given: Mapping[str, str]) -> str | None:
    organization = given.get("organization")
    return None if organization is None else checked_name(organization, "organization")


def _as_lines(given: Mapping[str, str], accept: str) -> bool:
    asked = given.get("format")
    if asked is None:
        return "application/x-ndjson" in accept or "application/jsonl" in accept
    if asked not in _FORMATS:
        raise InvalidInput(f"format is {asked[:20]!r}: send json or jsonl")
    return _FORMATS[asked]
