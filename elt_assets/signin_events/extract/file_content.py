"""Digest and line counts of a file, computed in another thread while the file is loaded."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from elt_assets.connectors.files.text import opened
from elt_assets.errors import EltAssetsError
from elt_assets.signin_events.extract.export_file import LIMITS, ExportFile
from elt_assets.signin_events.interruption import Interruption

_PIECE = 2**20


class Content:
    """Digest and counts of the content read so far; of the whole file after `wait`."""

    def __init__(self, file: ExportFile) -> None:
        self._file = file
        self.digest = ""
        self.lines = 0
        self.line_ends_before_middle = 0
        """Line ends before the middle of the file; meaningless if the file is compressed."""
        self.share = 0.0
        """The share of the file's bytes that is read, 0 to 1."""
        self.loaded = 0.0
        """The share of the file's bytes passed to the loader; 0 if it reads the file itself."""
        self._guard = threading.Lock()
        self._error: EltAssetsError | None = None
        self._done = threading.Event()
        self._cancelled = threading.Event()

    def expected_lines(self) -> float:
        """The estimated number of lines of the whole file, from the part that is read."""
        return self.lines / self.share if self.share else 0.0

    def handed_over(self, size: int) -> None:
        """Count `size` further bytes as passed to the loader."""
        with self._guard:
            self.loaded += size / self._file.file.size

    def wait(self, stop: Interruption) -> None:
        """Wait until the whole file is read. Raises the reading thread's error, or `Stopped`."""
        while not self._done.wait(0.5):
            stop.check()
        if self._error is not None:
            raise self._error

    def read(self) -> None:
        """Read the file once."""
        digest, last = hashlib.sha256(), b""
        try:
            with self._file.raw() as raw, opened(raw, self._file.file.name, None, LIMITS) as text:
                at = text.stream.tell() if text.seekable else 0
                while not self._cancelled.is_set() and (piece := text.stream.read(_PIECE)):
                    digest.update(piece)
                    if at <= self._file.middle < at + len(piece):
                        before = piece.count(b"\n", 0, self._file.middle - at)
                        self.line_ends_before_middle = self.lines + before
                    self.lines += piece.count(b"\n")
                    at += len(piece)
                    self.share = os.lseek(raw.fileno(), 0, os.SEEK_CUR) / self._file.file.size
                    last = piece
            self.lines += bool(last) and not last.endswith(b"\n")
            self.digest = digest.hexdigest()
        except EltAssetsError as error:
            self._error = error
        finally:
            self._done.set()

    def cancel(self) -> None:
        """Stop reading, because the result is no longer needed."""
        self._cancelled.set()


@contextmanager
def reading_content(file: ExportFile) -> Iterator[Content]:
    """Read the file in another thread while the block runs."""
    content = Content(file)
    thread = threading.Thread(target=content.read, daemon=True)
    thread.start()
    try:
        yield content
    finally:
        content.cancel()
        thread.join()
