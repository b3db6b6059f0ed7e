"""Whatever is wrong with one integration: one clear line, nothing lost, nobody else harmed."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.settings import load_settings
from elt_assets.errors import DatabaseDamaged, InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.from_settings import operational_database, warehouses
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.store_tables import warehouse_layout
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.storage.processes import another_process, fill, small_disk

SICK = IntegrationRef("sick", "main")
WELL = [IntegrationRef("well", "one"), IntegrationRef("well", "two")]
EVERYBODY = [WELL[0], SICK, WELL[1]]
Providers = tuple[Provider, Provider]
TOKEN = "t0ken-that-no-message-shows"
PAGE = 5

# Holds the file at argv[1]/sick/main.duckdb, or the operational database argv[1].
WAREHOUSE_HOLDER = """
import sys
from pathlib import Path
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
with FileWarehouses(Path(sys.argv[1])).open(IntegrationRef("sick", "main")):
    print("holding", flush=True)
    input()
"""
DATABASE_HOLDER = """
import sys
from pathlib import Path
from elt_assets.storage.operational.sqlite_database import SqliteDatabase
with SqliteDatabase(Path(sys.argv[1])).transaction():
    print("holding", flush=True)
    input()
"""


def person(number: int, **changes: Any) -> dict[str, Any]:
    return {"id": f"u-{number:02}", "name": f"Person {number}", **changes}


@dataclass
class Town:
    """A sick integration among well ones, all of whose people a provider serves by page."""

    platform: SyncService
    provider: Provider
    sick_provider: Provider
    token_file: Path

    def __post_init__(self) -> None:
        self.people = {ref: [person(number) for number in range(20)] for ref in EVERYBODY}
        self.provider.answer = self.serve
        self.sick_provider.answer = self.serve

    def serve(self, asked: Asked) -> Reply:
        """A page, as a well provider gives it."""
        _, organization, integration, _ = asked.path.split("/")
        people = self.people[IntegrationRef(organization, integration)]
        start = int(asked.query.get("cursor", "0"))
        following = start + PAGE
        return as_json(
            {
                "data": {
                    "items": people[start:following],
                    "next": str(following) if following < len(people) else None,
                }
            }
        )

    def data(self, ref: IntegrationRef) -> dict[str, Any]:
        provider = self.sick_provider if ref == SICK else self.provider
        return {
            "api_endpoint": f"{provider.url}/{ref.organization_id}/{ref.integration_id}",
            "auth": {"type": "bearer", "token": {"file": str(self.token_file)}},
            "streams": {
                "users": {
                    "path": "/users",
                    "records": "data.items",
                    "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
                    "fields": {"external_id": "id", "name": "name", "email": "email"},
                }
            },
        }

    def sync(self, sync_id: str) -> dict[IntegrationRef, Outcome]:
        outcomes = self.platform.sync(USERS, EVERYBODY, sync_id=sync_id, pages_per_batch=1)
        return {IntegrationRef.parse(outcome.partition): outcome for outcome in outcomes}

    def names(self, ref: IntegrationRef) -> list[str]:
        return [row["name"] for row in self.platform.records(USERS, ref)]

    def rename_everybody(self) -> None:
        """Give every integration something to apply."""
        for people in self.people.values():
            people[0] = person(0, name="Renamed")

    def answer_sick(self, reply: Reply) -> None:
        """Let the sick integration's provider give this answer to everything."""
        self.sick_provider.answer = lambda _: reply


def opened(home: Path, providers: Providers, token_file: Path, **stores: Any) -> Town:
    """Nobody, or everybody who is in `home`."""
    settings = load_settings(
        home=home, fetch_attempts=2, fetch_first_wait=0, request_timeout=10, lock_wait=0.1
    )
    platform = SyncService(
        settings,
        stores.get("database") or operational_database(settings),
        warehouses(settings, warehouse_layout()),
    )
    token_file.write_text(TOKEN)
    return Town(platform, *providers, token_file)


