"""Send the client's GraphQL queries to a web server; a failure is one line about the server.

Launching and terminating go through Dagster's own client. It has no call for lists of runs,
events, partitions or queues: those are plain queries (`queries.graphql`) over the same transport.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, TypeVar
from urllib.parse import urlsplit

import gql
import graphql
import requests
from dagster_graphql import DagsterGraphQLClient, DagsterGraphQLClientError
from gql.transport.exceptions import TransportError, TransportQueryError
from gql.transport.requests import RequestsHTTPTransport

from elt_assets.errors import EltAssetsError, InvalidInput

T = TypeVar("T")

_TIMEOUT = 60


class ServerSilent(EltAssetsError):
    """No Dagster web server answers at the address."""


class ServerRefused(EltAssetsError):
    """The web server answered with an error."""


class GraphQL:
    """The GraphQL endpoint of the web server at `url`. Raises `InvalidInput` if it is not HTTP."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidInput(
                f"--url {url!r} is not the address of a web server; "
                "give one such as http://127.0.0.1:3000"
            )
        self.url = url.rstrip("/")
        transport = RequestsHTTPTransport(
            url=f"{self.url}/graphql", use_json=True, timeout=_TIMEOUT
        )
        self._dagster = DagsterGraphQLClient(parts.hostname, transport=transport)
        self._plain = gql.Client(transport=transport)

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a query of `queries.graphql`. Raises `ServerSilent`, `ServerRefused`."""
        document = queries()[query]
        answer: dict[str, Any] = self.call(
            lambda _: self._plain.execute(gql.GraphQLRequest(document, variable_values=variables))
        )
        for value in answer.values():
            if isinstance(value, dict) and value.get("__typename", "").endswith("Error"):
                raise ServerRefused(f"{self.url}: {one_line(value.get('message'))}")
        return answer

    def call(self, call: Callable[[DagsterGraphQLClient], T]) -> T:
        """Run `call` with Dagster's client. Raises `ServerSilent`, `ServerRefused`."""
        try:
            try:
                return call(self._dagster)
            except DagsterGraphQLClientError as error:
                # For any other failure Dagster's client quotes the whole query; the cause is short.
                if error.__cause__ is None:
                    raise ServerRefused(f"{self.url}: {one_line(_refusal(error))}") from error
                raise error.__cause__ from None
        except TransportQueryError as error:
            first = (error.errors or [{}])[0]
            raise ServerRefused(f"{self.url}: {one_line(first.get('message', error))}") from error
        except (TransportError, requests.RequestException) as error:
            raise self._silent(str(error)) from error

    def _silent(self, cause: str) -> ServerSilent:
        if "refused" in cause or "Failed to establish" in cause or "resolve" in cause:
            return ServerSilent(
                f"no web server at {self.url}: start one with `elt-assets dev`, or say where it "
                "is with --url"
            )
        if "timed out" in cause or "Timeout" in cause:
            return ServerSilent(
                f"the web server at {self.url} did not answer in {_TIMEOUT} s; look at its log"
            )
        return ServerSilent(
            f"{self.url} does not answer as a Dagster web server does "
            f"({one_line(cause)[:200]}); say where it is with --url"
        )


def one_line(text: object) -> str:
    """`text` without line breaks and repeated spaces."""
    return " ".join(str(text).split())


@cache
def queries() -> dict[str, graphql.DocumentNode]:
    """Each query with the fragments that it uses, by name."""
    text = resources.files("elt_assets.client").joinpath("queries.graphql").read_text("utf-8")
    return graphql.separate_operations(graphql.parse(text))


def _refusal(error: DagsterGraphQLClientError) -> str:
    """The error of Dagster's client: a kind, then a text or a list of mistakes."""
    kind, body = (*error.args, None, None)[:2]
    if isinstance(body, list):
        return "; ".join(str(mistake.get("message", mistake)) for mistake in body)
    return str(body or kind)
