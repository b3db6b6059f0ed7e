"""Dagster metadata of the steps on sign-in events: source, stage, schema version and counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from elt_assets.orchestration.assets.signin.signin_specs import EventAsset
from elt_assets.orchestration.markdown import bullet_list, named
from elt_assets.signin_events.pipeline import SCHEMA
from elt_assets.signin_events.results import (
    CheckResult,
    DayExtraction,
    ExtractionStatus,
    FileLoad,
    FileStatus,
    Loaded,
    Normalized,
    Summarized,
)

_LISTED = 20


def of_extractions(asset: EventAsset, found: Sequence[DayExtraction]) -> dict[str, Any]:
    """Metadata of the extraction from APIs."""
    failed = [
        named(one.partition, one.error) for one in found if one.status is ExtractionStatus.FAILED
    ]
    return {
        **_common(asset, sum(one.staged for one in found)),
        "integrations": len(found),
        "pages": sum(one.pages for one in found),
        "resumed_pages": sum(one.resumed_pages for one in found),
        **_counts(found, failed),
    }


def of_files(asset: EventAsset, found: Sequence[FileLoad]) -> dict[str, Any]:
    """Metadata of the extraction from the day's files."""
    failed = [named(one.file, one.error) for one in found if one.status is FileStatus.FAILED]
    return {
        **_common(asset, sum(one.staged for one in found)),
        "files": len(found),
        **{
            f"files_{status}": sum(one.status is status for one in found)
            for status in FileStatus
            if status is not FileStatus.FAILED
        },
        "bytes": sum(one.size for one in found),
        **_counts(found, failed),
    }


def of_normalized(asset: EventAsset, found: Normalized) -> dict[str, Any]:
    """Metadata of normalizing to the schema."""
    return {
        **_common(asset, found.normalized),
        "schema": found.schema,
        **_fields(found, "read", "normalized", "rejected", "late"),
        "days": ", ".join(map(str, found.event_days)) or "none",
    }


def of_loaded(asset: EventAsset, found: Loaded) -> dict[str, Any]:
    """Metadata of a load."""
    reopened = [day for day in found.days if day != found.day]
    return {
        **_common(asset, found.rows),
        **_fields(found, "inserted", "updated", "deleted", "removed", "unchanged", "duplicates"),
        "reopened": ", ".join(map(str, reopened)) or "none",
        "fingerprint": found.fingerprint,
    }


def of_summary(asset: EventAsset, found: Summarized) -> dict[str, Any]:
    """Metadata of a day's summary."""
    return {
        **_common(asset, found.organizations),
        **_fields(found, "organizations", "events", "failures", "unknown_users", "inactive_users"),
        "summed_up_again": len(found.also),
    }


def of_finding(found: CheckResult) -> dict[str, Any]:
    """Metadata of a check, with the labels of the other checks."""
    rows = [", ".join(f"{name}={value}" for name, value in row.items()) for row in found.sample]
    lines = [] if found.passed else [found.message, *rows]
    return {
        "offending": 0 if found.passed else found.count,
        "sample": bullet_list(lines, _LISTED),
    }


def _fields(found: object, *names: str) -> dict[str, int]:
    return {name: getattr(found, name) for name in names}


def _counts(found: Sequence[DayExtraction | FileLoad], failed: Sequence[str]) -> dict[str, Any]:
    return {
        "fetched": sum(one.fetched for one in found),
        "staged": sum(one.staged for one in found),
        "rejected": sum(one.rejected for one in found),
        "failed": len(failed),
        **({"errors": bullet_list(failed, _LISTED)} if failed else {}),
    }


def _common(asset: EventAsset, rows: int) -> dict[str, Any]:
    return {
        "dagster/row_count": rows,
        "source": asset.source,
        "stage": str(asset.queue),
        "schema": SCHEMA,
    }
