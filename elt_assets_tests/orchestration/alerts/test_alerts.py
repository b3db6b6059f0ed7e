"""Alerts: one message for many integrations, said once, signed, and again when nobody heard."""

from __future__ import annotations

import email
import email.policy
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from elt_assets.errors import ProviderRefused, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.orchestration.alerts.channels import SIGNATURE_HEADER
from elt_assets.orchestration.alerts.issues import grouped, open_issues
from elt_assets.orchestration.placement import STANDALONE
from elt_assets.orchestration.sensors.alert_sensor import alert_sensor
from elt_assets.sync.service import SyncService
from elt_assets_tests.sync.worlds import Company, World, people


class Receiver:
    """A webhook on loopback: keeps what it is sent, and can refuse."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.status = 204
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.received.append((dict(self.headers), body))
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hooks/token-4711"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def company(tmp_path: Path, receiver: Receiver) -> Iterator[Company]:
    made = Company(tmp_path / "home", alert_webhook=receiver.url, alert_secret="shared-key")
    yield made
    made.platform.close()


class Ticks:
    """Evaluates the sensor again and again with what it remembered."""

    def __init__(self, platform: SyncService, instance: dg.DagsterInstance | None = None) -> None:
        self.platform = platform
        self.instance = instance or dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None

    def __call__(self) -> str:
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursor,
            resources={STANDALONE.resource: self.platform},
        ) as context:
            result = alert_sensor().evaluate_tick(context)
        self.cursor = result.cursor
        return result.skip_message or ""


def break_everybody(company: Company, count: int) -> None:
    for number in range(count):
        ref = IntegrationRef(f"org-{number:03}", "okta")
        company.connect(ref, World(people(3), fail_at={0: ProviderRefused("page 1: 401")}))
        company.sync(ref)


def test_forty_integrations_of_one_broken_provider_are_one_message(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 40)
    Ticks(company.platform)()
    ((_, body),) = receiver.received
    (alert,) = json.loads(body)["alerts"]
    assert (alert["kind"], alert["count"], len(alert["partitions"])) == ("failure", 40, 40)
    assert "org-000:okta" in json.loads(body)["text"]
    assert "and 35 more" in json.loads(body)["text"]


def test_the_key_and_the_address_of_alerts_are_read_from_where_they_are_kept(
    tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key"
    company = Company(
        tmp_path / "home", alert_webhook="env:WHERE_ALERTS_GO", alert_secret=f"file:{key}"
    )
    break_everybody(company, 1)
    tick = Ticks(company.platform)
    with pytest.raises(dg.Failure, match=r"secret file .*key cannot be read"):
        tick()
    key.write_text("shared-key")
    monkeypatch.setenv("WHERE_ALERTS_GO", receiver.url)
    tick()
    company.platform.close()
    ((headers, body),) = receiver.received
    assert signed_at(headers, body)


def test_an_issue_is_reported_once_when_it_opens_and_once_when_it_ends(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 1)
    tick = Ticks(company.platform)
    tick()
    assert tick() == "nothing new; 1 open"
    company.worlds["org-000:okta"].fail_at.clear()
    company.sync(IntegrationRef("org-000", "okta"), sync_id="s2")
    assert tick().startswith("recovered: 1 integration (org-000:okta)")
    assert tick() == "nothing new; 0 open"
    assert len(receiver.received) == 2


def test_an_alert_that_no_channel_accepted_is_sent_again(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 1)
    tick = Ticks(company.platform)
    receiver.status = 500
    with pytest.raises(dg.Failure, match="answered 500") as failure:
        tick()
    assert "4711" not in str(failure.value)
    receiver.status = 200
    assert tick().startswith("failure: 1 integration")


def test_a_quarantine_is_an_alert(company: Company, receiver: Receiver) -> None:
    ref = IntegrationRef("org-001", "okta")
    world = company.connect(ref, World(people(30)))
    company.sync(ref, sync_id="s1")
    world.records = people(3)
    company.sync(ref, sync_id="s2")
    assert Ticks(company.platform)().startswith("quarantine: 1 integration (org-001:okta)")


OKTA = IntegrationRef("org-001", "okta")


def quarantined(company: Company) -> World:
    """An integration whose newest sync withheld 27 deletes."""
    world = company.connect(OKTA, World(people(30)))
    company.sync(OKTA, sync_id="s1")
    world.records = people(3)
    company.sync(OKTA, sync_id="s2")
    return world


def happened_on(company: Company, sync_id: str, day: str) -> None:
    with company.platform.database.transaction() as transaction:
        transaction.execute(
            "UPDATE syncs SET finished_at = ? WHERE sync_id = ?", (f"{day}T05:20:00Z", sync_id)
        )


def test_an_unchanged_quarantine_is_reported_daily_with_its_first_day(
    company: Company,
) -> None:
    tick = Ticks(company.platform)
    world = quarantined(company)
    happened_on(company, "s2", "2026-01-05")
    assert "27 deletes wait for a decision" in tick()
    assert tick() == "nothing new; 1 open"
    company.sync(OKTA, sync_id="s3")
    happened_on(company, "s3", "2026-01-06")
    said = tick()
    assert said.startswith("quarantine: 1 integration (org-001:okta): unchanged since 2026-01-05:")
    assert tick() == "nothing new; 1 open"
    company.sync(OKTA, sync_id="s4")
    happened_on(company, "s4", "2026-01-07")
    assert "unchanged since 2026-01-05" in tick()
    # As many as before, and others.
    world.records = people(4)[1:]
    company.sync(OKTA, sync_id="s5")
    happened_on(company, "s5", "2026-01-08")
    said = tick()
    assert "27 deletes wait for a decision" in said
    assert "unchanged" not in said


def test_a_second_quarantine_on_one_day_is_reported_once(company: Company) -> None:
    tick = Ticks(company.platform)
    quarantined(company)
    happened_on(company, "s2", "2026-01-05")
    tick()
    company.sync(OKTA, sync_id="s3")
    happened_on(company, "s3", "2026-01-05")
    assert tick() == "nothing new; 1 open"


def test_a_new_quarantine_after_the_first_has_ended_is_a_new_issue(company: Company) -> None:
    world = quarantined(company)
    happened_on(company, "s2", "2026-01-05")
    world.records = people(30)
    company.sync(OKTA, sync_id="s3")
    world.records = people(3)
    company.sync(OKTA, sync_id="s4")
    assert "unchanged" not in Ticks(company.platform)()


def test_a_listing_far_from_complete_is_an_alert_until_it_is_complete(company: Company) -> None:
    world = company.connect(OKTA, World(people(30), total=30))
    company.sync(OKTA, sync_id="s1")
    tick = Ticks(company.platform)
    assert tick() == "nothing new; 0 open"
    world.total = 31
    company.sync(OKTA, sync_id="s2")
    assert tick() == "nothing new; 0 open", "it lacks little"
    world.total = 300
    company.sync(OKTA, sync_id="s3")
    assert tick() == (
        "incomplete: 1 integration (org-001:okta): the listing of users is not complete: the "
        "provider counts 300 records and listed 30"
    )
    company.sync(OKTA, sync_id="s4")
    assert tick() == "nothing new; 1 open"
    world.total = 30
    company.sync(OKTA, sync_id="s5")
    assert tick().startswith("recovered: 1 integration (org-001:okta)")


def test_a_first_listing_that_is_not_complete_is_an_alert(company: Company) -> None:
    company.connect(OKTA, World(people(30), total=31))
    company.sync(OKTA, sync_id="s1")
    assert Ticks(company.platform)().startswith("incomplete: 1 integration (org-001:okta)")


def test_the_receiver_can_verify_the_sender_and_the_time(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 1)
    before = int(time.time())
    Ticks(company.platform)()
    ((headers, body),) = receiver.received
    assert before <= signed_at(headers, body) <= time.time()


def signed_at(headers: Mapping[str, str], body: bytes) -> int:
    """When the message was signed; fails if that was not with the shared key."""
    moment, _, signature = headers[SIGNATURE_HEADER].removeprefix("t=").partition(",v1=")
    signed = f"{moment}.".encode() + body
    assert signature == hmac.new(b"shared-key", signed, hashlib.sha256).hexdigest()
    return int(moment)


def test_a_retryable_failure_is_an_alert_only_after_three_attempts(company: Company) -> None:
    ref = IntegrationRef("org-001", "okta")
    company.connect(ref, World(people(3), fail_at={0: ProviderUnavailable("503")}))
    for attempts in range(1, 4):
        company.sync(ref)
        issues = open_issues(company.platform)
        assert len(grouped(issues.open)) == (attempts == 3)


def test_a_daily_failure_for_one_reason_is_reported_once(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 1)
    tick = Ticks(company.platform)
    tick()
    company.sync(IntegrationRef("org-000", "okta"), sync_id="the-next-day")
    assert tick() == "nothing new; 1 open"
    company.worlds["org-000:okta"].fail_at[0] = ProviderRefused("page 1: answered 404")
    company.sync(IntegrationRef("org-000", "okta"), sync_id="another-reason")
    assert "answered 404" in tick()
    assert len(receiver.received) == 2


def test_a_failure_that_is_being_retried_has_not_recovered(company: Company) -> None:
    ref = IntegrationRef("org-001", "okta")
    world = company.connect(ref, World(people(3), fail_at={0: ProviderRefused("page 1: 401")}))
    company.sync(ref)
    tick = Ticks(company.platform)
    assert tick().startswith("failure")
    world.fail_at[0] = ProviderUnavailable("503")
    company.sync(ref, sync_id="again")
    assert tick() == "nothing new; 0 open"
    world.fail_at.clear()
    company.sync(ref, sync_id="again")
    assert tick().startswith("recovered: 1 integration (org-001:okta)")


def test_a_stale_integration_without_a_failure_is_an_alert(
    tmp_path: Path, receiver: Receiver
) -> None:
    company = Company(tmp_path / "stale", alert_webhook=receiver.url, stale_hours=1e-9)
    company.connect(IntegrationRef("org-001", "okta"), World(people(3)))
    company.connect(IntegrationRef("org-002", "okta"), World(fail_at={0: ProviderRefused("401")}))
    company.sync(IntegrationRef("org-002", "okta"))
    said = Ticks(company.platform)().splitlines()
    company.platform.close()
    assert len(said) == 2
    assert any(line.startswith("stale: 1 integration (org-001:okta)") for line in said)


def test_a_cursor_of_an_older_release_reports_every_issue_again(
    company: Company, receiver: Receiver
) -> None:
    break_everybody(company, 1)
    tick = Ticks(company.platform)
    tick.cursor = "[]"
    assert tick().startswith("failure")


def test_a_cause_that_all_share_is_quoted_unchanged(company: Company) -> None:
    break_everybody(company, 2)
    (alert,) = grouped(open_issues(company.platform).open)
    assert alert.text.endswith("page 1: 401")


class Mailbox:
    """An SMTP server's handler that keeps what it is sent."""

    def __init__(self) -> None:
        self.received: list[Envelope] = []

    async def handle_DATA(self, _server: object, _session: object, envelope: Envelope) -> str:
        self.received.append(envelope)
        return "250 OK"


