"""Files on a real OpenSSH server and in object storage: read, continued, changed, refused."""

from __future__ import annotations

import gzip
import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import paramiko
import pytest

from elt_assets.config.egress import Egress
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.source import Source
from elt_assets.errors import (
    InvalidInput,
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SyncError,
)
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import USERS
from elt_assets_tests.testbed.password_sftp import PASSWORD, password_sftp
from elt_assets_tests.testbed.s3 import Storage, object_storage
from elt_assets_tests.testbed.sshd import SshServer, sshd

pytestmark = pytest.mark.slow

REF = IntegrationRef("acme", "drops")
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where files can be put, and how provider_data names it."""

    remote: dict[str, Any]
    put: Callable[[str, bytes], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


@pytest.fixture(scope="module")
def storage() -> Iterator[Storage]:
    with object_storage() as running:
        yield running


@pytest.fixture(params=["sftp", "s3"])
def place(
    request: pytest.FixtureRequest,
    server: SshServer,
    storage: Storage,
    monkeypatch: pytest.MonkeyPatch,
) -> Place:
    """An empty folder or prefix of its own."""
    drop = f"drop {next(_NUMBERS)}"
    if request.param == "sftp":
        folder = server.drops / drop.replace(" ", "-")
        folder.mkdir()

        def put(name: str, content: bytes) -> None:
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            # A server tells whole seconds: what is put in the same one would look the same.
            modified = 1_700_000_000 + next(_NUMBERS)
            os.utime(path, (modified, modified))

        return Place(server.remote(url=f"sftp://127.0.0.1:{server.port}{folder}"), put)
    monkeypatch.setenv("S3_SECRET", storage.secret)
    client = boto3.client(
        "s3",
        endpoint_url=storage.endpoint,
        region_name="us-east-1",
        aws_access_key_id=storage.key_id,
        aws_secret_access_key=storage.secret,
    )

    def upload(name: str, content: bytes) -> None:
        client.put_object(Bucket=storage.bucket, Key=f"{drop}/{name}", Body=content)

    remote = {
        "url": f"s3://{storage.bucket}/{drop.replace(' ', '%20')}",
        "endpoint": storage.endpoint,
        "access_key": storage.key_id,
        "secret_key": {"env": "S3_SECRET"},
    }
    return Place(remote, upload)


def data(remote: dict[str, Any], path: str = "users-*.csv", **stream: Any) -> dict[str, Any]:
    fields = {"external_id": "id", "name": "name"}
    return {
        "remote": remote,
        "settle_seconds": 0,
        "streams": {"users": {"path": path, "fields": fields, **stream}},
    }


def opened(provider_data: dict[str, Any], **limits: Any) -> Source:
    chosen = {
        "attempts": 1,
        "first_wait": 0.0,
        "timeout": 20.0,
        "page_bytes": 1 << 20,
        "max_pages": 1000,
        **limits,
    }
    return catalog.open_source(
        "files", provider_data, "users", secrets=Secrets(), limits=FetchLimits(**chosen), ref=REF
    )


def rows(first: int, count: int) -> bytes:
    lines = (f"{number},Person {number}\n" for number in range(first, first + count))
    return f"id,name\n{''.join(lines)}".encode()


def ids(pages: list[Any]) -> list[str]:
    return [one["id"] for page in pages for one in json.loads(page.body)]


def test_files_are_read_in_order_and_continued_from_each_chunk(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elt_assets.connectors.files.csv_file.RECORDS", 4)
    place.put("users-2.csv", rows(10, 10))
    place.put("users-1.csv", rows(0, 10))
    place.put("users-3.csv.part", rows(20, 10))
    place.put("other.csv", rows(30, 10))
    place.put("inner/users-9.csv", rows(40, 10))
    source = opened(data(place.remote))
    pages = list(source.pages(None))
    source.close()
    assert ids(pages) == [str(number) for number in range(20)]
    assert source.requests > 0
    for behind, page in enumerate(pages[:-1], 1):
        cursor = json.loads(json.dumps(page.next))
        assert ids(list(opened(data(place.remote)).pages(cursor))) == ids(pages[behind:])
    inner = list(opened(data(place.remote, "inner/*.csv")).pages(None))
    assert ids(inner) == [str(number) for number in range(40, 50)]


def test_a_file_that_changes_between_two_readings_is_not_mixed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elt_assets.connectors.files.csv_file.RECORDS", 4)
    place.put("users-1.csv", rows(0, 10))
    cursor = next(opened(data(place.remote)).pages(None)).next
    place.put("users-1.csv", rows(5, 11))
    with pytest.raises(PermanentError, match="has changed or is gone since the sync began"):
        list(opened(data(place.remote)).pages(cursor))


def test_a_compressed_drop_is_synced(place: Place, platform: SyncService) -> None:
    place.put("users-1.csv.gz", gzip.compress(rows(0, 1000)))
    platform.registry.add(REF, "files", data(place.remote, "users-*.csv.gz"))
    (outcome,) = platform.sync(USERS, [REF], sync_id="first")
    assert (outcome.status, outcome.error, outcome.counts.inserts) == ("applied", None, 1000)
    place.put("users-1.csv.gz", gzip.compress(rows(0, 999)))
    (outcome,) = platform.sync(USERS, [REF], sync_id="second")
    assert (outcome.status, outcome.error, outcome.counts.deletes) == ("applied", None, 1)


def test_no_file_is_an_error_and_not_an_empty_listing(place: Place) -> None:
    with pytest.raises(PermanentError, match=r"no complete file matches 'users-\*.csv' in s"):
        list(opened(data(place.remote)).pages(None))


@pytest.mark.parametrize("place", ["s3"], indirect=True)
def test_a_listing_of_many_objects_is_read_to_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elt_assets.connectors.files.remote.s3._AT_ONCE", 2)
    for number in range(5):
        place.put(f"users-{number} ü&.csv", rows(number * 2, 2))
    assert ids(list(opened(data(place.remote)).pages(None))) == [str(one) for one in range(10)]


def test_a_closed_network_is_not_connected_to(place: Place) -> None:
    closed = Outgoing(Egress.parse("public"))
    with pytest.raises(ProviderRefused, match="ELT_ASSETS_EGRESS does not open"):
        list(opened(data(place.remote), outgoing=closed).pages(None))


def test_a_host_key_that_is_not_known_is_refused(server: SshServer) -> None:
    other = (server.key.parent / "user.pub").read_text()
    with pytest.raises(ProviderRefused, match=r"host key that is not known \(ssh-ed25519, finger"):
        list(opened(data(server.remote(host_keys=[other]))).pages(None))


@pytest.mark.parametrize(
    ("differing", "kind", "words"),
    [
        ({"user": "nobody-of-that-name"}, ProviderRefused, "refused user nobody-of-that-name"),
        ({"key": {"env": "TEST_KEY"}}, SyncError, "TEST_KEY holds no private key"),
        ({"url": "sftp://127.0.0.1:1/x"}, ProviderUnavailable, "127.0.0.1 port 1 cannot be read"),
    ],
)
def test_an_sftp_server_that_cannot_be_read_is_named(
    server: SshServer,
    monkeypatch: pytest.MonkeyPatch,
    differing: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.setenv("TEST_KEY", "not a key")
    with pytest.raises(kind, match=words):
        list(opened(data(server.remote(**differing))).pages(None))


def test_a_drop_is_read_with_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "users-1.csv").write_bytes(rows(0, 3))
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    with password_sftp(tmp_path) as sftp:
        assert ids(list(opened(data(sftp.remote())).pages(None))) == ["0", "1", "2"]
    assert set(sftp.tried) == {PASSWORD}


def test_a_wrong_password_is_refused_in_one_line_that_does_not_show_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTP_PASSWORD", "open barley")
    with password_sftp(tmp_path) as sftp, pytest.raises(ProviderRefused) as refused:
        list(opened(data(sftp.remote())).pages(None))
    assert f"port {sftp.port} refused user drops; check environment variable SFTP_PASSWORD" in str(
        refused.value
    )
    assert "barley" not in str(refused.value)
    assert sftp.tried == ["open barley"]


def test_a_password_goes_to_no_host_whose_key_is_not_known(
    server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    rsa = f"ssh-rsa {paramiko.RSAKey.generate(2048).get_base64()}"
    of_another_kind = r"has no host key of a kind that is known \(ssh-ed25519\); nothing was sent"
    with password_sftp(tmp_path) as sftp:
        for known, words in (
            (rsa, "shows a host key that is not known"),
            (server.host_key, of_another_kind),
        ):
            with pytest.raises(ProviderRefused, match=words):
                list(opened(data(sftp.remote(host_keys=[known]))).pages(None))
    assert sftp.tried == []


def test_a_server_that_takes_no_passwords_is_named(
    server: SshServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFTP_PASSWORD", PASSWORD)
    remote = server.remote(key=None, password={"env": "SFTP_PASSWORD"})
    with pytest.raises(ProviderRefused, match=r"refused user .*; check environment variable SFTP_"):
        list(opened(data(remote)).pages(None))


def test_a_folder_that_is_not_there_is_named(server: SshServer) -> None:
    url = f"sftp://127.0.0.1:{server.port}{server.drops}/nowhere"
    with pytest.raises(PermanentError, match="has no such folder or file"):
        list(opened(data(server.remote(url=url))).pages(None))


def test_a_size_that_the_server_claims_takes_no_memory(server: SshServer) -> None:
    folder = server.drops / "claims"
    folder.mkdir()
    with (folder / "users-1.csv").open("wb") as file:
        # Sparse: asked for in pieces of 32 KiB it would be a hundred million requests.
        file.truncate(4 << 40)
    source = opened(data(server.remote(url=f"sftp://127.0.0.1:{server.port}{folder}")))
    with closing(source), pytest.raises(PageUnreadable, match="ELT_ASSETS_FILE_BYTES"):
        list(source.pages(None))


def test_a_link_on_the_server_is_not_followed(server: SshServer, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_bytes(rows(0, 3))
    folder = server.drops / "links"
    folder.mkdir()
    (folder / "users-1.csv").symlink_to(tmp_path / "secret.csv")
    url = f"sftp://127.0.0.1:{server.port}{folder}"
    with pytest.raises(PermanentError, match="no complete file matches"):
        list(opened(data(server.remote(url=url))).pages(None))


@pytest.mark.parametrize(
    ("remote", "words"),
    [
        ({"url": "ftp://a.example/x"}, r"remote\.url: write it as sftp://"),
        ({"url": "sftp://me@a.example/x"}, r"remote\.url: write it as sftp://"),
        ({"host_keys": []}, r"remote\.host_keys"),
        ({"host_keys": ["SHA256:abc"]}, "write the server's public key as ssh-keyscan"),
        ({"password": {"env": "A"}}, "give password or key, one of the two"),
        ({"key": "-----BEGIN"}, "give a secret as"),
    ],
)
def test_a_mistake_is_named(remote: dict[str, Any], words: str) -> None:
    good = {
        "url": "sftp://drops.acme.example/outgoing",
        "user": "acme",
        "key": {"env": "KEY"},
        "host_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA=="],
    }
    catalog.validate("files", data(good))
    with pytest.raises(InvalidInput, match=words):
        catalog.validate("files", data(good | remote))
