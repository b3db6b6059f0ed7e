"""Start and stop the embedded provider as a process, with a client for its control routes."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import date
from typing import IO, Any, Self, cast

import msgspec
import urllib3

from elt_assets.demo.layout import DemoLayout
from elt_assets.errors import EltAssetsError, InvalidInput, NotFound
from elt_assets.identifiers import IntegrationRef

_STOP_WAIT = 3.0
_ANSWER_WAIT = 120.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """The input of the child process, on standard input, which no process list shows."""

    layout: DemoLayout
    token: str
    port: int
    parent: int


class Started(msgspec.Struct, frozen=True):
    """The answer of the child process on standard output: its URL, or an error."""

    url: str | None = None
    error: str | None = None


class ProviderProcess:
    """A provider that runs while the context is open, and never longer than this process."""

    program = "elt_assets.demo"

    def __init__(
        self, layout: DemoLayout | None = None, *, token: str | None = None, port: int = 0
    ) -> None:
        self.layout = layout or DemoLayout()
        self.token = token or secrets.token_urlsafe(24)
        self._wanted_port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """The address, as `http://127.0.0.1:PORT`."""
        if self._url is None:
            raise EltAssetsError("the embedded provider is not running")
        return self._url

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EltAssetsError("the embedded provider is not running")
        return self._process.pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start the provider and return once it answers."""
        if self._process is not None:
            raise EltAssetsError("the embedded provider is running already")
        # The child has its own session: Ctrl-C reaches this process alone, which stops the child.
        self._process = subprocess.Popen(
            [sys.executable, "-m", self.program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        try:
            started = self._told(self._process)
            if started.url is None:
                raise InvalidInput(f"embedded provider: {started.error}")
            self._url = started.url
            # The socket is open already, and the server answers once it runs.
            self.control("GET", "/")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the process if it is running: SIGTERM, then SIGKILL."""
        process, self._process, self._url = self._process, None, None
        if process is None:
            return
        with process:
            process.terminate()
            try:
                process.wait(_STOP_WAIT)
            except subprocess.TimeoutExpired:
                process.kill()

    def advance(self) -> int:
        """Advance every integration by one round; return the round."""
        return int(self.control("POST", "/control/advance")["round"])

    def worlds(self) -> dict[IntegrationRef, int]:
        """Every integration with its current number of people."""
        return {
            IntegrationRef(world["organization"], world["integration"]): world["users"]
            for world in self.control("GET", "/control/worlds")["worlds"]
        }

    def truth(self, ref: IntegrationRef) -> list[dict[str, Any]]:
        """The records that the platform should hold of `ref` now, as from `people.truth`."""
        return list(self.control("GET", f"/control/state/{_path(ref)}")["users"])

    def truth_of_groups(self, ref: IntegrationRef) -> dict[str, list[dict[str, Any]]]:
        """The groups and group memberships that the platform should hold of `ref` now."""
        return self.control("GET", f"/control/groups/{_path(ref)}")

    def requests(self, ref: IntegrationRef | None = None) -> list[dict[str, Any]]:
        """Every page requested since the start or the last `forget_requests`, in order."""
        query = f"?org={ref.organization_id}&integration={ref.integration_id}" if ref else ""
        answer = self.control("GET", f"/control/requests{query}")
        if answer["dropped"]:
            raise EltAssetsError(
                f"the request log lost its {answer['dropped']} oldest entries; "
                "forget requests more often"
            )
        return list(answer["requests"])

    def forget_requests(self) -> None:
        """Empty the request log."""
        self.control("DELETE", "/control/requests")

    def edit(
        self,
        ref: IntegrationRef,
        *,
        replace: Iterable[object] | None = None,
        remove: Iterable[int | str] = (),
        change: Mapping[int | str, Mapping[str, Any]] | None = None,
        add: int | Iterable[object] = 0,
    ) -> int:
        """Edit one integration in one step; return its new number of people.

        In this order: `replace` the whole list by these records, which rounds no longer change;
        `remove` and `change` people by number or id; `add` this many new people or these records.
        Raises `NotFound` or `InvalidInput` without changing anything.
        """
        edits = {
            "replace": None if replace is None else list(replace),
            "remove": list(remove),
            "change": [{"who": who, "set": fields} for who, fields in (change or {}).items()],
            "add": add if isinstance(add, int) else list(add),
        }
        return int(self.control("POST", f"/control/edit/{_path(ref)}", edits)["total"])

    def order_outage(self, ref: IntegrationRef, failing: Mapping[date, int]) -> None:
        """Let only these days' sign-ins of `ref` fail, with these statuses.

        Raises `NotFound` or `InvalidInput`.
        """
        self.control("POST", f"/control/signins/{_path(ref)}", {"failing": failing})

    def _told(self, process: subprocess.Popen[bytes]) -> Started:
        """Send the child its input and read its answer."""
        orders_out, answer_in = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        orders = Orders(
            layout=self.layout, token=self.token, port=self._wanted_port, parent=os.getpid()
        )
        with suppress(BrokenPipeError), orders_out:
            orders_out.write(msgspec.json.encode(orders))
        try:
            return msgspec.json.decode(answer_in.readline(), type=Started)
        except msgspec.DecodeError:
            return Started(error=f"it ended with exit status {process.wait()} before it listened")

    def control(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        """Send a request of the provider's control routes. Raises `NotFound` or `InvalidInput`."""
        # Each call opens its own connection, so that a forked process shares none.
        url = self.url + path
        try:
            with urllib3.PoolManager() as http:
                response = http.request(
                    method,
                    url,
                    body=None if body is None else msgspec.json.encode(body),
                    headers={"Authorization": f"Bearer {self.token}"},
                    timeout=_ANSWER_WAIT,
                    retries=False,
                )
        except urllib3.exceptions.HTTPError as error:
            raise EltAssetsError(
                f"embedded provider: no answer from {url} ({type(error).__name__})"
            ) from error
        answer: dict[str, Any] = msgspec.json.decode(response.data)
        if response.status != 200:
            kind = NotFound if response.status == 404 else InvalidInput
            raise kind(f"embedded provider: {answer['error']['message']}")
        return answer


def _path(ref: IntegrationRef) -> str:
    return f"{ref.organization_id}/{ref.integration_id}"
