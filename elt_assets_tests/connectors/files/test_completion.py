"""Files that prove that they are there in full, and those that do not."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from elt_assets.errors import InvalidInput, RetryableError
from elt_assets_tests.connectors.files.conftest import LONG_AGO, OpenFiles, drop, read

ROWS = b"id,name\n1,Ada\n2,Grace\n"
DIGEST = hashlib.sha256(ROWS).hexdigest()


@pytest.mark.parametrize(
    ("name", "proven"),
    [
        ("users.csv", False),
        ("users.jsonl", False),
        ("users*.jsonl", False),
        ("users", False),
        ("users.csv.gz", True),
        ("users-*.csv.gz", True),
        ("users.csv.zst", False),
        ("users.json", True),
        ("users.parquet", True),
    ],
)
def test_a_file_whose_half_reads_like_a_whole_is_no_snapshot(
    users: OpenFiles, name: str, proven: bool
) -> None:
    assert users(name).snapshot == proven


@pytest.mark.parametrize(
    ("complete", "sidecar", "content"),
    [
        ({"marker": "{name}.done"}, "users.csv.done", b""),
        ({"marker": "_SUCCESS"}, "_SUCCESS", b""),
        ({"checksum": "{name}.sha256"}, "users.csv.sha256", f"{DIGEST}  users.csv\n".encode()),
        ({"checksum": "{name}.sha256"}, "users.csv.sha256", DIGEST.upper().encode()),
        ({"count": "{name}.count"}, "users.csv.count", b"2\n"),
    ],
)
def test_a_file_is_read_once_its_proof_is_there(
    folder: Path, users: OpenFiles, complete: dict[str, str], sidecar: str, content: bytes
) -> None:
    drop(folder, "users.csv", ROWS)
    source = users("users.csv", complete=complete)
    assert source.snapshot
    with pytest.raises(RetryableError, match="nothing was read"):
        read(source)
    drop(folder, sidecar, content)
    assert len(read(source)) == 2


def test_a_checksum_of_another_content_is_no_proof(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv", ROWS[:-8])
    drop(folder, "users.csv.sha256", DIGEST.encode())
    with pytest.raises(RetryableError, match="it is not complete"):
        read(users("users.csv", complete={"checksum": "{name}.sha256"}))


@pytest.mark.parametrize("content", [b"", b"not a number", b"-1"])
def test_a_count_that_is_none_is_no_proof(folder: Path, users: OpenFiles, content: bytes) -> None:
    drop(folder, "users.csv", ROWS)
    drop(folder, "users.csv.count", content)
    with pytest.raises(RetryableError, match="holds no count"):
        read(users("users.csv", complete={"count": "{name}.count"}))


def test_a_declared_count_is_the_total_of_the_listing(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users-1.csv", ROWS)
    drop(folder, "users-2.csv", b"id,name\n3,Alan\n")
    drop(folder, "users-1.csv.count", b"2")
    drop(folder, "users-2.csv.count", b"40")
    pages = list(users("users-*.csv", complete={"count": "{name}.count"}).pages(None))
    assert [page.total for page in pages if page.total is not None] == [42]


def test_a_marker_older_than_its_file_is_no_proof(folder: Path, users: OpenFiles) -> None:
    drop(folder, "users.csv.done", b"")
    os.utime(drop(folder, "users.csv", ROWS), (LONG_AGO + 60, LONG_AGO + 60))
    with pytest.raises(RetryableError, match=r"users\.csv\.done is older than users\.csv"):
        read(users("users.csv", complete={"marker": "{name}.done"}))


@pytest.mark.parametrize(
    "complete", [{}, {"marker": "../other.done"}, {"marker": "{name}"}, {"marker": ""}]
)
def test_a_proof_that_cannot_be_meant_is_refused(
    users: OpenFiles, complete: dict[str, str]
) -> None:
    with pytest.raises(InvalidInput):
        users("users.csv", complete=complete)
