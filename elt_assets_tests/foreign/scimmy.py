"""SCIMMY: a SCIM server; on Express 5 it reads neither startIndex nor filter."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_npm
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running

_USER = "urn:ietf:params:scim:schemas:core:2.0:User"
_PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


@contextmanager
def scimmy(folder: Path, express: int) -> Iterator[Directory]:
    """A server without users, on that version of Express."""
    place = from_npm(
        f"scimmy-on-express-{express}",
        "scimmy@1.3.5",
        "scimmy-routers@1.3.2",
        f"express@{express}",
    )
    # A module finds its packages from where it lies.
    program = shutil.copy(Path(__file__).with_name("scimmy.mjs"), place)
    url = f"http://127.0.0.1:{(port := free_port())}"
    command = ["node", program, str(port), TOKEN]
    with running(command, folder / "log", f"{url}/scim/Users"):
        yield Scimmy(url, Api(url, {"Authorization": f"Bearer {TOKEN}"}))


@dataclass
class Scimmy:
    """The users of a server."""

    url: str
    api: Api
    provider: str = "scim"
    listing: str = "/scim/Users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it, with small pages, so that something is between them."""
        return documented("SCIMMY and django-scim2", url, count=20) | {
            "api_endpoint": f"{url}/scim"
        }

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A user is made."""
        login = f"p{number:05}"
        user = {
            "schemas": [_USER],
            "userName": login,
            "displayName": f"Person {number}",
            "active": True,
            "emails": [{"value": f"{login}@acme.example", "primary": True}],
        }
        return str(self.api("POST", self.listing, user)["id"])

    def change(self, key: str, name: str) -> None:
        """A user takes another name."""
        operation = {"op": "replace", "path": "displayName", "value": name}
        self.api("PATCH", f"{self.listing}/{key}", {"schemas": [_PATCH], "Operations": [operation]})

    def leave(self, key: str) -> None:
        """A user is deleted."""
        self.api("DELETE", f"{self.listing}/{key}")
