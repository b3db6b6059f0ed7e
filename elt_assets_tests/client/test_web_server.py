"""Errors of the web server as one clear line."""

from __future__ import annotations

import socket

import pytest
from dagster_graphql.schema import create_schema
from graphql import parse, validate

from elt_assets.cli.main import Invocation, run
from elt_assets.client import graphql
from elt_assets.client.graphql import ServerRefused, ServerSilent
from elt_assets.client.web_server import Server
from elt_assets.errors import InvalidInput
from elt_assets_tests.connectors.serving import Provider, Reply, as_json


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(
    "command",
    [
        ("start", "sync_all"),
        ("list",),
        ("status", "x"),
        ("resume", "x"),
        ("cancel", "x"),
        ("queues",),
        ("watch", "x"),
    ],
)
def test_every_command_reports_a_missing_server(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{unused_port()}"
    assert run([*command, "--url", url], Invocation()) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"Error: no web server at {url}: start one with `elt-assets dev`, "
        "or say where it is with --url\n"
    )


def test_a_server_of_another_kind_is_recognized() -> None:
    with (
        Provider(lambda _: Reply(b"<html>", 200)) as other,
        pytest.raises(ServerSilent, match="does not answer as a Dagster web server does"),
    ):
        Server(other.url).jobs()


def test_the_error_of_the_server_is_quoted() -> None:
    answer = {"data": {"repositoriesOrError": {"__typename": "PythonError", "message": "no\nway"}}}
    with (
        Provider(lambda _: as_json(answer)) as server,
        pytest.raises(ServerRefused, match="no way"),
    ):
        Server(server.url).jobs()


def test_a_text_that_is_not_an_address_is_refused() -> None:
    with pytest.raises(InvalidInput, match="--url 'localhost:3000' is not the address"):
        Server("localhost:3000")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("status=SLEEPING",), "no status 'SLEEPING'"),
        (("limit=0",), "limit is '0': give a whole number from 1"),
        (("color=red",), "list has no filter 'color'; it has status, limit, job, org, sync_id"),
    ],
)
def test_an_unknown_filter_is_refused_before_the_server_is_queried(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["list", *arguments, "--url", "http://127.0.0.1:1"], Invocation()) == 1
    assert said in capsys.readouterr().err


def test_every_query_fits_the_schema_of_dagsters_web_server() -> None:
    schema = create_schema().graphql_schema
    assert validate(schema, parse(graphql.queries())) == []
