"""Which files count: complete ones, inside the folder, and never the platform's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from elt_assets.connectors.files.files_data import FileStream
from elt_assets.connectors.files.folder import Folder, fingerprint
from elt_assets.errors import PermanentError, RetryableError
from elt_assets_tests.connectors.files.conftest import LONG_AGO, OpenFiles, drop, read

USERS = FileStream(path="users*", fields={"external_id": "id"})


@pytest.mark.parametrize(
    "name", ["users.csv.incomplete", "users.csv.PART", "users.tmp", ".users.csv", "~users.csv"]
)
def test_unfinished_names_are_passed_over(folder: Path, users: OpenFiles, name: str) -> None:
    drop(folder, name, "id\n1\n")
    drop(folder, "users.csv", "id\n2\n")
    assert read(users("*", format="csv")) == [{"id": "2"}]


def test_a_file_that_grows_while_it_is_watched_is_not_read(folder: Path) -> None:
    path = drop(folder, "users.csv", "id\n1\n")
    os.utime(path, (1000, 1000))
    waited = []

    def writer_goes_on(seconds: float) -> None:
        waited.append(seconds)
        with path.open("a") as file:
            file.write("2\n")

    with pytest.raises(RetryableError, match="still being written"):
        Folder(folder, settle_seconds=5).complete_files(
            USERS, moment=lambda: 1004.9, wait=writer_goes_on
        )
    assert waited == [5]


def test_a_young_file_that_stands_still_is_read(folder: Path) -> None:
    path = drop(folder, "users.csv", "id\n1\n")
    os.utime(path, (1000, 1000))
    waited: list[float] = []
    (file,) = Folder(folder, settle_seconds=5).complete_files(
        USERS, moment=lambda: 1004.9, wait=waited.append
    )
    assert file.name == "users.csv"
    assert waited == [5]


def test_an_old_file_is_read_at_once(folder: Path) -> None:
    drop(folder, "users.csv", "id\n1\n")
    waited: list[float] = []
    assert Folder(folder, settle_seconds=5).complete_files(USERS, wait=waited.append)
    assert waited == []


def test_a_link_out_of_the_folder_is_not_followed(
    folder: Path, users: OpenFiles, tmp_path: Path
) -> None:
    drop(tmp_path, "secret.csv", "id\n1\n")
    (folder / "users.csv").symlink_to(tmp_path / "secret.csv")
    with pytest.raises(PermanentError, match="a link out of"):
        read(users())


def test_the_platforms_own_files_are_never_a_source(tmp_path: Path, users: OpenFiles) -> None:
    own = tmp_path / "home" / "olap"
    own.mkdir(parents=True)
    drop(own, "users.csv", "id\n1\n")
    with pytest.raises(PermanentError, match="a file of the platform itself"):
        read(users("**/users.csv", directory=str(tmp_path)))


def test_any_other_folder_can_be_named(tmp_path: Path, users: OpenFiles) -> None:
    drop(tmp_path, "users.csv", "id\n1\n")
    assert read(users(directory=str(tmp_path))) == [{"id": "1"}]


def test_a_fingerprint_changes_with_every_change_and_with_nothing_else(folder: Path) -> None:
    place = Folder(folder)
    path = drop(folder, "users.csv", "id\n1\n")
    seen = {fingerprint(place.files(USERS))}
    assert fingerprint(place.files(USERS)) in seen
    path.write_text("id\n12\n")
    os.utime(path, (LONG_AGO, LONG_AGO))
    seen.add(fingerprint(place.files(USERS)))
    os.utime(path, (LONG_AGO + 1, LONG_AGO))
    assert fingerprint(place.files(USERS)) in seen
    os.utime(path, (LONG_AGO, LONG_AGO + 1))
    seen.add(fingerprint(place.files(USERS)))
    drop(folder, "users-2.csv", "id\n1\n")
    seen.add(fingerprint(place.files(USERS)))
    assert len(seen) == 4
