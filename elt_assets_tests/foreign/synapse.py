"""Matrix Synapse: `next_token` counts users, and who leaves is deactivated."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from elt_assets_tests.foreign.install import from_pypi
from elt_assets_tests.foreign.running import TOKEN, Api, Directory, documented, free_port, running

_HOST = "hs.example"


@contextmanager
def synapse(folder: Path) -> Iterator[Directory]:
    """A homeserver with one user, its administrator."""
    programs = from_pypi("synapse", "matrix-synapse==1.163.2") / "venv/bin"
    config, port = folder / "homeserver.yaml", free_port()
    options: list[str | Path] = [
        "--server-name",
        _HOST,
        "--config-path",
        config,
        "--data-directory",
        folder,
    ]
    subprocess.run(
        [
            *(programs / "python", "-m", "synapse.app.homeserver", *options),
            *("--generate-config", "--report-stats=no"),
        ],
        check=True,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    text = config.read_text().replace("port: 8008", f"port: {port}").replace("    - ::1\n", "")
    # Nothing leaves this machine.
    text = re.sub(r"trusted_key_servers:\n.*\n", "trusted_key_servers: []\n", text)
    config.write_text(text)
    url = f"http://127.0.0.1:{port}"
    command: list[str | Path] = [programs / "python", "-m", "synapse.app.homeserver", "-c", config]
    with running(command, folder / "log", f"{url}/_matrix/client/versions"):
        making: list[str | Path] = ["-u", "root", "-p", TOKEN, "-a", "-c", config, url]
        subprocess.run(
            [programs / "register_new_matrix_user", *making],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        login = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": "root"},
            "password": TOKEN,
        }
        token = Api(url)("POST", "/_matrix/client/v3/login", login)["access_token"]
        yield Synapse(url, token, Api(url, {"Authorization": f"Bearer {token}"}))


@dataclass
class Synapse:
    """The users of a homeserver."""

    url: str
    token: str
    api: Api
    provider: str = "rest"
    listing: str = "/_synapse/admin/v2/users"

    def data(self, url: str) -> dict[str, Any]:
        """As the documentation shows it, with small pages, so that something is between them."""
        data = documented("Matrix Synapse", url)
        data["streams"]["users"]["params"]["limit"] = 20
        return data

    def everybody(self) -> set[str]:
        """The administrator."""
        return {f"@root:{_HOST}"}

    def join(self, number: int) -> str:
        """An account is made."""
        key = f"@p{number:05}:{_HOST}"
        self._put(key, {"displayname": f"Person {number}"})
        return key

    def change(self, key: str, name: str) -> None:
        """Somebody takes another name."""
        self._put(key, {"displayname": name})

    def leave(self, key: str) -> None:
        """An account is deactivated, and not listed any more."""
        self._put(key, {"deactivated": True})

    def _put(self, key: str, body: dict[str, Any]) -> None:
        self.api("PUT", f"{self.listing}/{quote(key)}", body)
