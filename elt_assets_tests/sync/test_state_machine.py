"""Any interleaving of changes, syncs, failures, crashes and repeats, against a dictionary.

The oracle knows nothing of batches, versions or tables. It keeps the pages as the provider
last served them and, when a sync settles, works out in a few lines what must then be in
the latest table. Everything else is checked against that table or against itself.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from elt_assets.errors import ProviderUnavailable
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import OPERATIONAL_TABLES, tables_of, warehouse_layout
from elt_assets.sync.streams import USERS
from elt_assets_tests.sync.crashing import Boundaries, Crash, watched, watched_warehouses
from elt_assets_tests.sync.worlds import ACME, Company, World, expected, people, person
from elt_assets_tests.testbed.lakes import fresh_stores

PEOPLE = st.integers(0, 3)
PAGES = st.integers(0, 4)
MOMENTS = st.integers(0, 30)
CONTENT = st.fixed_dictionaries(
    {"name": st.sampled_from(["Ada", "Grace", "", None])},
    optional={
        "email": st.sampled_from(["a@example.com", "", None]),
        "status": st.sampled_from(["ACTIVE", "LOCKED"]),
        "team": st.sampled_from(["blue", {"name": "red"}, None]),
        "updated": st.sampled_from([None, 1, 2]),
    },
)
# What happens at the provider: the name of a method of `Provider`, and what it is told.
EVENTS = st.lists(
    st.tuples(st.just("join_or_change"), st.tuples(PEOPLE, CONTENT))
    | st.tuples(st.just("list_once_more"), st.tuples(PEOPLE, CONTENT, st.integers(0, 6)))
    | st.tuples(st.just("leave"), st.tuples(PEOPLE))
    | st.tuples(st.sampled_from(["become_unusable", "mend", "list_nobody"]), st.tuples(PEOPLE))
    | st.tuples(st.just("list_without_id"), st.tuples(st.integers(0, 6))),
    max_size=5,
)

Users = dict[str, dict[str, Any]]
Events = list[tuple[str, tuple[Any, ...]]]

# Waiting for a disk to confirm thousands of commits would teach nothing about their order.
DISK_IN_MEMORY = next((path for path in ("/dev/shm",) if Path(path).is_dir()), None)


class Oracle:
    """What the latest table must hold, by the few rules a user would state."""

    def __init__(self, *, needs_two_absences: bool) -> None:
        self.latest: Users = {}
        self.pages: dict[int, list[Any]] = {}
        self._needs_two_absences = needs_two_absences
        self._missed_once: set[str] = set()

    def settle(self) -> Status:
        """The pages served are a sync's extraction; returns how it must end."""
        records = [record for _, page in sorted(self.pages.items()) for record in page]
        valid = [record for record in records if isinstance(record.get("name"), str | None)]
        valid = [record for record in valid if "id" in record]
        newest: dict[str, dict[str, Any]] = {}
        for record in sorted(valid, key=lambda record: record.get("updated") or 0):
            newest[record["id"]] = record
        listed = expected(list(newest.values()))
        proven = listed.keys() | {record["id"] for record in records if "id" in record}
        missing = self.latest.keys() - proven
        complete = all("id" in record for record in records) and not (
            self._needs_two_absences and self._on_two_pages()
        )
        before = self.latest
        unlisted = before.keys() - listed.keys()
        joined = listed.keys() - before.keys()
        # Everybody gone and others there: the keys have changed, not the people.
        if missing and len(before) > 1 and unlisted == before.keys() and len(joined) > 1:
            self._missed_once -= listed.keys()
            return Status.QUARANTINED
        self.latest = self.latest | listed
        self._missed_once -= listed.keys()
        if missing and not (complete and listed):
            return Status.QUARANTINED
        gone = missing
        if self._needs_two_absences:
            gone = missing & self._missed_once
            if complete:
                self._missed_once = missing - gone
        self.latest = {key: user for key, user in self.latest.items() if key not in gone}
        return Status.UNCHANGED if self.latest == before else Status.APPLIED

    def _on_two_pages(self) -> bool:
        """Whether a usable record came on more than one page: the pages may have shifted."""
        pages = [
            {r["id"] for r in page if "id" in r and isinstance(r.get("name"), str | None)}
            for page in self.pages.values()
        ]
        return sum(map(len, pages)) > len(set().union(*pages))


