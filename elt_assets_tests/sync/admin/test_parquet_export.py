"""Exported Parquet files say what the stores say, for every tenant, and appear in one step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin.parquet_export import ExportTable, export
from elt_assets.sync.outcome import Stage
from elt_assets.sync.streams import STREAMS, USERS
from elt_assets_tests.sync.worlds import ACME, Company, World, people, person

OTHER = IntegrationRef("other", "main")


@pytest.fixture
def filled(company: Company) -> Company:
    """Two integrations; one has seen a rename, a removal and a newcomer without an address."""
    for ref in (ACME, OTHER):
        company.connect(ref, World(people(20)))
        company.sync(ref)
    company.worlds["acme:main"].records = [
        person(0, name="Renamed"),
        *people(19)[1:],
        person(99, email=None),
    ]
    company.sync(ACME, sync_id="s2")
    return company


def read(folder: Path, table: str, what: str = "*") -> list[dict[str, Any]]:
    """Rows of an exported table as an analyst reads them."""
    pattern = str(folder / table / "**" / "*.parquet")
    query = f"SELECT {what} FROM read_parquet('{pattern}', hive_partitioning = true)"
    rows: list[dict[str, Any]] = duckdb.sql(query).to_arrow_table().to_pylist()
    return rows


def test_latest_rows_are_those_of_the_table(filled: Company, tmp_path: Path) -> None:
    done = export(filled.platform, tmp_path / "bi")
    assert (done.integrations, done.left, done.removed) == (2, (), 0)
    rows = read(tmp_path / "bi", "users_latest")
    assert len(rows) == done.rows["users_latest"] == 40
    acme = {row["external_id"]: row for row in rows if row["organization_id"] == "acme"}
    held = {row["external_id"]: row for row in filled.platform.records(USERS, ACME)}
    assert acme.keys() == held.keys()
    for key, row in held.items():
        assert {
            name: acme[key][name]
            for name in ("id", "name", "email", "active", "content_hash", "organization_id")
        } == {
            name: row[name]
            for name in ("id", "name", "email", "active", "content_hash", "organization_id")
        }
    assert acme["u-0099"]["email"] is None
    assert acme["u-0000"]["attributes"] == '{"team":"blue"}'


def test_changes_and_history_are_those_of_the_log(filled: Company, tmp_path: Path) -> None:
    done = export(filled.platform, tmp_path / "bi")
    changes = read(tmp_path / "bi", "users_changes", "sync_id, change_type, external_id")
    assert sum(row["sync_id"] == "s2" for row in changes) == 3
    assert len(changes) == done.rows["users_changes"] == 43
    names = read(tmp_path / "bi", "users_history", "external_id, name, valid_to, organization_id")
    versions = [
        (row["name"], row["valid_to"] is None)
        for row in names
        if row["external_id"] == "u-0000" and row["organization_id"] == "acme"
    ]
    assert versions == [("Person 0", False), ("Renamed", True)]


def test_what_was_found_and_not_applied_is_left_out(filled: Company, tmp_path: Path) -> None:
    filled.worlds["acme:main"].records = people(18)
    list(filled.platform.sync(USERS, [ACME], sync_id="s3", until=Stage.CDC))
    export(filled.platform, tmp_path / "bi", tables=[ExportTable.CHANGES])
    changes = read(tmp_path / "bi", "users_changes", "DISTINCT sync_id")
    assert {row["sync_id"] for row in changes} == {"s1", "s2"}


def test_any_stream_and_any_table_can_be_had_alone(filled: Company, tmp_path: Path) -> None:
    done = export(
        filled.platform,
        tmp_path / "bi",
        refs=[OTHER],
        streams=[USERS],
        tables=[ExportTable.HISTORY],
    )
    assert done.rows == {"users_history": 20}
    assert [path.name for path in (tmp_path / "bi").iterdir()] == ["users_history"]
    everything = export(filled.platform, tmp_path / "bi")
    assert set(everything.rows) == {
        f"{stream}_{table}" for stream in STREAMS for table in ("latest", "changes", "history")
    }


def test_the_columns_of_the_path_are_not_in_the_files_again(
    filled: Company, tmp_path: Path
) -> None:
    export(filled.platform, tmp_path / "bi", streams=[USERS])
    for file in (tmp_path / "bi").rglob("*.parquet"):
        names = pq.ParquetFile(file).schema_arrow.names
        assert not {"organization_id", "connected_integration_id"} & set(names)


def test_an_integration_without_rows_has_a_file_of_the_same_columns(
    filled: Company, tmp_path: Path
) -> None:
    filled.connect(IntegrationRef("empty", "main"))
    export(filled.platform, tmp_path / "bi", streams=[USERS], tables=[ExportTable.LATEST])
    schemas = [pq.ParquetFile(file).schema_arrow for file in (tmp_path / "bi").rglob("*.parquet")]
    assert len(schemas) == 3
    assert all(schema.equals(schemas[0]) for schema in schemas)


def test_files_of_a_removed_integration_go_with_the_next_export(
    filled: Company, tmp_path: Path
) -> None:
    export(filled.platform, tmp_path / "bi", streams=[USERS])
    foreign = tmp_path / "bi" / "users_latest" / "organization_id=mine" / "notes.txt"
    foreign.parent.mkdir()
    foreign.touch()
    filled.platform.remove(OTHER)
    export(filled.platform, tmp_path / "bi", refs=[ACME], streams=[USERS])
    assert {row["organization_id"] for row in read(tmp_path / "bi", "users_latest")} > {"acme"}
    assert export(filled.platform, tmp_path / "bi", streams=[USERS]).removed == 3
    assert {row["organization_id"] for row in read(tmp_path / "bi", "users_latest")} == {"acme"}
    assert foreign.exists()


def test_one_that_is_being_synced_keeps_its_old_files_and_is_named(
    filled: Company, tmp_path: Path
) -> None:
    export(filled.platform, tmp_path / "bi", streams=[USERS])
    with filled.platform.warehouses.open(OTHER):
        done = export(filled.platform, tmp_path / "bi", streams=[USERS])
    assert done.integrations == 1
    assert len(done.left) == 1
    assert done.left[0].startswith("other:main: ")
    assert len(read(tmp_path / "bi", "users_changes")) == 43


def test_a_folder_that_cannot_be_made_is_named(filled: Company, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="file cannot be created"):
        export(filled.platform, tmp_path / "file")