@contextmanager
def mail_server(mailbox: Mailbox, tls: ssl.SSLContext | None = None) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, tls_context=tls)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def mail_settings(port: int) -> dict[str, object]:
    return {
        "alert_email_to": "duty@example.com, boss@example.com",
        "alert_email_from": "elt@example.com",
        "smtp_host": "127.0.0.1",
        "smtp_port": port,
        "smtp_security": "none",
    }


def test_a_mail_has_the_counts_in_its_subject_and_the_causes_in_its_body(tmp_path: Path) -> None:
    mailbox = Mailbox()
    with mail_server(mailbox) as port:
        company = Company(tmp_path / "mail", **mail_settings(port))
        break_everybody(company, 3)
        Ticks(company.platform)()
        company.platform.close()
    (envelope,) = mailbox.received
    assert envelope.rcpt_tos == ["duty@example.com", "boss@example.com"]
    message = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert message["subject"] == "elt_assets: failure of 3"
    assert "failure: 3 integrations (org-000:okta" in message.get_content()


def test_a_slack_message_mentions_nobody(tmp_path: Path, receiver: Receiver) -> None:
    receiver.status = 200
    company = Company(tmp_path / "slack", alert_slack=receiver.url)
    ref = IntegrationRef("org-001", "okta")
    company.connect(ref, World(fail_at={0: ProviderRefused("said <!channel> & left")}))
    company.sync(ref)
    Ticks(company.platform)()
    company.platform.close()
    ((_, body),) = receiver.received
    text = json.loads(body)["text"]
    assert text.startswith("failure: 1 integration (org-001:okta)")
    assert "said &lt;!channel&gt; &amp; left" in text