class Provider:
    """A listing, and everything that can happen to it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def live(self, events: Events) -> None:
        """Let these things happen, one after the other."""
        for name, told in events:
            getattr(self, name)(*told)

    def join_or_change(self, number: int, content: dict[str, Any]) -> None:
        self.leave(number)
        self._world.records.append(person(number, **content))

    def list_once_more(self, number: int, content: dict[str, Any], place: int) -> None:
        self._world.records.insert(place, person(number, **content))

    def leave(self, number: int) -> None:
        key = person(number)["id"]
        self._world.records[:] = [r for r in self._world.records if r.get("id") != key]

    def become_unusable(self, number: int) -> None:
        self.leave(number)
        self._world.records.append(person(number, name=["not", "text"]))

    def list_without_id(self, place: int) -> None:
        self._world.records.insert(place, {"name": "Nobody"})

    def list_nobody(self, _: int) -> None:
        self._world.records.clear()

    def mend(self, number: int) -> None:
        """List everybody soundly, and `number` among them."""
        sound = {record["id"]: record for record in self._world.records if "id" in record}
        sound |= {
            key: person(int(key[2:])) for key, r in sound.items() if isinstance(r["name"], list)
        }
        self._world.records = list(({person(number)["id"]: person(number)} | sound).values())


class Syncs(RuleBasedStateMachine):
    """One integration's life. `needs_two_absences` is set by subclasses."""

    needs_two_absences = False

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(dir=DISK_IN_MEMORY)
        self.company = Company(Path(self._folder.name) / "home", **fresh_stores(), **OPEN_LIMITS)
        self.world = self.company.connect(
            world=World([], page_size=2, snapshot=not self.needs_two_absences)
        )
        self.provider = Provider(self.world)
        self.oracle = Oracle(needs_two_absences=self.needs_two_absences)
        confirm_deletes(self.company, "grace" if self.needs_two_absences else "none")
        self.unfinished: str | None = None
        self.overtaken: list[str] = []
        self.settled: dict[str, Outcome] = {}
        self.begun = 0

    def teardown(self) -> None:
        self.company.platform.close()
        self._folder.cleanup()

    @initialize(crowd=st.integers(0, 4))
    def begin_with_a_few_people(self, crowd: int) -> None:
        self.world.records = people(crowd)
        self.sync([])

    # What the platform is asked to do, after something happened at the provider

    @rule(events=EVENTS)
    def sync(self, events: Events) -> None:
        self.provider.live(events)
        self._start_anew()
        self._settle(self._sync())

    @rule(events=EVENTS, page=PAGES)
    def sync_while_the_provider_fails(self, events: Events, page: int) -> None:
        self.provider.live(events)
        self._start_anew()
        self._let_page_fail(page)

    @rule(events=EVENTS, moment=MOMENTS)
    def sync_and_crash(self, events: Events, moment: int) -> None:
        self.provider.live(events)
        self._start_anew()
        self._crash_at(moment)

    @precondition(lambda self: self.unfinished)
    @rule(events=EVENTS)
    def try_again(self, events: Events) -> None:
        self.provider.live(events)
        self._settle(self._sync())

    @precondition(lambda self: self.unfinished)
    @rule(events=EVENTS, page=PAGES)
    def try_again_while_the_provider_fails(self, events: Events, page: int) -> None:
        self.provider.live(events)
        self._let_page_fail(page)

    @precondition(lambda self: self.unfinished)
    @rule(events=EVENTS, moment=MOMENTS)
    def try_again_and_crash(self, events: Events, moment: int) -> None:
        self.provider.live(events)
        self._crash_at(moment)

    @precondition(lambda self: self.settled)
    @rule(which=st.integers(0, 99))
    def repeat_a_settled_sync(self, which: int) -> None:
        sync_id = sorted(self.settled)[which % len(self.settled)]
        served, before = len(self.world.served), contents(self.company.platform)
        again = self.company.sync(sync_id=sync_id, pages_per_batch=1)
        assert again.recorded
        assert again.as_json() == self.settled[sync_id].as_json()
        assert len(self.world.served) == served
        assert contents(self.company.platform) == before

    @precondition(lambda self: self.overtaken and self.settled and not self.unfinished)
    @rule()
    def try_a_sync_that_a_later_one_overtook(self) -> None:
        before = self.company.users()
        outcome = self.company.sync(sync_id=self.overtaken.pop(), pages_per_batch=1)
        assert outcome.status is Status.SUPERSEDED
        assert self.company.users() == before

    @precondition(lambda self: self.settled)
    @rule()
    def rebuild_the_table_from_the_log(self) -> None:
        if self.company.platform.changes(USERS, ACME):
            before = self.company.users()
            self.company.platform.rebuild(USERS, ACME)
            assert self.company.users() == before

    # What must hold at any time

    @invariant()
    def the_latest_table_is_what_the_oracle_says(self) -> None:
        assert self.company.users() == self.oracle.latest

    @invariant()
    def the_books_balance(self) -> None:
        latest = 0
        rows = [row for row in self.company.platform.syncs(ACME, limit=1000) if row.version]
        for row in sorted(rows, key=lambda row: row.version or 0):
            c = row.counts
            assert c.fetched == c.staged + c.rejected
            assert c.staged == c.unique + c.duplicates
            withheld = c.withheld_inserts + c.withheld_updates
            assert c.unique == c.inserts + c.updates + withheld + c.unchanged
            assert c.latest == c.latest_before + c.inserts - c.deletes
            assert c.latest_before == latest
            latest = c.latest
        assert latest == len(self.oracle.latest)

    @invariant()
    def the_change_log_replays_to_the_latest_table(self) -> None:
        users: Users = {}
        keys_of_syncs: Counter[tuple[str, str]] = Counter()
        for change in self.company.platform.changes(USERS, ACME):
            key = change["external_id"]
            keys_of_syncs[change["sync_id"], key] += 1
            if change["change_type"] == "INSERT":
                assert key not in users
                assert change["before"] is None
            else:
                assert change["before"] == {"external_id": key} | users[key]
            if change["change_type"] == "DELETE":
                assert change["after"] is None
                del users[key]
            else:
                users[key] = {n: v for n, v in change["after"].items() if n != "external_id"}
        assert users == self.oracle.latest
        assert set(keys_of_syncs.values()) <= {1}

    # How it is done

    def _start_anew(self) -> None:
        if self.unfinished in {row.sync_id for row in self.company.platform.syncs(ACME)}:
            self.overtaken.append(self.unfinished)
        self.begun += 1
        self.unfinished = f"sync-{self.begun:03}"
        self.oracle.pages = {}

    def _sync(self) -> Outcome:
        """Sync what is unfinished, noting the pages as the provider served them last."""
        assert self.unfinished is not None
        self.world.on_page = self._note_page
        return self.company.sync(sync_id=self.unfinished, pages_per_batch=1)

    def _note_page(self, number: int) -> None:
        # A page that is served comes after all that were committed. What followed it before was
        # fetched ahead by an attempt that died.
        kept = {one: page for one, page in self.oracle.pages.items() if one < number}
        start = number * self.world.page_size
        served = self.world.records[start : start + self.world.page_size]
        self.oracle.pages = kept | {number: served}

    def _settle(self, outcome: Outcome) -> None:
        assert self.unfinished is not None
        assert outcome.status is self.oracle.settle(), outcome
        self.settled[self.unfinished] = outcome
        self.unfinished = None
        if not outcome.recorded:
            assert self._history() == self.oracle.latest.keys()

    def _let_page_fail(self, page: int) -> None:
        self.world.fail_at[page] = ProviderUnavailable("away for a moment")
        outcome = self._sync()
        self.world.fail_at.clear()
        if outcome.status is Status.FAILED:
            assert outcome.retryable
        else:
            self._settle(outcome)

    def _crash_at(self, moment: int) -> None:
        """Sync in a process that dies at that boundary, then look what a next one finds."""
        self._restart().arm(moment)
        try:
            outcome: Outcome | None = self._sync()
        except Crash:
            outcome = None
        self._restart()
        if outcome is None:
            rows = self.company.platform.syncs(ACME, limit=1)
            if rows and rows[0].sync_id == self.unfinished and rows[0].status.settled:
                outcome = rows[0].outcome()
        if outcome is not None:
            self._settle(outcome)

    def _history(self) -> set[str]:
        """Whom the warehouse alone takes for present."""
        with self.company.platform.warehouses.open(ACME, read_only=True) as connection:
            rows = connection.execute(
                "SELECT external_id FROM users_history WHERE valid_to IS NULL"
            ).fetchall()
        return {key for (key,) in rows}

    def _restart(self) -> Boundaries:
        boundaries = Boundaries()
        restart(self.company, boundaries)
        return boundaries


