"""JupyterHub: users by name, the next page's address in the page, pages counted by an offset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets_tests.foreign.install import from_npm, from_pypi
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running

_CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_bind_url = "http://127.0.0.1:{hub}"
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy}"
c.ConfigurableHTTPProxy.command = ["{program}"]
c.ConfigurableHTTPProxy.pid_file = "{folder}/proxy.pid"
c.JupyterHub.authenticator_class = "null"
c.JupyterHub.services = [{{"name": "test", "admin": True, "api_token": "{token}"}}]
c.JupyterHub.db_url = "sqlite:///{folder}/hub.sqlite"
c.JupyterHub.cookie_secret_file = "{folder}/cookie"
"""


@contextmanager
def jupyterhub(folder: Path) -> Iterator[Directory]:
    """A hub without users."""
    program = from_pypi("jupyterhub", "jupyterhub==6.1.1") / "venv/bin/jupyterhub"
    proxy = from_npm("jupyterhub", "configurable-http-proxy@5")
    hub = free_port()
    config = folder / "config.py"
    config.write_text(
        _CONFIG.format(
            port=free_port(),
            hub=hub,
            proxy=free_port(),
            program=proxy / "node_modules/.bin/configurable-http-proxy",
            folder=folder,
            token=TOKEN,
        )
    )
    url = f"http://127.0.0.1:{hub}"
    with running([program, "-f", config], folder / "log", f"{url}/hub/api/"):
        yield JupyterHub(url, Api(url, {"Authorization": f"token {TOKEN}"}))


@dataclass
class JupyterHub:
    """The users of a hub."""

    url: str
    api: Api
    provider: str = "rest"
    listing: str = "/hub/api/users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it, with small pages, so that something is between them."""
        data = documented("JupyterHub", url)
        data["streams"]["users"]["params"]["limit"] = 20
        return data

    def everybody(self) -> set[str]:
        """Nobody."""
        return set()

    def join(self, number: int) -> str:
        """A user is made."""
        self.api("POST", f"{self.listing}/p{number:05}")
        return f"p{number:05}"

    def change(self, key: str, name: str) -> None:
        """A user becomes an administrator; a name is a key here."""
        self.api("PATCH", f"{self.listing}/{key}", {"admin": True})

    def leave(self, key: str) -> None:
        """A user is deleted."""
        self.api("DELETE", f"{self.listing}/{key}")
