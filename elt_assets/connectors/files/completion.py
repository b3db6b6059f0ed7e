"""Proof that a file is complete: a marker, a checksum or a count next to it.

Half a CSV file reads like a whole one. Without proof, the engine reads the same file again later
to confirm that a row is missing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from elt_assets.connectors.files.files_data import Completion
from elt_assets.connectors.files.folder import File, Folder
from elt_assets.errors import RetryableError

_SIDECAR_BYTES = 4096
_BLOCK = 2**20
_SHA256 = re.compile(rb"\s*([0-9a-fA-F]{64})\b")
_COUNT = re.compile(rb"\s*(\d{1,12})\s*")


def check_complete(folder: Folder, files: Sequence[File], proof: Completion) -> int | None:
    """Check the proof of every file; return the declared count of all records, if there is one.

    Raises `RetryableError` naming the file that is not proven to be complete.
    """
    total = None
    for file in files:
        if proof.marker is not None:
            _sidecar(folder, file, proof.marker, "completion marker")
        if proof.checksum is not None:
            declared = _matched(folder, file, proof.checksum, _SHA256, "SHA-256 checksum")
            if declared.decode().lower() != _sha256(folder, file):
                raise RetryableError(
                    f"{file.name} does not have the SHA-256 checksum that "
                    f"{_name(file, proof.checksum)} states: it is not complete, nothing was read"
                )
        if proof.count is not None:
            total = (total or 0) + int(_matched(folder, file, proof.count, _COUNT, "count"))
    return total


def _name(file: File, template: str) -> str:
    path = PurePosixPath(file.name)
    return str(path.parent / template.replace("{name}", path.name))


def _sidecar(folder: Folder, file: File, template: str, what: str) -> bytes:
    name = _name(file, template)
    # Special characters of a glob in the file's name must match literally.
    found = folder.matching(re.sub(r"([*?\[])", r"[\1]", name))
    if not found:
        raise RetryableError(f"{file.name} has no {what} {name} yet; nothing was read")
    if found[0].mtime_ns < file.mtime_ns:
        raise RetryableError(f"the {what} {name} is older than {file.name}; nothing was read")
    with folder.open(found[0]) as opened:
        return opened.read(_SIDECAR_BYTES) or b""


def _matched(
    folder: Folder, file: File, template: str, pattern: re.Pattern[bytes], what: str
) -> bytes:
    match = pattern.match(_sidecar(folder, file, template, what))
    if match is None:
        raise RetryableError(f"{_name(file, template)} holds no {what}; nothing was read")
    return match[1]


def _sha256(folder: Folder, file: File) -> str:
    digest = hashlib.sha256()
    with folder.open(file) as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