class SyncsThatNeedTwoAbsences(Syncs):
    """The same life where a user goes only when missing from two complete extractions."""

    needs_two_absences = True


def confirm_deletes(company: Company, way: str) -> None:
    """Fix how missing users are confirmed, which else depends on how often a sync was tried."""
    company.configure(safeguards={"delete_confirmation": way})


def restart(company: Company, boundaries: Boundaries) -> None:
    """Let another process open the same installation, with commits that can be counted."""
    installation = company.platform.settings
    company.platform.close()
    company.platform = SyncService(
        installation,
        watched(operational_database(installation), boundaries),
        watched_warehouses(warehouses(installation, warehouse_layout()), boundaries),
        company._open_source,
    )


OPEN_LIMITS: dict[str, object] = {
    "max_delete_share": 1,
    "max_delete_count": 1_000_000,
    "max_deactivate_share": 1,
    "max_deactivate_count": 1_000_000,
    "max_loss_share": 1,
    "max_loss_count": 1_000_000,
    "max_reject_share": 1,
}


def contents(platform: SyncService) -> dict[str, list[Any]]:
    """Everything both stores hold of the integration."""
    found: dict[str, list[Any]] = {
        table: platform.database.rows(f"SELECT * FROM {table}") for table in OPERATIONAL_TABLES
    }
    with platform.warehouses.open(ACME, read_only=True) as warehouse:
        for name in ("warehouse_schema", *(table.name for table in tables_of([USERS]))):
            found[name] = warehouse.execute(f"SELECT * FROM {name} ORDER BY ALL").fetchall()
    return found


