"""What provider_data may refer to, where the operator writes it and where tenants may."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.config.settings import InvalidSettings, load_settings
from elt_assets.connectors import catalog
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.own_places import OwnPlaces
from elt_assets.connectors.tenant_rules import TenantRules, drop_folder
from elt_assets.errors import EltAssetsError, InvalidInput, PermanentError, SecretMissing
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS

ACME = IntegrationRef("acme", "main")
ACME_EU = IntegrationRef("acme-eu", "main")
LONG_AGO = 1_700_000_000


def rules(home: Path, **settings: Any) -> TenantRules:
    return TenantRules.of(load_settings(home=home, **settings))


def strict(home: Path, **settings: Any) -> TenantRules:
    return rules(home, tenant_rules="strict", **settings)


def rest(token: dict[str, str]) -> dict[str, Any]:
    return {
        "api_endpoint": "https://directory.example",
        "auth": {"type": "bearer", "token": token},
        "streams": {
            "users": {
                "path": "/users",
                "pagination": {"type": "none"},
                "fields": {"external_id": "id"},
            }
        },
    }


def files(directory: Path | None) -> dict[str, Any]:
    data: dict[str, Any] = {
        "settle_seconds": 0,
        "streams": {"users": {"path": "**/users.csv", "fields": {"external_id": "id"}}},
    }
    return data if directory is None else {**data, "directory": str(directory)}


def read(data: dict[str, Any], home: Path, used: TenantRules) -> list[bytes]:
    limits = FetchLimits(1, 0, 10, 1 << 26, 100, rules=used, own=OwnPlaces(home))
    source = catalog.open_source("files", data, "users", secrets=Secrets(), limits=limits, ref=ACME)
    return [page.body for page in source.pages(None)]


def dropped(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("id\n1\n")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home that is no folder of the test's own files."""
    return tmp_path / "home"


@pytest.mark.parametrize(
    "path", ["/proc/self/environ", "/proc/1/environ", "/dev/stdin", "/sys/kernel/vmcoreinfo"]
)
@pytest.mark.parametrize("mode", ["trusted", "strict"])
def test_processes_and_devices_are_no_secrets(home: Path, path: str, mode: str) -> None:
    allowed = rules(home, tenant_rules=mode, tenant_secrets="file:/*")
    with pytest.raises(InvalidInput, match="processes or devices"):
        catalog.validate("rest", rest({"file": path}), rules=allowed, ref=ACME)


def test_a_link_to_the_environment_is_no_secret(home: Path, tmp_path: Path) -> None:
    link = tmp_path / "token"
    link.symlink_to("/proc/self/environ")
    with pytest.raises(InvalidInput, match="processes or devices"):
        rules(home).check_secret(SecretRef(file=str(link)), ACME)


def test_a_pipe_in_the_place_of_a_secret_holds_nobody_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token")
    with pytest.raises(SecretMissing, match="is not a file that holds text"):
        Secrets().resolve(SecretRef(file=str(tmp_path / "token")))


def test_a_file_larger_than_a_secret_is_not_read_into_memory(tmp_path: Path) -> None:
    (tmp_path / "token").write_bytes(b"a" * (2**16 + 1))
    with pytest.raises(SecretMissing, match="larger than 65,536 bytes"):
        Secrets().resolve(SecretRef(file=str(tmp_path / "token")))


@pytest.mark.parametrize(
    "secret",
    [{"env": "ELT_ASSETS_SMTP_PASSWORD"}, {"env": "DATABASE_PASSWORD"}, {"file": "oltp.db"}],
)
def test_the_platforms_own_secrets_are_nobodys(home: Path, secret: dict[str, str]) -> None:
    if "file" in secret:
        secret = {"file": str(home / secret["file"])}
    used = rules(home, operational_password="env:DATABASE_PASSWORD")
    with pytest.raises(InvalidInput, match="of the platform"):
        catalog.validate("rest", rest(secret), rules=used, ref=ACME)


def test_strict_rules_give_a_secret_by_the_prefix_of_its_organization(home: Path) -> None:
    catalog.validate("rest", rest({"env": "ACME_TOKEN"}), rules=strict(home), ref=ACME)
    with pytest.raises(InvalidInput) as refused:
        catalog.validate("rest", rest({"env": "OTHER_TOKEN"}), rules=strict(home), ref=ACME)
    assert str(refused.value) == (
        "secret env:OTHER_TOKEN is not acme:main's: under ELT_ASSETS_TENANT_RULES=strict it must "
        "begin with ACME_, or the operator adds it to ELT_ASSETS_TENANT_SECRETS"
    )
    catalog.validate("rest", rest({"env": "OTHER_TOKEN"}), rules=rules(home), ref=ACME)