def test_only_the_channel_that_rejected_an_alert_gets_it_again(
    tmp_path: Path, receiver: Receiver
) -> None:
    mailbox = Mailbox()
    receiver.status = 500
    with mail_server(mailbox) as port:
        company = Company(tmp_path / "both", alert_slack=receiver.url, **mail_settings(port))
        break_everybody(company, 1)
        tick = Ticks(company.platform)
        assert tick().splitlines()[-1] == "Slack answered 500; will be sent again"
        receiver.status = 200
        tick()
        assert tick() == "nothing new; 1 open"
        company.platform.close()
    assert len(mailbox.received) == 1
    assert len(receiver.received) == 2


def own_certificate(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "mail.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = folder / "mail.pem"
    encoding = serialization.Encoding.PEM
    file.write_bytes(
        certificate.public_bytes(encoding)
        + key.private_bytes(
            encoding,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return file


def test_a_mail_server_with_an_untrusted_certificate_gets_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = own_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(file)
    mailbox = Mailbox()
    with mail_server(mailbox, tls) as port:
        settings = {**mail_settings(port), "smtp_security": "starttls"}
        company = Company(tmp_path / "mail", **settings)
        break_everybody(company, 1)
        tick = Ticks(company.platform)
        with pytest.raises(dg.Failure, match="SSLCertVerificationError"):
            tick()
        assert mailbox.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        tick()
        company.platform.close()
    assert len(mailbox.received) == 1
