"""What the tests of file sources share: a folder, and a source that reads it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits, FileLimits
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.source import Cursor, Page, Source
from elt_assets.identifiers import IntegrationRef

HR = IntegrationRef("acme", "hr")

LONG_AGO = 1_700_000_000

OpenFiles = Callable[..., Source]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The integration's drop folder."""
    folder = tmp_path / "home" / "drops" / "acme" / "hr"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def users(tmp_path: Path) -> OpenFiles:
    """Opens the stream `users` of a files integration."""

    def open_users(
        path: str = "users.*",
        max_pages: int = 1000,
        page_bytes: int = 1 << 26,
        limits: FileLimits = FileLimits(),  # noqa: B008 - it is frozen
        **stream: Any,
    ) -> Source:
        data = {
            "settle_seconds": stream.pop("settle_seconds", 0),
            "streams": {"users": {"path": path, "fields": {"external_id": "id"}, **stream}},
        }
        if directory := data["streams"]["users"].pop("directory", None):
            data["directory"] = directory
        return catalog.open_source(
            "files",
            data,
            "users",
            secrets=Secrets(),
            limits=FetchLimits(
                attempts=1,
                first_wait=0,
                timeout=10,
                page_bytes=page_bytes,
                max_pages=max_pages,
                files=limits,
                own=OwnPlaces(tmp_path / "home"),
            ),
            ref=HR,
        )

    return open_users


def drop(folder: Path, name: str, content: bytes | str) -> Path:
    """A file that has stood still for long."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


def records(pages: list[Page]) -> list[dict[str, Any]]:
    """The records of all pages; each page's count must be true."""
    found = []
    for page in pages:
        listed = msgspec.json.decode(page.body)
        assert len(listed) == page.count
        found += listed
    return found


def read(source: Source, cursor: Cursor | None = None) -> list[dict[str, Any]]:
    """Everything a source yields behind `cursor`, whose last page must say so."""
    pages = list(source.pages(cursor))
    assert [page.next is None for page in pages] == [False] * (len(pages) - 1) + [True]
    return records(pages)
