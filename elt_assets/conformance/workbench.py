"""One connector under test: its own installation in a temporary folder, and secrets as files."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.evaluate import text_at
from elt_assets.connectors.source import Page, Source
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.extract.preview import Preview
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS

REF = IntegrationRef("conformance", "connector")

_APART = dict.fromkeys(
    (
        "operational_url",
        "operational_password",
        "operational_reader",
        "warehouse_url",
        "warehouse_password",
        "warehouse_data",
        "dagster_url",
        "dagster_password",
        "broker_url",
        "broker_password",
        "audit_key",
        "events_path",
    )
)
"""Settings that lead to the stores of the user's installation, which a test kit must not touch."""


class Workbench:
    """Syncs a stream of one connector into an installation that is deleted at the end."""

    def __init__(self, provider: str, data: Mapping[str, Any], stream: str = "users") -> None:
        self.provider = provider
        self.stream = STREAMS[stream]
        self.data = dict(data)
        self.folder = Path(tempfile.mkdtemp(prefix="elt-assets-verify-"))
        self._settings = load_settings(home=self.folder / "home", fetch_first_wait=0.05, **_APART)
        self._platform = SyncService.open(self._settings)
        self._platform.registry.add(REF, provider, self.data)
        self._syncs = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._platform.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def sync(self) -> Outcome:
        """Sync the stream once."""
        self._syncs += 1
        (outcome,) = self._platform.sync(self.stream, [REF], sync_id=f"sync-{self._syncs}")
        return outcome

    def records(self) -> dict[str, dict[str, Any]]:
        """The stream's table by key, each record with its attributes among its columns."""
        return {
            _key([row[column.name] for column in self.stream.key]): {**row["attributes"], **row}
            for row in self._platform.records(self.stream, REF)
        }

    def preview(self) -> Preview:
        return self._platform.preview(self.stream, REF)

    @contextmanager
    def source(self) -> Iterator[Source]:
        source = catalog.open_source(
            self.provider,
            self.data,
            self.stream.name,
            secrets=Secrets(),
            limits=FetchLimits.of(self._settings),
            ref=REF,
        )
        with closing(source):
            yield source

    def stored(self, secret: str) -> list[str]:
        """Files of the installation that hold a secret."""
        return sorted(
            str(path.relative_to(self.folder))
            for path in (self.folder / "home").rglob("*")
            if path.is_file() and secret.encode() in path.read_bytes()
        )


def keys_of(page: Page, source: Source) -> list[str]:
    """The keys of a page's records, in order."""
    found = msgspec.json.decode(page.body) if page.body else []
    for step in source.records:
        found = (found or {}).get(step) if isinstance(found, dict) else None
    if isinstance(found, dict):
        found = [found]
    if "external_id" in source.fields:
        return [str(text_at(source.fields["external_id"], record)) for record in found or []]
    parents = [key for key, count in page.parents for _ in range(count)]
    members = [str(text_at(source.fields["member_external_id"], one)) for one in found or []]
    return [_key(pair) for pair in zip(parents, members, strict=True)]


def _key(columns: Sequence[str]) -> str:
    """A key of one column, or the JSON list of those of several."""
    return columns[0] if len(columns) == 1 else json.dumps(list(columns))


def kept(cursor: Any) -> Any:
    """Return a cursor as it is read back from a stored checkpoint."""
    return json.loads(json.dumps(cursor))
