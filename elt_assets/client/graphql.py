"""Send the client's GraphQL queries to a web server; a failure is one line about the server."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

import requests

from elt_assets.errors import EltAssetsError, InvalidInput

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

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The answer to a query of `queries.graphql`. Raises `ServerSilent`, `ServerRefused`."""
        body: Any = {"query": queries(), "operationName": query, "variables": variables}
        try:
            response = requests.post(f"{self.url}/graphql", json=body, timeout=_TIMEOUT)
            answer = response.json()
        except requests.RequestException as error:
            raise self._silent(str(error)) from error
        if not isinstance(answer, dict) or not answer.keys() & {"data", "errors"}:
            raise self._silent(f"HTTP {response.status_code}, not GraphQL")
        if errors := answer.get("errors"):
            raise ServerRefused(f"{self.url}: {one_line(errors[0].get('message', errors))}")
        data: dict[str, Any] = answer["data"]
        for value in data.values():
            if isinstance(value, dict) and (refusal := _refusal(value)):
                raise ServerRefused(f"{self.url}: {one_line(refusal)}")
        return data

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
def queries() -> str:
    """The document of all queries; each request names the one that it wants."""
    return resources.files("elt_assets.client").joinpath("queries.graphql").read_text("utf-8")


def _refusal(value: dict[str, Any]) -> str | None:
    """The message of a value that is an error; a launch may list several mistakes."""
    if mistakes := value.get("mistakes"):
        return "; ".join(str(mistake["message"]) for mistake in mistakes)
    if value.get("__typename", "").endswith(("Error", "Conflict", "Failure")):
        return str(value.get("message") or value["__typename"])
    return None
