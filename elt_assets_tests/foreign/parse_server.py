"""parse-server on PostgreSQL: skip and limit, and a count that is the database's estimate."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_npm
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running
from elt_assets_tests.testbed.servers import postgresql


@contextmanager
def parse_server(folder: Path, *, estimate: bool) -> Iterator[Directory]:
    """A server without users; skips the test without PostgreSQL.

    `estimate` says whether provider_data declares that the count is one.
    """
    program = from_npm("parse-server", "parse-server@9.10.0") / "node_modules/.bin/parse-server"
    with postgresql() as database:
        database.execute("CREATE ROLE parse LOGIN SUPERUSER PASSWORD 'parse'")
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        config = folder / "config.json"
        config.write_text(
            json.dumps(
                {
                    "appId": "test",
                    "masterKey": TOKEN,
                    "masterKeyIps": ["127.0.0.1"],
                    "databaseURI": (
                        f"postgresql://parse:parse@127.0.0.1:{database.port}/hr?sslmode=disable"
                    ),
                    "host": "127.0.0.1",
                    "port": port,
                    "mountPath": "/parse",
                    "serverURL": f"{url}/parse",
                }
            )
        )
        headers = {"X-Parse-Application-Id": "test", "X-Parse-Master-Key": TOKEN}
        logs = str(folder)
        with running(
            [program, config], folder / "log", f"{url}/parse/health", PARSE_SERVER_LOGS_FOLDER=logs
        ):
            yield ParseServer(url, Api(url, headers), estimate)


@dataclass
class ParseServer:
    """The users of a server."""

    url: str
    api: Api
    estimate: bool
    provider: str = "rest"
    listing: str = "/parse/users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it, with small pages, so that something is between them."""
        data = documented("parse-server", url)
        data["streams"]["users"]["pagination"]["size"] = 20
        if not self.estimate:
            data["streams"]["users"]["total"] = "count"
        return data

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A user signs up."""
        login = f"p{number:05}"
        user = {"username": login, "password": TOKEN, "name": f"Person {number}"}
        made = self.api("POST", self.listing, user | {"email": f"{login}@acme.example"})
        return str(made["objectId"])

    def change(self, key: str, name: str) -> None:
        """Somebody takes another name."""
        self.api("PUT", f"{self.listing}/{key}", {"name": name})

    def leave(self, key: str) -> None:
        """A user is deleted."""
        self.api("DELETE", f"{self.listing}/{key}")
