"""Where a file is cut in halves, and that both readers of it mean the same place."""

from __future__ import annotations

import codecs
import errno
import os
from pathlib import Path

import pytest

from elt_assets.connectors.files.folder import File
from elt_assets.signin_events.extract import csv_halves
from elt_assets.signin_events.extract.csv_halves import in_parts, likely_cut
from elt_assets.signin_events.extract.export_file import ExportFile
from elt_assets.signin_events.extract.file_content import Content
from elt_assets_tests.signin_events.days import DAY, HEADER, line

WIDTH = len(HEADER.split(","))


@pytest.fixture(autouse=True)
def in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files are cut, too."""
    monkeypatch.setattr(csv_halves, "WORTH_IT", 0)


def written(path: Path, content: bytes) -> ExportFile:
    """An export file of that content."""
    path.write_bytes(content)
    return ExportFile(path, File.of(path.name, path.stat()), DAY)


def read(file: ExportFile) -> Content:
    """What another reader finds in it."""
    content = Content(file)
    content.read()
    return content


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "marked"])
def test_wherever_the_middle_falls_the_other_reader_counts_the_lines_above_the_cut(
    tmp_path: Path, mark: bytes
) -> None:
    lines = [HEADER, *(line(f"f-{number}") for number in range(40))]
    middles = set()
    for longer in range(2 * len(lines[-1]) + 4):
        # The file's end moves byte by byte, and its middle over a line from end to end.
        content = mark + "\n".join([*lines, line("f-last", user_agent="x" * longer)]).encode()
        file = written(tmp_path / f"{longer}.csv", content + b"\n")
        cut = likely_cut(file, ",", WIDTH)
        assert cut is not None
        assert content[:cut].endswith(b"\n")
        above = content[:cut].count(b"\n")
        assert read(file).line_ends_before_middle + 1 == above
        middles.add(content[file.middle : file.middle + 1])
    assert b"\n" in middles


def test_a_middle_far_into_the_file_is_found_between_two_pieces(tmp_path: Path) -> None:
    one = (line("f-1", user_agent="x" * 900) + "\n").encode()
    content = HEADER.encode() + b"\n" + one * 4_500
    file = written(tmp_path / "a.csv", content)
    cut = likely_cut(file, ",", WIDTH)
    assert cut is not None
    assert cut > 2**20
    found = read(file)
    assert found.line_ends_before_middle + 1 == content[:cut].count(b"\n")
    assert found.lines == 4_501


@pytest.mark.parametrize("refused", [None, errno.EINVAL], ids=["lent", "copied"])
def test_the_halves_are_the_file_without_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int | None
) -> None:
    if refused is not None:
        monkeypatch.setattr(os, "splice", failing(refused))
    content = b"\n".join([HEADER.encode(), *(line(f"f-{n}").encode() for n in range(5_000)), b""])
    file = written(tmp_path / "a.csv", content)
    cut = likely_cut(file, ",", WIDTH)
    assert cut is not None
    handed = Content(file)
    with in_parts(file, 1, cut, handed) as parts:
        # The first one is larger than a pipe, so that each is filled while the other is read.
        halves = [Path(part.source).read_bytes() for part in parts]
    assert halves == [content[len(HEADER) + 1 : cut], content[cut:]]
    assert handed.loaded == pytest.approx(1 - (len(HEADER) + 1) / len(content))


def test_a_file_that_cannot_be_read_says_so_when_both_halves_have_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "splice", failing(errno.EIO))
    file = written(tmp_path / "a.csv", b"\n".join([b"a,b"] * 50) + b"\n")
    with (
        pytest.raises(OSError, match="for this test"),
        in_parts(file, 1, 100, Content(file)) as parts,
    ):
        assert [Path(part.source).read_bytes() for part in parts] == [b"", b""]


def failing(code: int) -> object:
    """A call that the system refuses."""

    def refuse(*_: object, **__: object) -> int:
        raise OSError(code, "for this test")

    return refuse