def town_in(home: Path, providers: Providers, **stores: Any) -> Town:
    """Everybody registered, synced and well."""
    town = opened(home, providers, home.with_name("token"), **stores)
    for ref in EVERYBODY:
        town.platform.registry.add(ref, "rest", town.data(ref))
    first = town.sync("s1")
    assert {outcome.status for outcome in first.values()} == {Status.APPLIED}, first
    return town


@pytest.fixture(scope="module")
def providers() -> Iterator[Providers]:
    with Provider() as provider, Provider() as sick_provider:
        yield provider, sick_provider


@pytest.fixture(scope="module")
def settled(
    providers: Providers, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Path | None:
    """The home of a town, for copies; None where its stores are elsewhere."""
    if (
        pytestconfig.getoption("operational") != "sqlite"
        or pytestconfig.getoption("warehouse") != "files"
    ):
        return None
    home = tmp_path_factory.mktemp("town") / "home"
    town_in(home, providers).platform.close()
    return home


@pytest.fixture
def town(tmp_path: Path, providers: Providers, settled: Path | None) -> Iterator[Town]:
    home = tmp_path / "home"
    if settled is None:
        made = town_in(home, providers)
    else:
        shutil.copytree(settled, home)
        made = opened(home, providers, settled.with_name("token"))
    yield made
    made.platform.close()


def assert_one_clear_line(outcome: Outcome, cause: str) -> None:
    """The error names the integration and the cause, on one line and without a secret."""
    assert outcome.status is Status.FAILED, outcome
    assert outcome.error is not None
    assert outcome.error.startswith("sick:main: "), outcome.error
    assert cause in outcome.error
    assert len(outcome.error.splitlines()) == 1, outcome.error
    assert "unexpected" not in outcome.error
    assert TOKEN not in outcome.error


def assert_only_the_sick_one_fails(town: Town, cause: str, *, retryable: bool) -> None:
    """Sync everybody, one of whom is sick by now; then its latest rows are as they were."""
    before = town.platform.records(USERS, SICK)
    town.rename_everybody()
    outcomes = town.sync("s2")
    assert_one_clear_line(outcomes[SICK], cause)
    assert outcomes[SICK].retryable is retryable
    (row, *_) = town.platform.syncs(SICK)
    assert (row.sync_id, row.status, row.error) == ("s2", Status.FAILED, outcomes[SICK].error)
    assert town.platform.records(USERS, SICK) == before
    for ref in WELL:
        assert outcomes[ref].status is Status.APPLIED
        assert town.names(ref)[0] == "Renamed"


def assert_cured(town: Town) -> None:
    """The same sync, tried again, ends well."""
    outcome = town.sync("s2")[SICK]
    assert outcome.status is Status.APPLIED, outcome.error
    assert town.names(SICK) == [person["name"] for person in town.people[SICK]]


# The provider

ANSWERS = {
    "a page that is HTML": (
        Reply(b"<html><body>Welcome</body></html>"),
        "page 1 is not JSON (it is an HTML or XML document)",
        False,
    ),
    "a page that is text": (Reply(b"OK"), "page 1 is not JSON", False),
    "a page that is empty": (Reply(b""), "page 1 is empty", False),
    "a page that stops": (
        Reply(b'{"data": {"items": [{"id": "u-01"'),
        "page 1 stops in the middle of its JSON",
        True,
    ),
    "a page without the records path": (
        as_json({"data": {"users": [], "count": 0}}),
        "page 1 has no list at 'data.items' (found an object with keys count, users at 'data')",
        False,
    ),
    "a page whose records are no list": (
        as_json({"data": {"items": {"u-01": {}}}}),
        "page 1 has no list at 'data.items' (found an object with keys u-01",
        False,
    ),
    "a page with an error beside its records": (
        as_json({"error": {"code": "partial"}, "data": {"items": [], "next": None}}),
        "page 1 carries 'error' next to its records",
        False,
    ),
    "a 401": (as_json({"error": "who?"}, 401), "401", False),
    "a 403": (as_json({"error": "no"}, 403), "403", False),
    "a 404": (as_json({"error": "where?"}, 404), "404", False),
    "a 500": (as_json({"error": "oh"}, 500), "500", True),
    "a 503": (Reply(b"<html>maintenance</html>", 503), "503", True),
    "a redirect": (Reply(b"", 302, {"Location": "http://127.0.0.1:9/"}), "302", False),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_wrong_answer_fails_its_integration_alone(town: Town, name: str) -> None:
    reply, cause, retryable = ANSWERS[name]
    town.answer_sick(reply)
    assert_only_the_sick_one_fails(town, cause, retryable=retryable)
    town.sick_provider.answer = town.serve
    assert_cured(town)


def test_a_later_page_that_is_wrong_keeps_those_before_it(town: Town) -> None:
    def turn_bad(asked: Asked) -> Reply:
        return Reply(b"<html>") if asked.query.get("cursor") == "10" else town.serve(asked)

    town.sick_provider.answer = turn_bad
    assert_only_the_sick_one_fails(town, "page 3 is not JSON", retryable=False)
    town.sick_provider.answer = town.serve
    asked_before = len(town.sick_provider.asked)
    assert_cured(town)
    again = [asked.query["cursor"] for asked in town.sick_provider.asked[asked_before:]]
    assert again == ["10", "15"]


def test_an_endpoint_where_nobody_listens_fails_its_integration_alone(
    tmp_path: Path, providers: Providers
) -> None:
    with Provider() as closed:
        town = town_in(tmp_path / "home", (providers[0], closed))
    assert_only_the_sick_one_fails(town, f"cannot reach {closed.url}", retryable=True)
    town.platform.close()


def test_a_listing_without_end_deletes_nobody(town: Town) -> None:
    """A provider that gives the first page again and again."""
    town.people[SICK] = town.people[SICK][:PAGE]
    town.answer_sick(as_json({"data": {"items": town.people[SICK], "next": "7"}}))
    outcome = town.sync("s2")[SICK]
    assert outcome.status is Status.QUARANTINED
    assert any("leads back" in reason for reason in outcome.reasons)
    assert len(town.names(SICK)) == 20


# Records


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"name": "Nobody"}, "external_id is missing or not usable as a key"),
        ({"id": None, "name": "Nobody"}, "external_id is missing or not usable as a key"),
        ("u-07", "record is text, not an object"),
    ],
)
def test_a_record_without_an_id_is_set_aside_and_nobody_is_taken_for_gone(
    town: Town, record: object, reason: str
) -> None:
    town.rename_everybody()
    town.people[SICK][7] = record
    outcome = town.sync("s2")[SICK]
    assert outcome.status is Status.QUARANTINED
    assert outcome.counts.rejected == 1
    (letter,) = town.platform.rejected(USERS, SICK)
    assert (letter["key"], letter["reason"], letter["raw"]) == (None, reason, record)
    assert town.names(SICK) == ["Renamed", *(f"Person {number}" for number in range(1, 20))]


