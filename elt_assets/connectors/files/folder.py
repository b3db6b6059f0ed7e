"""Which files a stream consists of at the moment, and whether they are complete.

Belongs here: finding them, their identity, and what is not touched: files still being
written, files outside the folder, the platform's own. Does not: opening any of them.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from elt_assets.connectors.files.files_data import FilesData, FileStream
from elt_assets.errors import PermanentError, RetryableError
from elt_assets.identifiers import IntegrationRef

# How programs that write or transfer files name one that is not there in full.
_UNFINISHED = (".incomplete", ".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload")
_MOST_FILES = 1_000

Moment = Callable[[], float]
Wait = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was found; a change of any of these makes it another file."""

    name: str
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, name: str, status: os.stat_result) -> File:
        """The file `name` with that status."""
        return cls(name, status.st_size, status.st_mtime_ns, status.st_ino)

    def as_json(self) -> list[str | int]:
        """What a cursor keeps of it."""
        return [self.name, self.size, self.mtime_ns, self.inode]


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of one integration, and the one it must not read."""

    path: Path
    forbidden: Path | None = None
    settle_seconds: float = 0

    @classmethod
    def of(cls, config: FilesData, ref: IntegrationRef | None, home: Path | None) -> Folder:
        """The folder that provider_data means. Raises `PermanentError` when there is none."""
        if config.directory is not None:
            return cls(Path(config.directory), home, config.settle_seconds)
        if ref is None or home is None:
            raise PermanentError("the integration has no drop folder here; give a directory")
        return cls(drop_folder(home, ref), home, config.settle_seconds)

    def files(self, stream: FileStream) -> list[File]:
        """The stream's files in the order of their names, complete or not."""
        found = self.matching(stream.path)
        if stream.select == "newest" and found:
            found = [max(found, key=lambda file: (file.mtime_ns, file.name))]
        return found

    def matching(self, pattern: str) -> list[File]:
        """The files whose names match, in their order, complete or not."""
        try:
            found = [
                File.of(path.relative_to(self.path).as_posix(), status)
                for path in self.path.glob(pattern)
                if not _is_passed_over(path.name) and stat.S_ISREG((status := path.stat()).st_mode)
            ]
        except FileNotFoundError:
            raise RetryableError(
                f"a file in {self.path} went away while it was looked at"
            ) from None
        except OSError as error:
            raise PermanentError(f"folder {self.path} cannot be read ({error.strerror})") from None
        if len(found) > _MOST_FILES:
            raise PermanentError(
                f"{len(found):,} files match {pattern!r} in {self.path}; "
                f"at most {_MOST_FILES:,} are one listing: write a narrower path"
            )
        for file in found:
            self._check_place(file)
        return sorted(found, key=lambda file: file.name)

    def complete_files(
        self, stream: FileStream, *, moment: Moment = time.time, wait: Wait = time.sleep
    ) -> list[File]:
        """The stream's files, once they have stood still.

        A file changed within the last `settle_seconds` is watched for as long. Raises
        `RetryableError` while one grows, `PermanentError` when there is none.
        """
        found = self.files(stream)
        if not found:
            raise PermanentError(
                f"no complete file matches {stream.path!r} in {self.path}; "
                "nothing was read and nobody was deleted"
            )
        if self.settled(found, moment()):
            return found
        wait(self.settle_seconds)
        if self.files(stream) != found:
            raise RetryableError(f"files in {self.path} are still being written")
        return found

    def settled(self, files: Sequence[File], now: float) -> bool:
        """Whether none of the files has changed within the last `settle_seconds`."""
        return all(now - file.mtime_ns / 1e9 >= self.settle_seconds for file in files)

    def path_of(self, file: File) -> Path:
        """Where the file lies."""
        return self.path / file.name

    def _check_place(self, file: File) -> None:
        # Whoever may drop a file may drop a link, too.
        place, folder = self.path_of(file).resolve(), self.path.resolve()
        if not place.is_relative_to(folder):
            raise PermanentError(f"{file.name} is a link out of {self.path}; it is not followed")
        if self.forbidden is None:
            return
        home = self.forbidden.resolve()
        if place.is_relative_to(home) and not folder.is_relative_to(home / "drops"):
            raise PermanentError(f"{file.name} is a file of the platform itself; it is not read")


def drop_folder(home: Path, ref: IntegrationRef) -> Path:
    """The integration's own folder for files."""
    return home / "drops" / ref.organization_id / ref.integration_id


def fingerprint(files: Sequence[File]) -> str:
    """Short identity of a set of files as they were found."""
    text = "\n".join(repr(file.as_json()) for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_passed_over(name: str) -> bool:
    return name.startswith((".", "~")) or name.lower().endswith(_UNFINISHED)
