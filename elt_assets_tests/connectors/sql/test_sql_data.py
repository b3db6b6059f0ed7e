"""What may stand in a SQL integration's provider_data, above all in its query."""

from __future__ import annotations

from typing import Any

import pytest

from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput

SERVER = {
    "type": "postgresql",
    "host": "db.acme.example",
    "database": "hr",
    "user": "reader",
    "password": {"env": "HR_PASSWORD"},
}


def data(query: str = "SELECT id FROM users", **connection: Any) -> dict[str, Any]:
    return {
        "connection": {**SERVER, **connection},
        "streams": {"users": {"query": query, "key": "id", "fields": {"external_id": "id"}}},
    }


def test_the_example_is_valid_and_stays_as_written() -> None:
    assert catalog.validate("sql", data()) == data()


@pytest.mark.parametrize(
    ("database", "query"),
    [
        ("postgresql", "DELETE FROM users"),
        ("postgresql", "SELECT 1; DROP TABLE users"),
        ("postgresql", "SELECT 1 /* and then"),
        ("postgresql", "SELECT 1) AS q; DROP TABLE users; --"),
        ("postgresql", "SELECT 1 UNION SELECT 2) AS q WHERE (1 = 1"),
        ("postgresql", "WITH gone AS (DELETE FROM users RETURNING id) SELECT * FROM gone"),
        ("postgresql", "SELECT * INTO copy FROM users"),
        ("postgresql", "SELECT * FROM users FOR UPDATE"),
        ("postgresql", "COPY users TO '/tmp/users'"),
        ("postgresql", "EXPLAIN ANALYZE DELETE FROM users"),
        ("mysql", "SELECT 1 INTO OUTFILE '/tmp/users'"),
        ("mysql", "SELECT 1 /*!50000 INTO OUTFILE '/tmp/users' */"),
        ("mysql", "SELECT 1 /*M! INTO OUTFILE '/tmp/users' */"),
        ("mysql", "CALL hire()"),
        ("sqlite", "PRAGMA writable_schema = 1"),
        ("sqlite", "ATTACH '/tmp/x' AS x"),
        ("sqlite", "not sql at all"),
    ],
)
def test_a_query_that_does_more_than_read_is_refused(database: str, query: str) -> None:
    wrong = data(query, type=database)
    if database == "sqlite":
        wrong["connection"] = {"type": "sqlite", "path": "/srv/hr.db"}
    with pytest.raises(InvalidInput, match=r"streams\.users\.query "):
        catalog.validate("sql", wrong)


def test_two_statements_are_counted() -> None:
    with pytest.raises(InvalidInput, match="has 2 statements; write one SELECT"):
        catalog.validate("sql", data("SELECT 1; SELECT 2"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "typed"}, "password: give a secret as"),
        ({"uri": {"env": "X"}}, "give uri or host"),
        ({"host": None}, "is incomplete"),
        ({"type": "oracle"}, "'oracle'|oracle|expected tags"),
        ({"tls_ca": "ca.pem"}, "tls_ca: write the whole path"),
    ],
)
def test_each_mistake_of_the_connection_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        catalog.validate("sql", data(**change))