def test_a_record_of_the_wrong_kind_is_set_aside_and_its_user_stays(town: Town) -> None:
    town.rename_everybody()
    town.people[SICK][7] = person(7, name=["Person", "7"])
    outcome = town.sync("s2")[SICK]
    assert outcome.status is Status.APPLIED
    assert (outcome.counts.rejected, outcome.counts.shielded_deletes) == (1, 1)
    (letter,) = town.platform.rejected(USERS, SICK)
    assert (letter["key"], letter["reason"]) == ("u-07", "name is a list, not text")
    assert len(town.names(SICK)) == 20


def test_records_that_are_all_unusable_fail_their_integration_alone(town: Town) -> None:
    town.people[SICK] = [{"identifier": n} for n in range(20)]
    before = town.platform.records(USERS, SICK)
    outcomes = town.sync("s2")
    assert_one_clear_line(outcomes[SICK], "20 of 20 records cannot be used")
    assert town.platform.records(USERS, SICK) == before
    assert outcomes[WELL[0]].status is Status.UNCHANGED


# Secrets and configuration


@pytest.mark.parametrize(
    ("spoil", "cause"),
    [
        (Path.unlink, "cannot be read (FileNotFoundError)"),
        (lambda path: path.write_text(" \n"), "is empty"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "cannot be read (UnicodeDecodeError)"),
    ],
)
def test_a_secret_that_cannot_be_read_fails_its_integration_alone(
    town: Town, spoil: Callable[[Path], object], cause: str
) -> None:
    own = town.token_file.with_name("sick-token")
    own.write_text(TOKEN)
    town.platform.remove(SICK)
    data = town.data(SICK) | {"auth": {"type": "bearer", "token": {"file": str(own)}}}
    town.platform.registry.add(SICK, "rest", data)
    town.sync("s1")
    spoil(own)
    assert_only_the_sick_one_fails(town, f"secret file {own} {cause}", retryable=False)
    own.write_text(TOKEN)
    assert_cured(town)


