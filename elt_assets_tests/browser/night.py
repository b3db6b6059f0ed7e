"""A night on duty: an installation with `elt-assets dev`, and six integrations in trouble."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import urllib3

from elt_assets.config.settings import Settings, load_settings
from elt_assets.demo.layout import DemoLayout
from elt_assets.demo.registration import provider_data
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.orchestration.status_repair import repair_status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.cli.conftest import free_port, wait_for
from elt_assets_tests.testbed.faulty_provider.fault import ALWAYS, Order, Plan
from elt_assets_tests.testbed.faulty_provider.faulty_process import FaultyProvider

REVOKED = IntegrationRef("borealis", "okta")
LOGIN_PAGE = IntegrationRef("cormorant", "hr-export")
LEAVERS = IntegrationRef("dunlin", "entra")
CUT_SHORT = IntegrationRef("egret", "scim")
UNUSABLE = IntegrationRef("fulmar", "workday")
SLOW = IntegrationRef("gannet", "ldap-bridge")
TROUBLED = (REVOKED, LOGIN_PAGE, LEAVERS, CUT_SHORT, UNUSABLE, SLOW)

USERS_EACH = 40
PAGE = 10
_FAULTS = {
    REVOKED: "status_401_always",
    LOGIN_PAGE: "html_page",
    CUT_SHORT: "ends_too_early",
    SLOW: "slow_page",
}
IN_THE_REPORT = {
    REVOKED: "answered 401 Unauthorized",
    LOGIN_PAGE: "is not JSON (it is an HTML or XML document)",
    UNUSABLE: "of 41",  # under "Most unusable records"
    LEAVERS: "19",
    CUT_SHORT: "the provider counts 40 records and listed 10",
}
"""What the fleet report says of each; the slow one is on the page of its run."""

_TOKEN = "DIRECTORY_TOKEN"
_OF_SLOW = 10_000
"""Users of the slow one: 1,000 pages of a fifth of a second, so that nothing waits for its end."""


@dataclass
class Night:
    """The provider, the installation and its web server."""

    provider: FaultyProvider
    settings: Settings
    url: str

    def plant(self) -> None:
        """Put the six faults into what the provider answers."""
        for ref, fault in _FAULTS.items():
            self.provider.order_chaos(ref, Plan([Order(fault, times=ALWAYS)]))
        self.provider.edit(LEAVERS, remove=range(1, USERS_EACH // 2))
        self.provider.edit(UNUSABLE, add=[{"profile": {"displayName": "Without an id"}}])

    def mend(self) -> None:
        """Let every provider answer as before; those who left stay away.

        The record without an id stays, too: it is set aside, and harms nobody.
        """
        for ref in _FAULTS:
            self.provider.lift_chaos(ref)


def register(provider: FaultyProvider, settings: Settings) -> None:
    """Connect every integration of the provider, and bring it up to date."""
    os.environ[_TOKEN] = provider.token
    refs = list(provider.worlds())
    with SyncService.open(settings) as platform:
        for ref in refs:
            data = provider_data(provider.url, ref, {"env": _TOKEN}, limit=PAGE)
            platform.registry.add(ref, "rest", data)
        list(platform.sync(USERS, refs, sync_id="yesterday"))
        with open_instance(settings) as instance:
            repair_status(platform, instance)


@contextmanager
def night(folder: Path, healthy: int = 6) -> Iterator[Night]:
    """A night whose stores are in `folder`; everything ends with the context."""
    settings = load_settings(home=folder / "home")
    layout = DemoLayout(
        integrations=0,
        others={
            **{str(ref): USERS_EACH for ref in TROUBLED},
            str(SLOW): _OF_SLOW,
            **{f"customer-{n:02}:directory": USERS_EACH for n in range(healthy)},
        },
        page_size=PAGE,
    )
    with FaultyProvider(layout) as provider:
        register(provider, settings)
        with web_ui(folder, settings.home) as url:
            yield Night(provider, settings, url)


@contextmanager
def web_ui(folder: Path, home: Path) -> Iterator[str]:
    """The address of an `elt-assets dev` over `home`, which ends with the context."""
    ports = [free_port() for _ in range(3)]
    url = f"http://127.0.0.1:{ports[0]}"
    log = folder / "log"
    options = zip(("--port", "--health-port", "--feed-port"), map(str, ports), strict=True)
    with log.open("w") as output:
        dev = subprocess.Popen(
            [sys.executable, "-m", "elt_assets", "dev", *(one for pair in options for one in pair)],
            cwd=folder,
            env=environment(home),
            stdout=output,
            stderr=output,
        )
        try:
            wait_for(lambda: dev.poll() is not None or _answers(f"{url}/server_info"))
            assert dev.poll() is None, log.read_text()
            yield url
        finally:
            dev.terminate()
            dev.wait()


def environment(home: Path) -> dict[str, str]:
    """The environment of a command on the installation at `home`."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("DAGSTER_HOME")}
    return {**own, "ELT_ASSETS_HOME": str(home)}


def _answers(url: str) -> bool:
    try:
        return urllib3.request("GET", url, retries=False, timeout=60).status == 200
    except urllib3.exceptions.HTTPError:
        return False
