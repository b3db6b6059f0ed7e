"""Alert channels: webhook, Slack and e-mail. An alert goes to every configured channel.

No error quotes an address: a webhook's address holds a token, and a mailbox names a person.
"""

from __future__ import annotations

import hashlib
import hmac
import smtplib
import ssl
import time
from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from typing import Protocol

import msgspec
import urllib3
from pydantic import SecretStr

from elt_assets.config.secret_refs import SecretRef, revealed
from elt_assets.config.settings import Settings
from elt_assets.errors import RetryableError
from elt_assets.orchestration.alerts.issues import Alert

SIGNATURE_HEADER = "X-Elt-Assets-Signature"
_TIMEOUT = 10
_LISTED = 20
"""Most alerts in one Slack message or e-mail; Slack limits the size of a message."""


class Channel(Protocol):
    """A destination of alerts."""

    @property
    def name(self) -> str:
        """The name of the channel in the sensor's cursor."""

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send one message with all alerts. Raises `RetryableError` if it was not accepted."""


def channels(settings: Settings) -> list[Channel]:
    """Every channel that is configured."""
    found: list[Channel] = []
    if settings.alert_webhook:
        found.append(WebhookChannel(settings.alert_webhook, settings.alert_secret))
    if settings.alert_slack:
        found.append(Slack(settings.alert_slack))
    if settings.alert_email_to:
        found.append(Email(settings))
    return found


class WebhookChannel:
    """JSON to any receiver: `text` for people, `alerts` for programs.

    With a secret, the message is signed: SIGNATURE_HEADER holds `t=` and the seconds since 1970,
    `,v1=` and the HMAC-SHA256 in hexadecimal of the seconds, a full stop and the body. The time
    exposes a message that is recorded and sent again later.
    """

    name = "webhook"

    def __init__(self, url: SecretRef | SecretStr, secret: SecretRef | SecretStr | None) -> None:
        self._url = url
        self._secret = secret

    def send(self, alerts: Sequence[Alert]) -> None:
        text = "\n".join(alert.text for alert in alerts)
        body = msgspec.json.encode({"text": text, "alerts": alerts})
        headers: Mapping[str, str] = {"Content-Type": "application/json"}
        if self._secret:
            moment = str(int(time.time()))
            signed = f"{moment}.".encode() + body
            key = revealed(self._secret).encode()
            signature = hmac.new(key, signed, hashlib.sha256).hexdigest()
            headers = {**headers, SIGNATURE_HEADER: f"t={moment},v1={signature}"}
        url = revealed(self._url)
        try:
            with urllib3.PoolManager(timeout=_TIMEOUT, retries=False) as http:
                answer = http.request("POST", url, body=body, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise RetryableError(
                f"the alert receiver did not answer: {type(error).__name__}"
            ) from None
        if answer.status >= 300:
            raise RetryableError(f"the alert receiver answered {answer.status}")


class Slack:
    """The incoming webhook of a Slack channel."""

    name = "slack"

    def __init__(self, url: SecretRef | SecretStr) -> None:
        self._url = url

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send the alerts as one message, one line each."""
        from slack_sdk.webhook import WebhookClient

        # An alert's text is inert except for Slack's own markup.
        text = "\n".join(_lines(alerts))
        for character, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(character, escaped)
        url = revealed(self._url)
        try:
            answer = WebhookClient(url, timeout=_TIMEOUT, retry_handlers=[]).send_dict(
                {"text": text, "mrkdwn": False, "unfurl_links": False, "unfurl_media": False}
            )
        except OSError as error:
            raise RetryableError(f"Slack did not answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise RetryableError(f"Slack answered {answer.status_code}")


class Email:
    """One plain-text message to all addresses in ELT_ASSETS_ALERT_EMAIL_TO."""

    name = "email"

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def send(self, alerts: Sequence[Alert]) -> None:
        """Send the alerts as one message; the subject has the number of each kind."""
        settings = self._settings
        message = EmailMessage()
        message["From"] = settings.alert_email_from
        message["To"] = settings.alert_email_to
        kinds: dict[str, int] = {}
        for alert in alerts:
            kinds[alert.kind] = kinds.get(alert.kind, 0) + alert.count
        message["Subject"] = "elt_assets: " + ", ".join(
            f"{kind} of {count}" for kind, count in sorted(kinds.items())
        )
        message.set_content("\n\n".join(_lines(alerts)) + "\n")
        try:
            with self._connected() as server:
                if settings.smtp_user and settings.smtp_password:
                    server.login(settings.smtp_user, revealed(settings.smtp_password))
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise RetryableError(
                f"the mail server did not accept the alert: {type(error).__name__}"
            ) from None

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        host, port = settings.smtp_host or "", settings.smtp_port
        # By default, smtplib accepts any certificate.
        trusted = ssl.create_default_context()
        if settings.smtp_security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=trusted)
        server = smtplib.SMTP(host, port, timeout=_TIMEOUT)
        if settings.smtp_security == "starttls":
            try:
                server.starttls(context=trusted)
            except BaseException:
                server.close()
                raise
        return server


def _lines(alerts: Sequence[Alert]) -> list[str]:
    lines = [alert.text for alert in alerts[:_LISTED]]
    if len(alerts) > _LISTED:
        lines.append(f"… and {len(alerts) - _LISTED} more causes: elt-assets health")
    return lines
