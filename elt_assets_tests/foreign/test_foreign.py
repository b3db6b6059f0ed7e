"""Servers that we did not write, read while their people leave, join and change.

Not part of `make test`: python -m pytest -m foreign elt_assets_tests/foreign
installs the servers from PyPI and npm (node and PostgreSQL must be there) and takes a while.
"""

from __future__ import annotations

import io
import os
import random
from collections.abc import Callable
from contextlib import AbstractContextManager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from elt_assets.cli.commands.sync import new_sync_id, show, status_of
from elt_assets.config.settings import load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.foreign.between import between
from elt_assets_tests.foreign.canaille import canaille
from elt_assets_tests.foreign.django_scim2 import django_scim2
from elt_assets_tests.foreign.json_server import json_server
from elt_assets_tests.foreign.jupyterhub import jupyterhub
from elt_assets_tests.foreign.parse_server import parse_server
from elt_assets_tests.foreign.running import TOKEN, Directory
from elt_assets_tests.foreign.scimmy import scimmy
from elt_assets_tests.foreign.synapse import synapse
from elt_assets_tests.foreign.world import Harm, World

pytestmark = pytest.mark.foreign

ROUNDS = int(os.environ.get("FOREIGN_ROUNDS", "100"))
PEOPLE = 70
TRIES = 5
REF = IntegrationRef("acme", "dir")
SERVERS: dict[str, Callable[[Path], AbstractContextManager[Directory]]] = {
    "JupyterHub": jupyterhub,
    "Matrix Synapse": synapse,
    "parse-server": partial(parse_server, estimate=False),
    "parse-server, estimate declared": partial(parse_server, estimate=True),
    "json-server": json_server,
    "SCIMMY on Express 4": partial(scimmy, express=4),
    "SCIMMY on Express 5": partial(scimmy, express=5),
    "django-scim2": django_scim2,
    "Canaille": canaille,
}
ONE_PAGE = {"Canaille"}
"""Everybody is on one page, so that there is no time between two."""
NEVER_COMPLETE = {"parse-server", "SCIMMY on Express 5"}
"""The count is wrong, or the listing never gets past its first page; nobody is deleted then."""
COUNTS_BY_ESTIMATE = {"parse-server", "parse-server, estimate declared"}
"""An estimate may fit a listing that lost somebody: nobody could tell."""


@dataclass(frozen=True)
class Synced:
    """A sync; `said` if the terminal names a reason why its listing is not complete."""

    status: int
    said: bool
    outcome: Outcome


class Run:
    """An installation that reads one directory, and what `elt-assets sync` says of it."""

    def __init__(self, platform: SyncService, directory: Directory, url: str) -> None:
        self.platform = platform
        platform.registry.add(REF, directory.provider, directory.data(url))

    def sync(self) -> Synced:
        """One sync, as the command shows it; continued as it says where it failed."""
        sync_id = new_sync_id()
        for _ in range(TRIES):
            outcomes = list(self.platform.sync(USERS, [REF], sync_id=sync_id))
            if outcomes[0].status is not Status.FAILED:
                break
        terminal = io.StringIO()
        with redirect_stdout(terminal), redirect_stderr(terminal):
            show(outcomes)
            status = status_of(outcomes, outcomes[0].sync_id)
        assert status in (0, 3), (outcomes, terminal.getvalue())
        (outcome,) = outcomes
        shown = terminal.getvalue()
        said = any(reason in shown for reason in outcome.certificate.reasons)
        return Synced(status, said, outcome)

    def users(self) -> dict[str, dict[str, Any]]:
        """The latest table by key."""
        return {user["external_id"]: user for user in self.platform.records(USERS, REF)}


def shown(run: Run) -> dict[str, tuple[Any, ...]]:
    """Name, address and state of each user of ours."""
    return {key: (user["name"], user["email"], user["active"]) for key, user in run.users().items()}


def answered(directory: Directory, keys: list[str]) -> dict[str, tuple[Any, ...]]:
    """The same by the server's own answers for one user at a time."""
    found = {}
    for key in keys:
        user = directory.api("GET", f"{directory.listing}/{key}")
        address = (user.get("emails") or [{}])[0].get("value") or None
        found[user["id"]] = (user["displayName"], address, user["active"])
    return found


@pytest.mark.parametrize("name", ["django-scim2", "Canaille", "SCIMMY on Express 4"])
def test_a_scim_server_is_copied_exactly(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOREIGN_TOKEN", TOKEN)
    (tmp_path / "server").mkdir()
    settings = load_settings(home=tmp_path / "ours", max_delete_share=1)
    with SERVERS[name](tmp_path / "server") as directory, SyncService.open(settings) as platform:
        run = Run(platform, directory, directory.url)
        keys = [directory.join(number) for number in range(1, 31)]
        assert run.sync().outcome.certificate.complete
        assert shown(run) == answered(directory, keys)
        directory.change(keys[3], "Another")
        directory.leave(keys.pop(5))
        keys.append(directory.join(31))
        counts = run.sync().outcome.counts
        assert (counts.inserts, counts.updates, counts.deletes) == (1, 1, 1)
        assert shown(run) == answered(directory, keys)
        assert run.sync().outcome.status is Status.UNCHANGED


@pytest.mark.parametrize("name", [name for name in SERVERS if name not in ONE_PAGE])
def test_nobody_is_harmed_who_is_there_while_a_listing_is_read(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "server").mkdir()
    with SERVERS[name](tmp_path / "server") as directory:
        world = World(directory, random.Random(7), here=directory.everybody())
        world.populate(PEOPLE)
        monkeypatch.setenv("FOREIGN_TOKEN", getattr(directory, "token", TOKEN))
        # Hundreds leave within minutes here, which the limits would rightly withhold.
        settings = load_settings(
            home=tmp_path / "ours", max_delete_share=1, max_delete_count=1_000_000
        )
        with (
            between(directory.url, directory.listing, world.after_page) as url,
            SyncService.open(settings) as platform,
        ):
            run = Run(platform, directory, url)
            run.sync()
            harm, complete, said, requests = Harm(), 0, 0, 0
            for _ in range(ROUNDS):
                before, there = run.users(), set(world.here)
                world.moving = True
                synced = run.sync()
                world.moving = False
                complete += synced.outcome.certificate.complete
                said += synced.said
                requests += synced.outcome.counts.requests
                harm.judge(there & world.here, before, run.users(), said=synced.said)
            # Who left leaves within two complete listings.
            quiet = 0
            while quiet < 3 and (quiet == 0 or run.users().keys() != world.here):
                synced = run.sync()
                quiet += 1
            found = set(run.users())
    with capsys.disabled():
        print(
            f"\n{name}: {ROUNDS} listings, {requests} requests; {world.left} left, "
            f"{world.joined} joined, {world.changed} changed while they were read; falsely "
            f"deleted {len(harm.deleted)}, deactivated {len(harm.deactivated)}, missing with a "
            f"reason {harm.missing_with_reason}, without one {len(harm.missing)}; "
            f"{complete} listings complete, {said} shown with a reason why not; "
            f"right after {quiet} quiet syncs: {found == world.here}"
        )
    assert harm.deleted == []
    assert harm.deactivated == []
    assert harm.missing == [] or name in COUNTS_BY_ESTIMATE
    if name in NEVER_COMPLETE:
        assert said == ROUNDS
        assert not synced.outcome.certificate.complete
    else:
        assert found == world.here