MACHINES = [Syncs, SyncsThatNeedTwoAbsences]


@pytest.mark.parametrize("machine", MACHINES)
def test_no_interleaving_loses_doubles_or_wrongly_deletes_anybody(
    machine: type[Syncs],
) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=4, stateful_step_count=20))


@pytest.mark.campaign(100)
@pytest.mark.parametrize("machine", MACHINES)
def test_no_interleaving_does_so_in_a_long_search_either(machine: type[Syncs]) -> None:
    run_state_machine_as_test(machine, settings=settings(max_examples=16, stateful_step_count=40))


def changed_company(folder: Path) -> Company:
    """Users of a first sync, two of whom have changed, one left and one joined since."""
    company = Company(folder / "home", **fresh_stores())
    world = company.connect(world=World(people(12), page_size=4))
    confirm_deletes(company, "none")
    company.sync(sync_id="first")
    world.records = [person(0, name="Ada"), person(1, team=None), *people(11)[2:], person(50)]
    return company


def result(company: Company) -> dict[str, Any]:
    """What a sync left behind, without times and without how often it was tried."""
    (row, *_) = company.platform.syncs(ACME)
    return {
        "users": company.users(),
        "changes": [
            {name: value for name, value in change.items() if name != "detected_at"}
            for change in company.platform.changes(USERS, ACME)
        ],
        # A crash costs requests, and forgets those of the attempt that it ended.
        "ledger": (
            row.sync_id,
            row.status,
            row.version,
            msgspec.structs.replace(row.counts, requests=0),
        ),
        "certificate": msgspec.structs.replace(row.certificate, extraction_runs=1),
        "staged": company.platform.counts(USERS, ACME),
    }


def crash_and_recover(folder: Path, moment: int) -> tuple[Company, bool]:
    """Sync in a process that dies at `moment`, if it has so many, and again in a next one."""
    company = changed_company(folder)
    boundaries = Boundaries()
    restart(company, boundaries)
    boundaries.arm(moment)
    try:
        company.sync(sync_id="second", pages_per_batch=1)
        crashed = False
    except Crash:
        crashed = True
    restart(company, Boundaries())
    company.sync(sync_id="second", pages_per_batch=1)
    return company, crashed


def test_a_crash_at_any_commit_leaves_what_an_uninterrupted_twin_has() -> None:
    with tempfile.TemporaryDirectory(dir=DISK_IN_MEMORY) as folder:
        twin = changed_company(Path(folder) / "twin")
        twin.sync(sync_id="second", pages_per_batch=1)
        wanted = result(twin)
        twin.platform.close()
        for moment in range(1000):
            company, crashed = crash_and_recover(Path(folder) / str(moment), moment)
            found = result(company)
            company.platform.close()
            assert found == wanted, f"at moment {moment}"
            if not crashed:
                break
        # Opening, three batches, detection and apply, each commit with a moment on both sides.
        assert moment >= 2 * 6
