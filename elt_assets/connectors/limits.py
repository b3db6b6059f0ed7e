"""The limits of one extraction: how long it may take, how much it may hold, where it may connect.

They are one value that every kind of source respects. Their defaults are in `config.settings`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from elt_assets.config.settings import Settings
from elt_assets.connectors.http.outgoing import ANYWHERE, Outgoing
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.tenant_rules import TRUSTED, TenantRules


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Limits of one file, whatever sizes it declares; a file beyond one of them is not read."""

    bytes: int = 16 * 2**30
    """Largest file, decompressed."""
    spill_bytes: int = 2 * 2**30
    """Largest JSON document that must be decompressed into a temporary file."""
    expansion: int = 100
    """How many times its size a file may become, from 32 MiB on."""
    columns: int = 2_000
    """Columns of a CSV or Parquet file."""
    depth: int = 64
    """How deep lists and objects of a Parquet file's columns may be nested."""
    group_bytes: int = 2**30
    """Largest row group of a Parquet file, decompressed."""
    open_bytes: int = 128 * 2**20
    """Most bytes of a row group in memory at once: a page and dictionary per column, and lists."""


def page_limit_reached(most: int) -> str:
    """The reason of a listing that is cut short after `most` pages."""
    return f"page limit of {most:,} reached (ELT_ASSETS_MAX_PAGES)"


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one extraction; reaching one is always an error, or a cut that names the limit."""

    attempts: int
    """Tries for one page."""
    first_wait: float
    """Seconds before the second try; the wait doubles from there, with jitter."""
    timeout: float
    """Seconds for one request, from connecting to the last byte of the answer."""
    page_bytes: int
    """Largest page in bytes, after decompression."""
    max_pages: int
    """Pages of one extraction before it is cut short."""
    retry_budget: int = 200
    """Further tries that all pages of one extraction may use together."""
    files: FileLimits = FileLimits()
    """Limits of a file, for sources that read files."""
    rules: TenantRules = TRUSTED
    """What the configuration may refer to."""
    own: OwnPlaces | None = None
    """The platform's own files and databases, which no source may read."""
    page_timeout: float = 300.0
    """Seconds for one page, with all its tries and the waits between them."""
    time_budget: float = 7200.0
    """Seconds of one attempt to read an integration; batches committed until then are kept."""
    page_records: int = 500_000
    """Most records in one page."""
    record_bytes: int = 16 * 2**20
    """Largest record in a page, in bytes."""
    outgoing: Outgoing = ANYWHERE
    """Where connections may lead."""
    budgets: Path | None = None
    """Folder in which the processes of an installation share the rate limits of an app."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            attempts=settings.fetch_attempts,
            first_wait=settings.fetch_first_wait,
            timeout=settings.request_timeout,
            page_bytes=settings.page_bytes,
            max_pages=settings.max_pages,
            retry_budget=settings.fetch_retry_budget,
            page_timeout=settings.page_timeout,
            time_budget=settings.integration_timeout,
            page_records=settings.page_records,
            record_bytes=settings.record_bytes,
            files=FileLimits(
                bytes=settings.file_bytes,
                spill_bytes=settings.file_spill_bytes,
                expansion=settings.file_expansion,
                columns=settings.file_columns,
                depth=settings.file_depth,
                group_bytes=settings.parquet_group_bytes,
                open_bytes=settings.parquet_open_bytes,
            ),
            rules=TenantRules.of(settings),
            own=OwnPlaces.of(settings),
            outgoing=Outgoing(settings.egress_policy),
            budgets=settings.home / "budgets",
        )

    def for_organization(self, organization_id: str) -> Self:
        """The same limits, for connections on behalf of an organization."""
        return replace(self, outgoing=replace(self.outgoing, organization=organization_id))