def test_a_secret_that_the_provider_echoes_is_written_nowhere(
    town: Town, request: pytest.FixtureRequest
) -> None:
    def echo(asked: Asked) -> Reply:
        (_, token) = asked.headers["authorization"].split()
        return as_json({"error": {"code": token, "detail": asked.headers}}, 401)

    town.sick_provider.answer = echo
    outcome = town.sync("s2")[SICK]
    assert_one_clear_line(outcome, "[secret]")
    town.platform.close()
    settings = town.platform.settings
    folders = [settings.home, Path(settings.warehouse_data or settings.home / "nowhere")]
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    written = {str(path): path.read_bytes() for path in files if path != town.token_file}
    if settings.operational_url is not None:
        rows = request.getfixturevalue("postgresql").rows()
        written |= {row: row.encode() for row in rows}
    assert len(written) >= 4
    assert [name for name, content in written.items() if TOKEN.encode() in content] == []


def test_a_variable_that_is_not_set_fails_its_integration_alone(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SICK_TOKEN", TOKEN)
    town.platform.remove(SICK)
    data = town.data(SICK) | {"auth": {"type": "bearer", "token": {"env": "SICK_TOKEN"}}}
    town.platform.registry.add(SICK, "rest", data)
    town.sync("s1")
    monkeypatch.delenv("SICK_TOKEN")
    assert_only_the_sick_one_fails(
        town, "environment variable SICK_TOKEN is not set", retryable=False
    )


@pytest.mark.parametrize(
    ("column", "value", "cause"),
    [
        ("provider", "of-a-later-release", "provider 'of-a-later-release' is unknown"),
        ("provider_data", '{"api_endpoint": "https://x.example"}', "provider_data: streams"),
        ("provider_data", "[]", "provider_data is not an object"),
    ],
)
def test_a_configuration_this_release_cannot_read_fails_its_integration_alone(
    town: Town, column: str, value: str, cause: str
) -> None:
    with town.platform.database.transaction() as transaction:
        transaction.execute(
            f"UPDATE connected_integrations SET {column} = ? WHERE organization_id = 'sick'",
            (value,),
        )
    assert_only_the_sick_one_fails(town, cause, retryable=False)


@pytest.mark.parametrize(
    ("provider", "change", "cause"),
    [
        ("rset", {}, "provider 'rset' is unknown; did you mean rest?"),
        ("rest", {"api_endpoint": "ftp://x.example"}, "provider_data: api_endpoint: "),
        ("rest", {"streams": {}}, "provider_data: streams: "),
        ("rest", {"tokn": "x"}, "provider_data: tokn: is not a known field"),
        ("rest", {"auth": {"type": "bearer", "token": TOKEN}}, "provider_data: auth.token"),
    ],
)
def test_what_cannot_be_registered_is_one_clear_line_and_writes_nothing(
    town: Town, provider: str, change: dict[str, Any], cause: str
) -> None:
    new = IntegrationRef("new", "main")
    with pytest.raises(InvalidInput) as refused:
        town.platform.registry.add(new, provider, town.data(SICK) | change)
    assert cause in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1
    assert TOKEN not in str(refused.value)
    assert [integration.ref for integration in town.platform.registry.all()] == EVERYBODY


# Files and disks


@pytest.mark.files
@pytest.mark.parametrize("content", [b"", b"garbage" * 5000])
def test_a_damaged_warehouse_fails_its_integration_alone_and_is_made_anew_once_moved(
    town: Town, content: bytes
) -> None:
    path = town.platform.warehouses.path(SICK)
    path.write_bytes(content)
    assert_only_the_sick_one_fails(town, f"warehouse file {path} is damaged", retryable=False)
    path.rename(path.with_suffix(".damaged"))
    assert_cured(town)
    assert len(town.names(SICK)) == 20


@pytest.mark.files
def test_a_warehouse_that_another_process_holds_fails_its_integration_alone(town: Town) -> None:
    root = town.platform.settings.warehouse_path
    with another_process(WAREHOUSE_HOLDER, root) as holder:
        assert holder.hears() == "holding"
        assert_only_the_sick_one_fails(town, f"(PID {holder.pid})", retryable=True)
    assert_cured(town)


@pytest.mark.files
def test_a_full_disk_fails_its_integration_alone_and_is_continued_with_room(
    tmp_path: Path, providers: Providers
) -> None:
    (tmp_path / "home" / "olap").mkdir(parents=True)
    with small_disk(tmp_path / "home" / "olap" / "sick") as disk:
        town = town_in(tmp_path / "home", providers)
        town.people[SICK] += [person(number, email="e" * 60_000) for number in range(20, 60)]
        filler = fill(disk)
        cause = f"no space left for {town.platform.warehouses.path(SICK)}"
        assert_only_the_sick_one_fails(town, cause, retryable=True)
        filler.unlink()
        town.people[SICK] = town.people[SICK][:20]
        assert_cured(town)
        town.platform.close()


@pytest.mark.files
def test_a_full_disk_under_everything_changes_nothing_and_is_continued_with_room(
    tmp_path: Path, providers: Providers, caplog: pytest.LogCaptureFixture
) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        town = town_in(disk / "home", providers)
        before = [town.platform.records(USERS, ref) for ref in EVERYBODY]
        town.rename_everybody()
        filler = fill(disk)
        with caplog.at_level(logging.CRITICAL):
            outcomes = town.sync("s2")
        for ref in EVERYBODY:
            error = str(outcomes[ref].error)
            assert outcomes[ref].status is Status.FAILED
            assert error.startswith(f"{ref}: no space left for {disk}/home/")
            assert outcomes[ref].retryable
        assert [town.platform.records(USERS, ref) for ref in EVERYBODY] == before
        filler.unlink()
        assert {outcome.status for outcome in town.sync("s2").values()} == {Status.APPLIED}
        town.platform.close()


@pytest.mark.files
def test_an_operational_database_that_stays_locked_changes_nothing(
    tmp_path: Path, providers: Providers
) -> None:
    path = tmp_path / "home" / "oltp.db"
    database = SqliteDatabase(path, attempts=2, first_wait=0.001, busy_timeout=0.01)
    town = town_in(tmp_path / "home", providers, database=database)
    before = town.platform.records(USERS, SICK)
    town.rename_everybody()
    with another_process(DATABASE_HOLDER, path) as holder:
        assert holder.hears() == "holding"
        outcomes = town.sync("s2")
        assert_one_clear_line(outcomes[SICK], f"{path} stayed locked by another process")
        assert outcomes[SICK].retryable
        assert town.platform.records(USERS, SICK) == before
    assert_cured(town)
    town.platform.close()


@pytest.mark.files
def test_a_damaged_operational_database_is_one_clear_line(town: Town) -> None:
    settings = town.platform.settings
    town.platform.close()
    settings.database_path.write_bytes(b"garbage" * 5000)
    with pytest.raises(DatabaseDamaged) as damaged:
        SyncService.open(settings)
    assert str(damaged.value).startswith(f"{settings.database_path} cannot be read")
    assert len(str(damaged.value).splitlines()) == 1
