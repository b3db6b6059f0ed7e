"""Which files a stream consists of at the moment, and whether they are complete.

The module finds files, opens them and computes their identity. It never touches files that are
still being written, files outside the folder, or the platform's own files.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from elt_assets.connectors.files.files_data import FilesData, FileStream
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.tenant_rules import (
    TRUSTED,
    TenantRules,
    drop_folder,
    is_system,
)
from elt_assets.errors import PermanentError, RetryableError
from elt_assets.identifiers import IntegrationRef

# How programs that write or transfer files name one that is not there in full.
_UNFINISHED = (".incomplete", ".part", ".partial", ".tmp", ".temp", ".filepart", ".crdownload")
_MOST_FILES = 1_000
_MOST_SEEN = 100_000
"""Names that are looked at, so that a folder of millions costs no more."""

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
    own: OwnPlaces | None = None
    settle_seconds: float = 0
    organization: str | None = None
    """The owner of the drops that may be read; no drop may be read when None."""
    only_names: bool = False
    """Whether a file with another name elsewhere is refused, wherever that is."""

    @classmethod
    def of(
        cls,
        config: FilesData,
        ref: IntegrationRef | None,
        own: OwnPlaces | None,
        rules: TenantRules = TRUSTED,
    ) -> Folder:
        """The folder that provider_data means. Raises `PermanentError` when there is none."""
        if config.directory is not None:
            path = Path(config.directory)
        elif ref is None or own is None:
            raise PermanentError("the integration has no drop folder here; give a directory")
        else:
            path = drop_folder(own.home, ref)
        organization = None if ref is None else ref.organization_id
        return cls(path, own, config.settle_seconds, organization, rules.strict)

    @property
    def named(self) -> str:
        """How messages call it."""
        return str(self.path)

    def files(self, stream: FileStream) -> list[File]:
        """The stream's files in the order of their names, complete or not."""
        found = self.matching(stream.path)
        if stream.select == "newest" and found:
            found = [max(found, key=lambda file: (file.mtime_ns, file.name))]
        return found

    def matching(self, pattern: str) -> list[File]:
        """The files whose names match, in their order, complete or not."""
        found: list[File] = []
        try:
            for seen, path in enumerate(self.path.glob(pattern)):
                if seen >= _MOST_SEEN or len(found) > _MOST_FILES:
                    raise PermanentError(
                        f"more than {_MOST_FILES:,} files (or {_MOST_SEEN:,} names) match "
                        f"{pattern!r} in {self.path}, the most that are one listing: write a "
                        "narrower path"
                    )
                if is_passed_over(path.name) or not stat.S_ISREG((status := path.stat()).st_mode):
                    continue
                found.append(File.of(path.relative_to(self.path).as_posix(), status))
        except FileNotFoundError:
            raise RetryableError(
                f"a file in {self.path} went away while it was looked at"
            ) from None
        except OSError as error:
            raise PermanentError(f"folder {self.path} cannot be read ({error.strerror})") from None
        for file in found:
            self._check_place(file, self.path_of(file).resolve())
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
                f"no complete file matches {stream.path!r} in {self.named}; "
                "nothing was read and nobody was deleted"
            )
        if self.settled(found, moment()):
            return found
        wait(self.settle_seconds)
        if self.files(stream) != found:
            raise RetryableError(f"files in {self.named} are still being written")
        return found

    def settled(self, files: Sequence[File], now: float) -> bool:
        """Whether none of the files has changed within the last `settle_seconds`."""
        return all(now - file.mtime_ns / 1e9 >= self.settle_seconds for file in files)

    def path_of(self, file: File) -> Path:
        """Where the file lies."""
        return self.path / file.name

    def open(self, file: File) -> IO[bytes]:
        """The file's bytes, unbuffered. Raises `PermanentError` for another than was found.

        What is opened is looked at again: a link may have taken its place since.
        """
        path = self.path_of(file)
        # Without waiting: opening a pipe would last until another process opens it, too.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PermanentError(f"{file.name} is no regular file any more; it is not read")
            self._check_place(file, _place(descriptor, path))
            if status.st_nlink > 1:
                self._check_other_names(file, status)
        except BaseException:
            os.close(descriptor)
            raise
        return open(descriptor, "rb", buffering=0)

    def check_unchanged(self, file: File, raw: IO[bytes]) -> None:
        """Raise `PermanentError` if what is being read is not the file that was found any more."""
        if File.of(file.name, os.fstat(raw.fileno())) != file:
            raise changed(file.name, "has changed")

    def _check_place(self, file: File, place: Path) -> None:
        # A tenant that may drop a file may drop a link, too.
        folder = self.path.resolve()
        if not place.is_relative_to(folder):
            raise PermanentError(f"{file.name} is a link out of {self.path}; it is not followed")
        if is_system(place):
            raise PermanentError(f"{place} is a process or device of this machine; it is not read")
        if self.own is None:
            return
        drops = self.own.home.resolve() / "drops"
        if not any(
            place.is_relative_to(each.resolve()) for each in (self.own.home, *self.own.folders)
        ):
            return
        if not place.is_relative_to(drops):
            raise PermanentError(f"{file.name} is a file of the platform itself; it is not read")
        if self.organization is None or not place.is_relative_to(drops / self.organization):
            raise PermanentError(
                f"{file.name} is in the drop folder of another organization; it is not read"
            )

    def _check_other_names(self, file: File, status: os.stat_result) -> None:
        if self.only_names:
            raise PermanentError(
                f"{file.name} has another name elsewhere (a hard link); under "
                "ELT_ASSETS_TENANT_RULES=strict such a file is not read: copy it instead"
            )
        if self.own is None:
            return
        drops = self.own.home / "drops"
        mine = None if self.organization is None else drops / self.organization
        if self.own.holds(status, besides=mine):
            raise PermanentError(
                f"{file.name} is another name (a hard link) of a file of the platform or of "
                "another organization; it is not read"
            )


def _place(descriptor: int, path: Path) -> Path:
    """Where what was opened really is."""
    found = Path(f"/proc/self/fd/{descriptor}")
    return found.readlink() if found.exists() else path.resolve()


def fingerprint(files: Sequence[File]) -> str:
    """Short identity of a set of files as they were found."""
    text = "\n".join(repr(file.as_json()) for file in files)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def is_passed_over(name: str) -> bool:
    """Whether a file of that name is hidden, or not there in full."""
    return name.startswith((".", "~")) or name.lower().endswith(_UNFINISHED)


def changed(name: str, what: str) -> PermanentError:
    """The error for a file that is not the one that was found."""
    return PermanentError(
        f"{name} {what} since it was begun to be read; "
        "what was read of it is kept apart: start a new sync"
    )
