"""The declared tables against the real ones."""

from __future__ import annotations

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.assets.table_specs import column_lineage, table_specs
from elt_assets.sync.outcome import Stage
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import prepare_warehouse
from elt_assets.sync.streams import STREAMS, Stream, StreamKey

REF = IntegrationRef("acme", "okta")


def declared(stream: Stream) -> dict[str, list[tuple[str, str]]]:
    return {
        spec.key.to_user_string(): [
            (column.name, column.type) for column in spec.metadata["dagster/column_schema"].columns
        ]
        for spec in table_specs(stream)
    }


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_declared_columns_are_those_of_the_real_tables(stream: Stream) -> None:
    tables = declared(stream)
    with SyncService.open(load_settings()) as platform:
        with platform.warehouses.open(REF) as connection:
            prepare_warehouse(connection, StreamKey(stream, REF))
            for table in (stream.staging, stream.cdc):
                described = connection.execute(f"DESCRIBE {table}").fetchall()
                assert tables[table] == [(row[0], row[1]) for row in described]
        columns = platform.database.rows(f"PRAGMA table_info({stream.latest})")
        assert tables[stream.latest] == [(row["name"], row["type"]) for row in columns]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_tables_are_aligned(stream: Stream) -> None:
    staging, cdc, latest = table_specs(stream)
    assert not list(staging.deps)
    assert [dep.asset_key for dep in cdc.deps] == [staging.key]
    assert [dep.asset_key for dep in latest.deps] == [cdc.key]


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_every_column_says_what_it_holds(stream: Stream) -> None:
    for spec in table_specs(stream):
        assert spec.description
        assert all(c.description for c in spec.metadata["dagster/column_schema"].columns)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
def test_the_lineage_of_columns_names_existing_columns(stream: Stream) -> None:
    columns = {table: {name for name, _ in found} for table, found in declared(stream).items()}
    assert column_lineage(stream, Stage.STAGING) is None
    for stage, table in ((Stage.CDC, stream.cdc), (Stage.LATEST, stream.latest)):
        lineage = column_lineage(stream, stage)
        assert lineage is not None
        assert lineage.deps_by_column.keys() <= columns[table]
        assert {column.name for column in stream.columns} < lineage.deps_by_column.keys()
        for deps in lineage.deps_by_column.values():
            for dep in deps:
                assert dep.column_name in columns[dep.asset_key.to_user_string()]
