"""Compress dropped files that no listing reads any more, in the installation's drop folders."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

from pydantic import ValidationError

from elt_assets.config.settings import Settings
from elt_assets.connectors.files.files_data import FilesData
from elt_assets.connectors.files.folder import File, Folder
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.errors import SyncError
from elt_assets.sync.state.registry import Integration

_COMPRESSED = (".gz", ".zst", ".bz2", ".xz", ".zip", ".parquet")


def past_files(settings: Settings, integration: Integration, before: float) -> list[Path]:
    """Files in the integration's drop folder that are older than `before` and no longer read.

    Such files exist only where the newest file alone is the listing. Where all files together are
    the listing, removing one would delete its people. `before` is in seconds since 1970.
    """
    if integration.provider != "files":
        return []
    try:
        config = FilesData.model_validate(integration.provider_data)
        if config.directory is not None:
            return []
        folder = Folder.of(config, integration.ref, OwnPlaces(settings.home))
        read: set[File] = set()
        there: set[File] = set()
        for stream in config.streams.values():
            read.update(folder.files(stream))
            there.update(folder.files(stream.model_copy(update={"select": "all"})))
    except (SyncError, ValidationError):
        # The next sync reports what is wrong with the folder.
        return []
    past = (file for file in there - read if file.mtime_ns / 1e9 < before)
    return sorted(folder.path_of(file) for file in past)


def archive(settings: Settings, integration: Integration, path: Path) -> int:
    """Move one past file into the archive; return the number of bytes freed."""
    ref = integration.ref
    folder = settings.archive_path / ref.organization_id / ref.integration_id
    folder.mkdir(parents=True, exist_ok=True, mode=0o770)
    status = path.stat()
    # Names are reused, for example every month; the time of modification makes them unique.
    name = f"{path.stem}.{status.st_mtime_ns}{path.suffix}"
    packed = path.suffix.lower() in _COMPRESSED
    target = folder / (name if packed else f"{name}.gz")
    unfinished = target.with_name(f".{target.name}")
    with path.open("rb") as source, unfinished.open("wb") as sink:
        if packed:
            shutil.copyfileobj(source, sink)
        else:
            with gzip.open(sink, "wb") as compressed:
                shutil.copyfileobj(source, compressed)
        sink.flush()
        os.fsync(sink.fileno())
    os.replace(unfinished, target)
    path.unlink()
    return status.st_size - target.stat().st_size
