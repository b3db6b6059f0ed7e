"""What a provider or a person gets wrong is one line that names it, and changes nothing."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.outcome import Outcome
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.connectors.ldap.scripted import Asked as LdapAsked
from elt_assets_tests.connectors.ldap.scripted import Said, scripted
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.testbed.openldap import BASE, OpenLdap, openldap, person
from elt_assets_tests.testbed.password_sftp import PASSWORD, password_sftp
from elt_assets_tests.testbed.servers import PASSWORD as LDAP_PASSWORD

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "main")
PEOPLE = [{"id": f"u{number}", "name": f"Ada {number}"} for number in range(6)]

Synced = Callable[[str], Outcome]


@pytest.fixture
def synced(platform: SyncService) -> Synced:
    def sync(sync_id: str) -> Outcome:
        (outcome,) = platform.sync(USERS, [REF], sync_id=sync_id)
        return outcome

    return sync


def refused(platform: SyncService, outcome: Outcome, words: str) -> None:
    """The sync failed in one line with these words, and the six people stand as they did."""
    assert outcome.error is not None
    assert words in outcome.error
    assert "\n" not in outcome.error
    assert outcome.status == "failed"
    unchanged(platform)


def unchanged(platform: SyncService) -> None:
    assert len(platform.records(USERS, REF)) == 6
    assert {row["sync_id"] for row in platform.changes(USERS, REF)} == {"good"}


@pytest.fixture
def graphql(provider: Provider, data: dict[str, Any], platform: SyncService) -> dict[str, Any]:
    """Six people, read by POST."""
    data["streams"]["users"] |= {
        "body": {"type": "graphql", "query": "query { users { id name } }"},
        "records": "data.users",
        "pagination": {"type": "none"},
    }
    provider.answer = lambda _: as_json({"data": {"users": PEOPLE}})
    platform.registry.add(REF, "rest", copy.deepcopy(data))
    return data


def test_a_graphql_error_with_status_200(
    graphql: dict[str, Any], provider: Provider, platform: SyncService, synced: Synced
) -> None:
    assert graphql["streams"]["users"]["body"]["type"] == "graphql"
    assert synced("good").error is None
    error = {"message": "Field 'name' is deprecated and gone", "path": ["users"]}
    provider.answer = lambda _: as_json({"errors": [error], "data": {"users": []}})
    refused(platform, synced("bad"), "Field 'name' is deprecated and gone")


def test_a_wrong_body_template(
    graphql: dict[str, Any], platform: SyncService, synced: Synced
) -> None:
    assert synced("good").error is None
    known = platform.registry.get(REF).provider_data
    graphql["streams"]["users"]["body"] = {"type": "json", "content": {"tenant": "{tenant_id}"}}
    with pytest.raises(InvalidInput) as mistake:
        platform.registry.update(REF, graphql)
    assert "streams.users.body" in str(mistake.value)
    assert "{tenant_id} is not known here" in str(mistake.value)
    assert "\n" not in str(mistake.value)
    assert platform.registry.get(REF).provider_data == known
    unchanged(platform)


def test_a_job_that_never_ends(
    provider: Provider, data: dict[str, Any], platform: SyncService, synced: Synced
) -> None:
    ends = True

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/exports":
            return as_json({"id": "job-1"})
        if asked.path == "/v1/exports/job-1/file":
            return as_json(PEOPLE)
        return as_json({"state": "done" if ends else "running"})

    provider.answer = answer
    data["streams"]["users"] = {
        "path": "/exports",
        "body": {"type": "json"},
        "pagination": {"type": "none"},
        "job": {
            "poll": "/exports/{job}",
            "done": 'state == "done"',
            "download": "/exports/{job}/file",
            "file": {"format": "json"},
            "every": "1s",
            "most": "1s",
        },
        "fields": {"external_id": "id", "name": "name"},
    }
    platform.registry.add(REF, "rest", data)
    assert synced("good").error is None
    ends = False
    refused(platform, synced("bad"), "not done after 1s")


class Directory:
    """Six entries, whose search ends with this result code."""

    code = 0

    def __call__(self, asked: LdapAsked) -> Said:
        shown = PEOPLE if self.code == 0 else PEOPLE[:2] if self.code == 4 else []
        entries = {
            f"uid={one['id']},{BASE}": {"entryUUID": [one["id"].encode()], "cn": [b"Ada"]}
            for one in shown
        }
        return Said(entries, code=self.code)


@pytest.fixture
def directory(platform: SyncService) -> Iterator[Directory]:
    described = Directory()
    with scripted(described) as port:
        data = {
            "connection": {"host": "127.0.0.1", "port": port, "tls": "off"},
            "directory": "openldap",
            "base": BASE,
            "streams": {
                "users": {"filter": "(cn=*)", "fields": {"external_id": "entryUUID", "name": "cn"}}
            },
        }
        platform.registry.add(REF, "ldap", data)
        yield described


def test_an_ldap_referral(directory: Directory, platform: SyncService, synced: Synced) -> None:
    assert synced("good").error is None
    directory.code = 10
    refused(platform, synced("bad"), "refers to another server")


def test_an_ldap_size_limit(directory: Directory, platform: SyncService, synced: Synced) -> None:
    assert synced("good").error is None
    directory.code = 4
    for sync_id in ("cut", "cut again"):
        outcome = synced(sync_id)
        assert not outcome.certificate.complete
        (reason,) = (one for one in outcome.certificate.reasons if "size limit" in one)
        assert "the directory stopped at its size limit" in reason
        unchanged(platform)


@pytest.fixture(scope="module")
def company() -> Iterator[OpenLdap]:
    with openldap(map(person, range(6))) as server:
        yield server


def test_a_certificate_that_does_not_match(
    company: OpenLdap, platform: SyncService, synced: Synced, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LDAP_PASSWORD", LDAP_PASSWORD)
    secure = {"tls": "ldaps", "port": company.tls_port, "tls_ca": str(company.authority)}
    data = {
        "connection": company.connection() | secure,
        "directory": "openldap",
        "base": BASE,
        "streams": {
            "users": {
                "filter": "(objectClass=inetOrgPerson)",
                "fields": {"external_id": "entryUUID", "name": "displayName"},
            }
        },
    }
    platform.registry.add(REF, "ldap", data)
    assert synced("good").error is None
    platform.registry.update(REF, data | {"connection": data["connection"] | {"host": "localhost"}})
    refused(platform, synced("bad"), "localhost shows a certificate that cannot be verified")


def test_an_unknown_host_key(
    platform: SyncService, synced: Synced, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    lines = "".join(f"{one['id']},{one['name']}\n" for one in PEOPLE)
    drops = tmp_path / "drops"
    drops.mkdir()
    (drops / "users.csv").write_text(f"id,name\n{lines}")
    other = f"ssh-rsa {paramiko.RSAKey.generate(2048).get_base64()}"
    with password_sftp(drops) as sftp:
        data = {
            "remote": sftp.remote(),
            "settle_seconds": 0,
            "streams": {
                "users": {
                    "path": "users.csv",
                    "fields": {"external_id": "id", "name": "name"},
                }
            },
        }
        platform.registry.add(REF, "files", data)
        assert synced("good").error is None
        platform.registry.update(REF, data | {"remote": sftp.remote(host_keys=[other])})
        refused(platform, synced("bad"), "shows a host key that is not known")
