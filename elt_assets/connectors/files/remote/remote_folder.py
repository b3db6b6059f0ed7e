"""A folder on another machine, as the folder of a files integration.

A file is fetched whole into a temporary file before it is read. A change on the other machine
therefore cannot affect the records while they are read.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.files.files_data import FilesData
from elt_assets.connectors.files.folder import File, Folder, changed, is_passed_over
from elt_assets.connectors.files.remote.remote_data import S3Remote, SftpRemote
from elt_assets.connectors.files.remote.storage import RemoteFile, Storage
from elt_assets.connectors.limits import FetchLimits


@dataclass(frozen=True, slots=True)
class RemoteFolder(Folder):
    """Files on an SFTP server or in object storage."""

    storage: Storage = field(kw_only=True)
    url: str = field(kw_only=True)

    @property
    def named(self) -> str:
        """The folder's name in messages."""
        return self.url

    def matching(self, pattern: str) -> list[File]:
        """The files whose names match, sorted by name, complete or not."""
        found = [
            _file(one)
            for one in self.storage.listed(pattern)
            if not is_passed_over(one.name.rpartition("/")[2])
        ]
        return sorted(found, key=lambda file: file.name)

    def open(self, file: File) -> IO[bytes]:
        """Fetch the file. Raises `PermanentError` if it is not the one that the listing found."""
        there = [one for one in self.storage.listed(_literal(file.name)) if _file(one) == file]
        if not there:
            raise changed(file.name, "has changed or is gone")
        content: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (the reader closes it)
        try:
            self.storage.fetch(there[0], content)
            content.seek(0)
        except BaseException:
            content.close()
            raise
        return content

    def check_unchanged(self, file: File, raw: IO[bytes]) -> None:
        """Do nothing: nothing changes the fetched copy."""


def remote_folder(
    config: FilesData, remote: SftpRemote | S3Remote, *, secrets: Secrets, limits: FetchLimits
) -> RemoteFolder:
    """The remote folder for this provider_data. Nothing is sent before its first listing."""
    storage: Storage
    if isinstance(remote, S3Remote):
        from elt_assets.connectors.files.remote.s3 import S3Storage

        storage = S3Storage(remote, secrets=secrets, limits=limits)
    else:
        # paramiko takes a fifth of a second to import.
        from elt_assets.connectors.files.remote.sftp import SftpStorage

        storage = SftpStorage(remote, secrets=secrets, limits=limits)
    return RemoteFolder(
        Path(), settle_seconds=config.settle_seconds, storage=storage, url=remote.url
    )


def _file(found: RemoteFile) -> File:
    mark = int.from_bytes(hashlib.sha256(found.mark.encode()).digest()[:6], "big")
    return File(found.name, found.size, found.mtime_ns, mark)


def _literal(name: str) -> str:
    return "".join(f"[{one}]" if one in "*?[" else one for one in name)
