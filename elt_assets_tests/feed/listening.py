"""What a consumer of the feed hears, and what it makes of that."""

from __future__ import annotations

from typing import Any

from elt_assets.feed.entries import read
from elt_assets.feed.numbering import number_entries
from elt_assets.feed.scope import Scope
from elt_assets_tests.sync.worlds import Company

ALL = Scope()


def heard(company: Company, after: int = 0, limit: int = 5_000, scope: Scope = ALL) -> list[Any]:
    """Entries after a number."""
    database = company.platform.database
    return read(database, number_entries(database), after, limit, scope).found


def told(entries: list[dict[str, Any]]) -> list[tuple[str, str | None]]:
    """(type, key) of entries, in order."""
    return [(entry["type"], entry.get("key", {}).get("external_id")) for entry in entries]


def numbers(entries: list[dict[str, Any]]) -> list[int]:
    """The numbers of their positions."""
    return [int(entry["position"].partition("-")[2]) for entry in entries]


def applied(entries: list[dict[str, Any]]) -> dict[tuple[str, str, str], dict[str, Any]]:
    """The rows that a consumer has which applies entries in order."""
    rows: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in entries:
        owner = (entry["organization_id"], entry["connected_integration_id"])
        if entry["type"] == "integration.removed":
            rows = {key: row for key, row in rows.items() if key[:2] != owner}
        elif entry["after"] is None:
            del rows[(*owner, entry["id"])]
        else:
            rows[(*owner, entry["id"])] = entry["after"]
    return rows
