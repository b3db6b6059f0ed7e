"""Canaille: any `count` is answered with 500, so that all users come in one page."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_pypi
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_CONFIG = """
SECRET_KEY = "only here"
SERVER_NAME = "127.0.0.1:{port}"
PREFERRED_URL_SCHEME = "http"

[CANAILLE]
DATABASE = "sql"

[CANAILLE_SQL]
DATABASE_URI = "sqlite:///{folder}/people.sqlite"

[CANAILLE_OIDC]

[CANAILLE_SCIM]
ENABLE_SERVER = true
"""


@contextmanager
def canaille(folder: Path) -> Iterator[Directory]:
    """A server without users, and a client whose token may read and change all of them."""
    program = from_pypi("canaille", *_PACKAGES) / "venv/bin/canaille"
    config, port = folder / "canaille.toml", free_port()
    config.write_text(_CONFIG.format(port=port, folder=folder))
    environment = {**os.environ, "CANAILLE_CONFIG": str(config)}

    def make(*arguments: str) -> None:
        subprocess.run([program, *arguments], check=True, env=environment, capture_output=True)

    make("db", "upgrade")
    make("create", "client", "--client-id", "test", "--client-secret", TOKEN)
    made = ("--access-token", TOKEN, "--issue-date", "2026-01-01T00:00:00+00:00")
    made += ("--lifetime", "2000000000", "--type", "access_token", "--scope", "profile")
    make("create", "token", "--token-id", "test", "--client", "test", *made)
    url = f"http://127.0.0.1:{port}"
    command = [program, "run", "--bind", f"127.0.0.1:{port}"]
    with running(command, folder / "log", f"{url}/scim/v2/Users", CANAILLE_CONFIG=str(config)):
        yield Canaille(url, Api(url, {"Authorization": f"Bearer {TOKEN}"}))


_PACKAGES = ("canaille[front,oidc,scim,server,sqlite]==0.3.6", "scim2-models==0.6.12")


@dataclass
class Canaille:
    """The users of a server."""

    url: str
    api: Api
    provider: str = "scim"
    listing: str = "/scim/v2/Users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it."""
        return documented("Canaille", url)

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A user is made."""
        return str(self.api("POST", self.listing, self._person(f"p{number:05}", "Ada"))["id"])

    def change(self, key: str, name: str) -> None:
        """A user takes another name."""
        login = self.api("GET", f"{self.listing}/{key}")["userName"]
        self.api("PUT", f"{self.listing}/{key}", self._person(login, name))

    def leave(self, key: str) -> None:
        """A user is deleted."""
        self.api("DELETE", f"{self.listing}/{key}")

    @staticmethod
    def _person(login: str, name: str) -> dict[str, Any]:
        return {
            "schemas": [_USER],
            "userName": login,
            "active": True,
            "displayName": name,
            "name": {"formatted": f"{name} {login}", "familyName": login},
            "emails": [{"value": f"{login}@acme.example"}],
        }
