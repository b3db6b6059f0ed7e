"""What an application would have heard of the demo: the entries of its change feed, by type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from elt_assets.cli.console.output import print_table
from elt_assets.feed.entries import read
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets.storage.operational.database import OperationalDatabase

_AT_ONCE = 5_000


class Heard(msgspec.Struct):
    """Entries of one type: how many, and the newest one, without values."""

    type: str
    entries: int
    integration: str
    key: str
    changed: str


def heard_since(database: OperationalDatabase, position: int) -> list[Heard]:
    """Return one line for each type, in the order in which the types first appear."""
    found: dict[str, Heard] = {}
    for entry in _entries(database, position):
        partition = f"{entry['organization_id']}:{entry['connected_integration_id']}"
        earlier = found.get(entry["type"])
        found[entry["type"]] = Heard(
            entry["type"],
            1 + (earlier.entries if earlier else 0),
            partition,
            ", ".join(entry.get("key", {}).values()),
            # Every field of an inserted or deleted row has changed, so only updates list fields.
            ", ".join(entry["changed"]) if entry["type"].endswith(".updated") else "",
        )
    return list(found.values())


def show_heard(heard: list[Heard]) -> None:
    """Print the entries of each type as a table."""
    print_table(
        ("type", "entries", "such as", "key", "changed fields"),
        [(one.type, one.entries, one.integration, one.key, one.changed) for one in heard],
        title="What an application would have heard (elt-assets feed tail)",
    )


def _entries(database: OperationalDatabase, after: int) -> Iterator[dict[str, Any]]:
    state = number_entries(database)
    while after < state.head:
        found = read(database, state, after, _AT_ONCE, Scope(fields=()))
        yield from found.found
        after = found.next
