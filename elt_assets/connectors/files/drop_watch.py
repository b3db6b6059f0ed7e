"""Find out whether a files integration has new files, without reading a record.

The module lists the folder once and computes the identity of its files, by their names and times or
by their content. The drop sensor keeps the previous identity.
"""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from elt_assets.connectors.files.files_data import FilesData
from elt_assets.connectors.files.folder import File, Folder, fingerprint
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.errors import PermanentError, RetryableError
from elt_assets.identifiers import IntegrationRef

_HASHED = 64 * 2**20
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Drop:
    """The complete files of one integration as they are now."""

    folder: Folder
    files: tuple[File, ...]

    @property
    def look(self) -> str:
        """Identity by names, sizes and times: cheap, but a mere `touch` changes it."""
        return fingerprint(self.files)

    def content(self) -> str:
        """Identity by content, so that a file dropped again unchanged does not look new.

        Files of more than 64 MiB together are not read; their identity is `look`. Raises
        `RetryableError` when a file cannot be read any more.
        """
        if sum(file.size for file in self.files) > _HASHED:
            return self.look
        digest = hashlib.sha256()
        for file in self.files:
            digest.update(f"{file.name}\n{file.size}\n".encode())
            try:
                with self.folder.open(file) as content:
                    while piece := content.read(_PIECE):
                        digest.update(piece)
            except (OSError, PermanentError):
                raise RetryableError(f"{file.name} cannot be read") from None
        return digest.hexdigest()[:16]


def complete_drop(
    provider_data: dict[str, Any], ref: IntegrationRef, home: Path, *, now: float | None = None
) -> Drop | None:
    """The files of all streams, or None while there are none or one is still being written.

    The result is also None for a folder or configuration that cannot be read: the sync reports
    what is wrong with it.
    """
    try:
        config = FilesData.model_validate(provider_data)
        if config.remote is not None:
            # Remote files are read by scheduled syncs; the sensor watches this machine alone.
            return None
        folder = Folder.of(config, ref, OwnPlaces(home))
        files = {file for stream in config.streams.values() for file in folder.files(stream)}
    except (PermanentError, RetryableError, ValidationError):
        return None
    if not files or not folder.settled(tuple(files), time.time() if now is None else now):
        return None
    return Drop(folder, tuple(sorted(files, key=lambda file: file.name)))
