"""What must hold of the feed and of every copy made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.feed.listening import applied, heard, numbers
from elt_assets_tests.sync.worlds import Company

Rows = Mapping[tuple[str, str, str], Any]
_IMAGE = ("external_id", "name", "email", "active", "attributes")


@dataclass(frozen=True)
class Copies:
    """The latest table, the feed, the table of the consumer that pulls, and what was sent."""

    latest: Rows
    entries: Sequence[dict[str, Any]]
    pulled: Rows
    received: Sequence[str]

    @classmethod
    def of(
        cls,
        company: Company,
        refs: Sequence[IntegrationRef],
        pulled: Mapping[tuple[str, str, str], str],
        received: Sequence[str],
    ) -> Copies:
        """As they are now."""
        return cls(
            {
                (ref.organization_id, ref.integration_id, row["id"]): {
                    name: row[name] for name in _IMAGE
                }
                for ref in refs
                for row in company.platform.records(USERS, ref)
            },
            [entry for page in _pages(company) for entry in page],
            {key: json.loads(row) for key, row in pulled.items()},
            list(received),
        )


def judge(copies: Copies) -> Iterator[Violation]:
    """Every difference that must not be."""
    entries = copies.entries
    if numbers(list(entries)) != list(range(1, len(entries) + 1)):
        yield Violation("positions", "all", "they have gaps or do not rise")
    for owner in {entry["organization_id"] for entry in entries}:
        own = [entry["sequence"] for entry in entries if entry["organization_id"] == owner]
        if own != list(range(1, len(own) + 1)):
            yield Violation("sequences", owner, "they have gaps or do not rise")
    for name, rows in (("the feed", applied(list(entries))), ("the copy", copies.pulled)):
        for key in _different(copies.latest, rows):
            yield Violation("lost", ":".join(key[:2]), f"{name} differs at {key[2]}")
    yield from _judge_received([entry["position"] for entry in entries], copies.received)


def _judge_received(published: Sequence[str], received: Sequence[str]) -> Iterator[Violation]:
    """At least once and in order: what is new is always the next one."""
    place = {position: number for number, position in enumerate(published)}
    expected = 0
    for position in received:
        number = place.get(position)
        if number is None:
            yield Violation("order", "all", f"{position} was received and is not in the feed")
            return
        if number > expected:
            yield Violation("order", "all", f"{position} came before {published[expected]}")
            return
        if number == expected:
            expected += 1
    if expected != len(published):
        yield Violation("lost", "all", f"{published[expected]} was never received")


def _different(latest: Rows, copied: Rows) -> list[tuple[str, str, str]]:
    return [key for key in {*latest, *copied} if latest.get(key) != copied.get(key)]


def _pages(company: Company) -> Iterator[list[dict[str, Any]]]:
    after = 0
    while page := heard(company, after):
        yield page
        after = numbers(page)[-1]
