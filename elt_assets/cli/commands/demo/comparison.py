"""Compare the records of the platform with those of the embedded provider."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elt_assets.sync.streams import Stream

_FIELDS = ("name", "email", "active")


@dataclass(frozen=True, slots=True)
class KeyComparison:
    """The number of records of the provider, and the keys that differ between the two sides."""

    held: int
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    different: tuple[str, ...]
    repeated: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same records with the same content, each once."""
        return not (self.missing or self.left_over or self.different or self.repeated)

    def __str__(self) -> str:
        parts = {
            "missing": self.missing,
            "left over": self.left_over,
            "different": self.different,
            "repeated": self.repeated,
        }
        found = "; ".join(
            f"{len(ids):,} {what}: {_first(ids)}" for what, ids in parts.items() if ids
        )
        return found or "equal"


def compare(
    records: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]
) -> KeyComparison:
    """Compare records of `users --json` with those that the provider holds, by external id."""
    return _compared(
        ((record["external_id"], _content(record)) for record in records),
        {person["external_id"]: _content(person) for person in truth},
    )


def compare_stream(
    stream: Stream, records: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]
) -> KeyComparison:
    """Compare records of any stream with those of the provider, in the fields it reports."""
    keys = [column.name for column in stream.key]
    theirs = {" / ".join(record[name] for name in keys): dict(record) for record in truth}
    told = next(iter(theirs.values()), {}).keys()
    return _compared(
        (
            (" / ".join(record[name] for name in keys), {name: record[name] for name in told})
            for record in records
        ),
        theirs,
    )


def compare_events(
    records: Iterable[Mapping[str, Any]], truth: Iterable[Mapping[str, Any]]
) -> KeyComparison:
    """Compare loaded sign-in events with those of API and files together, field by field."""
    theirs = {_event(record): _told(record, record) for record in truth}
    fields = next(iter(theirs.values()), {})
    return _compared(((_event(record), _told(record, fields)) for record in records), theirs)


def _told(record: Mapping[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """Return the given fields of an event, with `occurred_at` as a datetime."""
    moment = datetime.fromisoformat(record["occurred_at"])
    return {name: record[name] for name in fields} | {"occurred_at": moment}


def _event(record: Mapping[str, Any]) -> str:
    return f"{record['organization_id']} / {record['event_id']}"


def _compared(
    records: Iterable[tuple[str, dict[str, Any]]], theirs: Mapping[str, dict[str, Any]]
) -> KeyComparison:
    ours: dict[str, dict[str, Any]] = {}
    repeated = set()
    for key, content in records:
        if key in ours:
            repeated.add(key)
        ours[key] = content
    return KeyComparison(
        held=len(theirs),
        missing=tuple(sorted(theirs.keys() - ours.keys())),
        left_over=tuple(sorted(ours.keys() - theirs.keys())),
        different=tuple(
            sorted(key for key in ours.keys() & theirs.keys() if ours[key] != theirs[key])
        ),
        repeated=tuple(sorted(repeated)),
    )


def _content(person: Mapping[str, Any]) -> dict[str, Any]:
    return {**{field: person[field] for field in _FIELDS}, **person["attributes"]}


def _first(ids: tuple[str, ...], most: int = 3) -> str:
    return ", ".join(ids[:most]) + (", …" if len(ids) > most else "")
