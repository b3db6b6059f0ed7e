"""One export file: its path, its identity, its text, and whether it changed."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO

from elt_assets.connectors.files.folder import File, fingerprint
from elt_assets.connectors.files.text import Text, opened, reading
from elt_assets.connectors.limits import FileLimits
from elt_assets.errors import PageUnreadable, PermanentError, RetryableError

LIMITS = FileLimits(bytes=2**62, expansion=2**62)
"""Export files are put there by the operator and may have any size."""

_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True)
class ExportFile:
    """A file in a day's folder, as the listing of the folder found it."""

    path: Path
    file: File
    day: date

    def __str__(self) -> str:
        return f"{self.day.isoformat()}/{self.file.name}"

    @property
    def look(self) -> str:
        """The file's identity by name, size, modification time and inode."""
        return fingerprint([self.file])

    @property
    def unit(self) -> dict[str, object]:
        """The values that identify the file's rows."""
        return {"day": self.day, "file": self.file.name}

    @property
    def middle(self) -> int:
        """The middle of the file in bytes, after which a second reader may begin."""
        return self.file.size // 2

    @property
    def is_compressed(self) -> bool:
        return self.file.name.lower().endswith(".gz")

    @property
    def is_csv(self) -> bool:
        """Whether the name is that of a CSV file; otherwise the file has JSON Lines."""
        return self.file.name.lower().removesuffix(".gz").endswith(".csv")

    @contextmanager
    def raw(self) -> Iterator[IO[bytes]]:
        """Open the file's bytes. Raises `PageUnreadable` if it is damaged, `PermanentError` if it
        no longer exists.
        """
        with reading(self.file.name):
            try:
                raw = self.path.open("rb", buffering=0)
            except FileNotFoundError:
                raise PermanentError(f"{self} was removed after its folder was listed") from None
            with raw:
                yield raw

    @contextmanager
    def text(self) -> Iterator[Text]:
        """Open the content, decompressed. Raises `PageUnreadable` if it is not UTF-8."""
        with self.raw() as raw:
            head = raw.read(2)
            raw.seek(0)
            if head.startswith(_OTHER_MARKS):
                raise PageUnreadable(f"{self} is not UTF-8; write export files in UTF-8")
            with opened(raw, self.file.name, None, LIMITS) as text:
                yield text

    def refuse_changed(self) -> None:
        """Raise `RetryableError` if the file is no longer the one that the listing found."""
        try:
            found = File.of(self.file.name, self.path.stat())
        except OSError:
            found = None
        if found != self.file:
            raise RetryableError(f"{self} changed while it was read; nothing of it was kept")
