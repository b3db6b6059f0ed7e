"""json-server 0.17: page numbers in the `Link` header."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_npm
from elt_assets_tests.foreign.running import Api, Directory, free_port, running


@contextmanager
def json_server(folder: Path) -> Iterator[Directory]:
    """A server without users."""
    program = from_npm("json-server", "json-server@0.17.4") / "node_modules/.bin/json-server"
    database, port = folder / "database.json", free_port()
    database.write_text('{"users": []}')
    url = f"http://127.0.0.1:{port}"
    options = ["--host", "127.0.0.1", "--port", str(port), "--quiet"]
    with running([program, *options, database], folder / "log", f"{url}/users"):
        yield JsonServer(url, Api(url))


@dataclass
class JsonServer:
    """The users of a server."""

    url: str
    api: Api
    provider: str = "rest"
    listing: str = "/users"

    def data(self, url: str) -> dict[str, Any]:
        """As a newcomer writes it."""
        return {
            "api_endpoint": url,
            "streams": {
                "users": {
                    "path": "/users",
                    "params": {"_page": 1, "_limit": 20},
                    "pagination": {"type": "link_header"},
                    "fields": {
                        "external_id": "id",
                        "name": "name",
                        "email": "email",
                        "active": "active",
                    },
                }
            },
        }

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A record is added at the end."""
        key = f"p{number:05}"
        record = {"id": key, "name": f"Person {number}", "active": True}
        self.api("POST", "/users", record | {"email": f"{key}@acme.example"})
        return key

    def change(self, key: str, name: str) -> None:
        """A record's name changes."""
        self.api("PATCH", f"/users/{key}", {"name": name})

    def leave(self, key: str) -> None:
        """A record is deleted."""
        self.api("DELETE", f"/users/{key}")