def test_strict_rules_give_a_secret_from_the_operators_list(home: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "secrets" / "acme"
    mounted.mkdir(parents=True)
    (mounted / "token").write_text("t0ken")
    (mounted / "link").symlink_to(tmp_path / "elsewhere")
    listed = strict(home, tenant_secrets=f"env:SHARED_*, acme=env:ONE, acme=file:{mounted}/*")
    for good in ({"env": "SHARED_A"}, {"env": "ONE"}, {"file": str(mounted / "token")}):
        catalog.validate("rest", rest(good), rules=listed, ref=ACME)
    for wrong in (
        {"env": "TWO"},
        {"file": str(mounted / "link")},
        {"file": f"{mounted}/../../home"},
        {"file": str(tmp_path / "secrets" / "other")},
    ):
        with pytest.raises(InvalidInput):
            catalog.validate("rest", rest(wrong), rules=listed, ref=ACME)
    for foreign in ({"env": "ONE"}, {"file": str(mounted / "token")}):
        with pytest.raises(InvalidInput):
            catalog.validate("rest", rest(foreign), rules=listed, ref=ACME_EU)


@pytest.mark.parametrize("entry", ["ONE", "env:", "=env:ONE", "file:relative", "vault:ONE"])
def test_a_list_of_secrets_that_cannot_be_meant_is_refused(home: Path, entry: str) -> None:
    with pytest.raises(InvalidSettings, match="ELT_ASSETS_TENANT_SECRETS"):
        load_settings(home=home, tenant_secrets=entry)


def test_a_stored_configuration_is_checked_again_before_a_secret_is_read(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTHER_TOKEN", "t0ken-of-another")
    secrets = Secrets()
    with pytest.raises(InvalidInput, match="OTHER_TOKEN"):
        catalog.open_source(
            "rest",
            rest({"env": "OTHER_TOKEN"}),
            "users",
            secrets=secrets,
            limits=FetchLimits(1, 0, 10, 1 << 20, 10, rules=strict(home)),
            ref=ACME,
        )
    assert not secrets.stands_in("t0ken-of-another")


@pytest.fixture
def platform(home: Path) -> Iterator[SyncService]:
    """An installation with strict rules."""
    with SyncService.open(load_settings(home=home, tenant_rules="strict")) as opened:
        yield opened


def test_a_prefix_that_two_organizations_share_gives_a_secret_to_neither(
    platform: SyncService,
) -> None:
    registry = platform.registry
    registry.add(ACME_EU, "rest", rest({"env": "ACME_EU_TOKEN"}))
    with pytest.raises(InvalidInput, match="ACME_EU_TOKEN, whose prefix is organization acme-eu's"):
        registry.add(ACME, "rest", rest({"env": "ACME_EU_TOKEN"}))
    registry.add(ACME, "rest", rest({"env": "ACME_TOKEN"}))
    with pytest.raises(InvalidInput, match="ACME_EU_TOKEN"):
        registry.update(ACME, rest({"env": "ACME_EU_TOKEN"}))
    with pytest.raises(InvalidInput, match="acme-eu:main refers to secret env:ACME_EU_TOKEN"):
        registry.add(IntegrationRef("acme_eu", "main"), "rest", rest({"env": "ACME_EU_TOKEN"}))


def test_a_new_organization_does_not_inherit_what_another_refers_to(platform: SyncService) -> None:
    platform.registry.add(ACME, "rest", rest({"env": "ACME_EU_TOKEN"}))
    with pytest.raises(InvalidInput, match="acme:main refers to secret env:ACME_EU_TOKEN"):
        platform.registry.add(ACME_EU, "rest", rest({"env": "ACME_EU_OTHER"}))


CODE: dict[str, Any] = {
    "source": "elt_assets_tests.connectors.dlt.people_sources:users",
    "streams": {"users": {"fields": {"external_id": "id"}}},
}


def test_code_is_run_only_where_the_operator_allows_it(home: Path) -> None:
    with pytest.raises(InvalidInput, match="ELT_ASSETS_ALLOW_CODE=true"):
        catalog.validate("dlt", CODE, rules=rules(home), ref=ACME)
    assert catalog.validate("dlt", CODE, rules=rules(home, allow_code=True), ref=ACME) == CODE


def test_code_is_never_run_under_strict_rules(home: Path) -> None:
    for allow_code in (False, True):
        with pytest.raises(InvalidInput, match="TENANT_RULES=strict never allows"):
            catalog.validate("dlt", CODE, rules=strict(home, allow_code=allow_code), ref=ACME)


def test_code_that_was_stored_before_is_not_run_under_strict_rules(home: Path) -> None:
    trusted = load_settings(home=home, allow_code=True)
    with SyncService.open(trusted) as platform:
        platform.registry.add(ACME, "dlt", CODE)
    sys.modules.pop(CODE["source"].partition(":")[0], None)
    with SyncService.open(
        load_settings(home=home, allow_code=True, tenant_rules="strict")
    ) as platform:
        (outcome,) = platform.sync(USERS, [ACME], sync_id="s1")
    assert outcome.status is Status.FAILED
    assert "TENANT_RULES=strict never allows" in str(outcome.error)
    assert CODE["source"].partition(":")[0] not in sys.modules, "it was not even imported"


def test_code_is_not_run_where_its_connections_would_be_held_to_addresses(home: Path) -> None:
    settings = load_settings(home=home, allow_code=True, egress="public")
    with SyncService.open(settings) as platform:
        platform.registry.add(ACME, "dlt", CODE)
        (outcome,) = platform.sync(USERS, [ACME], sync_id="s1")
    assert outcome.status is Status.FAILED
    assert "ELT_ASSETS_EGRESS cannot hold" in str(outcome.error)


def test_strict_rules_close_the_machine_and_its_networks(home: Path) -> None:
    policy = load_settings(home=home, tenant_rules="strict").egress_policy
    assert not policy.allows("127.0.0.1", "acme")
    assert not policy.allows("169.254.169.254", "acme")
    assert policy.allows("1.1.1.1", "acme")
    assert load_settings(home=home).egress_policy.allows("127.0.0.1", "acme")
    with pytest.raises(InvalidSettings, match="ELT_ASSETS_EGRESS=any"):
        load_settings(home=home, tenant_rules="strict", egress="any")
    opened = load_settings(home=home, tenant_rules="strict", egress="public,acme=10.0.0.0/8")
    assert opened.egress_policy.allows("10.1.1.1", "acme")
    assert not opened.egress_policy.allows("10.1.1.1", "other")


def test_strict_rules_leave_an_integration_its_own_folder(home: Path, tmp_path: Path) -> None:
    own = dropped(drop_folder(home, ACME) / "deep" / "users.csv").parent
    elsewhere = dropped(tmp_path / "elsewhere" / "users.csv").parent
    assert read(files(None), home, strict(home))
    assert read(files(own), home, strict(home))
    for outside in (elsewhere, drop_folder(home, ACME).parent, own / ".." / ".." / ".."):
        with pytest.raises(InvalidInput, match="is not below"):
            read(files(outside), home, strict(home))
    (drop_folder(home, ACME) / "link").symlink_to(elsewhere)
    with pytest.raises(InvalidInput, match="is not below"):
        read(files(drop_folder(home, ACME) / "link"), home, strict(home))
    assert read(files(elsewhere), home, rules(home))


def test_strict_rules_have_no_sqlite_source(home: Path, tmp_path: Path) -> None:
    data = {
        "connection": {"type": "sqlite", "path": str(tmp_path / "users.db")},
        "streams": {
            "users": {
                "query": "SELECT id FROM users",
                "key": "id",
                "fields": {"external_id": "id"},
            }
        },
    }
    catalog.validate("sql", data, rules=rules(home), ref=ACME)
    with pytest.raises(InvalidInput, match="no source under"):
        catalog.validate("sql", data, rules=strict(home), ref=ACME)


@pytest.mark.parametrize("place", ["olap", "drops/other/main", "drops"])
def test_files_of_others_are_not_read_by_their_name(home: Path, place: str) -> None:
    dropped(home / "drops" / "other" / "main" / "users.csv")
    dropped(home / "olap" / "users.csv")
    with pytest.raises(PermanentError, match=r"of the platform itself|another organization"):
        read(files(home / place), home, rules(home))


@pytest.mark.parametrize("mode", ["trusted", "strict"])
@pytest.mark.parametrize("place", ["oltp.db", "drops/other/main/users.csv"])
def test_files_of_others_are_not_read_through_hard_links(home: Path, place: str, mode: str) -> None:
    foreign = dropped(home / place)
    own = drop_folder(home, ACME)
    own.mkdir(parents=True)
    os.link(foreign, own / "users.csv")
    with pytest.raises(PermanentError, match="hard link"):
        read(files(None), home, rules(home, tenant_rules=mode))


def test_a_hard_link_between_own_files_is_read_where_rules_are_not_strict(home: Path) -> None:
    own = dropped(drop_folder(home, ACME) / "upload.tmp")
    os.link(own, own.with_name("users.csv"))
    assert read(files(None), home, rules(home))
    with pytest.raises(PermanentError, match="copy it instead"):
        read(files(None), home, strict(home))


@pytest.mark.parametrize("trap", ["link", "pipe"])
def test_what_takes_a_files_place_after_it_was_found_is_not_read(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trap: str
) -> None:
    path = dropped(drop_folder(home, ACME) / "users.csv")
    secret = dropped(tmp_path / "users.csv")
    opened = os.open

    def swap_before_opening(found: Any, flags: int, *more: Any, **others: Any) -> int:
        if Path(found) == path and not path.is_symlink():
            path.unlink()
            if trap == "link":
                path.symlink_to(secret)
            else:
                os.mkfifo(path)
        return opened(found, flags, *more, **others)

    monkeypatch.setattr(os, "open", swap_before_opening)
    with pytest.raises(EltAssetsError, match=r"a link out of|no regular file"):
        read(files(None), home, rules(home))
