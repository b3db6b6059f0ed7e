"""A query is planned once, and answers with the rows of the moment each time."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from elt_assets.storage.arrow_chunks import ROWS_AT_ONCE
from elt_assets.storage.warehouse.prepared_queries import PreparedQueries

DOUBLED = "SELECT 2 * number AS doubled FROM numbers"


def numbers(*values: int) -> pa.Table:
    return pa.table({"number": pa.array(values, pa.int64())})


def prepared_in(connection: duckdb.DuckDBPyConnection) -> list[str]:
    """The names of the queries whose plans the connection keeps."""
    rows = connection.execute("SELECT name FROM duckdb_prepared_statements()").fetchall()
    return sorted(name for (name,) in rows)


def test_each_run_answers_for_the_rows_it_was_given() -> None:
    queries = PreparedQueries(duckdb.connect())
    for values in ((1, 2), (), (7,), tuple(range(5000))):
        answer = queries.run(DOUBLED, "numbers", numbers(*values))
        assert answer["doubled"].to_pylist() == [2 * value for value in values]


def test_a_query_is_planned_once() -> None:
    connection = duckdb.connect()
    queries = PreparedQueries(connection)
    for _ in range(3):
        queries.run(DOUBLED, "numbers", numbers(1))
    assert len(prepared_in(connection)) == 1


def test_the_plans_that_were_not_used_longest_are_forgotten() -> None:
    connection = duckdb.connect()
    queries = PreparedQueries(connection, kept=2)
    for factor in (1, 2, 1, 3, 1):
        query = f"SELECT {factor} * number AS product FROM numbers"
        answer = queries.run(query, "numbers", numbers(5))
        assert answer["product"].to_pylist() == [5 * factor]
    assert prepared_in(connection) == ["query_0", "query_2"]


def test_rows_are_let_go_when_the_query_has_answered() -> None:
    queries = PreparedQueries(duckdb.connect())
    before = pa.total_allocated_bytes()
    rows = pa.table({"text": ["x" * 10_000_000]})
    queries.run("SELECT length(text) FROM texts", "texts", rows)
    del rows
    assert pa.total_allocated_bytes() - before < 1_000_000


def test_a_query_that_fails_leaves_the_others_in_order() -> None:
    queries = PreparedQueries(duckdb.connect())
    with pytest.raises(duckdb.Error):
        queries.run("SELECT error('no') FROM numbers", "numbers", numbers(1))
    assert queries.run(DOUBLED, "numbers", numbers(4))["doubled"].to_pylist() == [8]


def test_a_large_answer_comes_in_pieces() -> None:
    """DuckDB reserves memory for as many rows of every column as a piece may have."""
    with duckdb.connect() as connection:
        rows = pa.table({"number": range(2 * ROWS_AT_ONCE + 1)})
        answer = PreparedQueries(connection).run("SELECT number FROM numbers", "numbers", rows)
    assert answer["number"].num_chunks == 3
    assert answer.num_rows == rows.num_rows
