"""Active text from every place that a provider controls, and every place where it is shown.

The module runs one installation whose providers answer with such text and collects its outputs. The
texts, and when one is inert, are defined in `test_foreign_text`.
"""

from __future__ import annotations

import email
import email.policy
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import dagster as dg
import uvicorn

from elt_assets.config.settings import Settings, load_settings
from elt_assets.identifiers import IntegrationRef
from elt_assets.monitoring.endpoint import application
from elt_assets.orchestration.instance.opening import open_instance
from elt_assets.sync.service import SyncService
from elt_assets_tests.campaign.figures import Figures
from elt_assets_tests.campaign.hostile.attacks import Hostile, queried, rest
from elt_assets_tests.campaign.oracles import Violation
from elt_assets_tests.cli.conftest import Command
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json
from elt_assets_tests.connectors.sql.test_rogue_mysql import only_packets, speaking
from elt_assets_tests.errors.test_foreign_text import ATTACKS as TEXTS
from elt_assets_tests.errors.test_foreign_text import (
    has_active_characters,
    is_inert,
    is_markdown_text,
)
from elt_assets_tests.orchestration.alerts.test_alerts import (
    Mailbox,
    Receiver,
    Ticks,
    mail_server,
    mail_settings,
)

SCIM_ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def records(texts: list[str]) -> list[dict[str, Any]]:
    """Users whose every field is such a text, and as many that cannot be used."""
    usable = [{"id": text, "name": text, "email": text} for text in texts]
    unusable = [{"id": f"u-{n}", "name": {text: text}} for n, text in enumerate(texts)]
    ordinary = [{"id": f"o-{n}", "name": f"Person {n}"} for n in range(100)]
    return usable + unusable + ordinary


ANSWERS: dict[str, Callable[[str], Reply]] = {
    "an error": lambda text: as_json({"schemas": [SCIM_ERROR], "detail": text}, 400),
    "an error's key": lambda text: as_json({"errors": {text: text}, "items": []}),
    "a body without a list": lambda text: as_json({text: []}),
    "a link": lambda text: as_json({"items": [{"id": "u"}], "next": text}),
    "a body that is no JSON": lambda text: Reply(text.encode("utf-8", "surrogatepass")),
    "a header": lambda text: Reply(
        status=302, headers={"Location": text.encode("ascii", "ignore").decode().split("\n")[0]}
    ),
}
SOURCES = (*ANSWERS, "a record", "a database's error", "the name of a source")


@contextmanager
def tenants() -> Iterator[dict[IntegrationRef, Hostile]]:
    """An integration for each text and each place where a provider can put it."""
    texts = dict(enumerate(TEXTS.values()))
    places = dict(enumerate(ANSWERS.values()))

    def answer(asked: Asked) -> Reply:
        place, _, number = asked.path.strip("/").partition("/")
        if place == "records":
            return as_json({"items": records([*texts.values()]), "next": None})
        return places[int(place)](texts[int(number)])

    def users(url: str, path: str, **stream: Any) -> Hostile:
        data = rest(url).data
        pagination = {"type": "next_url", "url": "next"}
        changed = {**data["streams"]["users"], "path": path, "pagination": pagination, **stream}
        return Hostile("rest", {**data, "streams": {"users": changed}})

    with ExitStack() as serving:
        url = serving.enter_context(Provider(answer)).url
        found = {
            IntegrationRef(f"place-{place}", f"text-{number}"): users(url, f"/{place}/{number}")
            for place in places
            for number in texts
        }
        found[IntegrationRef("records", "main")] = users(url, "/records")
        for number, text in texts.items():
            error = b"\xff\x7a\x04#42S02" + text.encode("utf-8", "surrogatepass")
            port = serving.enter_context(speaking(only_packets(error)))
            found[IntegrationRef("database", f"text-{number}")] = queried("mysql", port)
            named = users(url, f"/0/{number}")
            named.data["permission_source_name"] = text[:256]
            found[IntegrationRef("named", f"text-{number}")] = named
        yield found


def fed(folder: Path) -> dict[str, list[str]]:
    """What every sink received, by its name."""
    sinks: dict[str, list[str]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    command = Command(folder)
    webhook, slack, mailbox = Receiver(), Receiver(), Mailbox()
    slack.status = 200
    with tenants() as found, mail_server(mailbox) as port, ExitStack() as ending:
        for receiver in (webhook, slack):
            ending.callback(receiver.server.server_close)
            ending.callback(receiver.server.shutdown)
        settings = load_settings(
            home=command.home,
            alert_webhook=webhook.url,
            alert_slack=slack.url,
            fetch_attempts=1,
            request_timeout=5,
            **mail_settings(port),
        )
        with SyncService.open(settings) as platform:
            for ref, one in found.items():
                platform.registry.add(ref, one.provider, one.data)
        sinks |= printed(command, found)
        with SyncService.open(settings) as platform, open_instance(settings) as instance:
            Ticks(platform, instance)()
            sinks |= dagsters(instance)
        sinks["/health"] = [fetched(settings, "/health")]
        sinks["/metrics"] = [fetched(settings, "/metrics")]
    sinks["webhook"] = [
        text
        for _, body in webhook.received
        for alert in [json.loads(body)]
        for text in (alert["text"], *(str(one) for one in alert["alerts"]))
    ]
    sinks["Slack"] = [json.loads(body)["text"] for _, body in slack.received]
    sinks["mail"] = [
        f"{message['subject']}\n{message.get_content()}".replace("\r\n", "\n")
        for envelope in mailbox.received
        for message in [email.message_from_bytes(envelope.content, policy=email.policy.default)]
    ]
    return sinks


def printed(command: Command, found: dict[IntegrationRef, Hostile]) -> dict[str, list[str]]:
    """What commands write, and the log on standard error."""
    more = {
        "ELT_ASSETS_FETCH_ATTEMPTS": "1",
        "ELT_ASSETS_REQUEST_TIMEOUT": "5",
        "ELT_ASSETS_MAX_REJECT_SHARE": "0.5",
    }
    plain = [
        command("sync", "--all", more=more),
        *(
            command(*line.split(), more=more)
            for line in (
                "syncs",
                "users records:main",
                "rejected records:main",
                "changes records:main",
                "integrations list",
                "integrations test records:main",
                "integrations show named:text-0",
                "quarantine list",
                "health",
            )
        ),
        *(command("integrations", "test", str(ref), more=more) for ref in [*found][::3]),
    ]
    as_document = [
        command(*line.split(), "--json", more=more)
        for line in (
            "sync --all",
            "syncs",
            "users records:main",
            "rejected records:main",
            "changes records:main",
            "integrations list",
            "health",
        )
    ]
    return {
        "terminal": [one.out for one in plain],
        "log": [one.err for one in plain + as_document],
        "--json": [one.out for one in as_document],
    }


def dagsters(instance: dg.DagsterInstance) -> dict[str, list[str]]:
    """Everything that the events of all runs show as Markdown, and their other text."""
    shown: dict[str, list[str]] = {"Dagster's Markdown": [], "Dagster's text": []}

    def look(metadata: Any) -> None:
        for value in dict(metadata or {}).values():
            kind = "Markdown" if isinstance(value, dg.MarkdownMetadataValue) else "text"
            shown[f"Dagster's {kind}"].append(str(value.value))

    for run in instance.get_runs():
        for entry in instance.all_logs(run.run_id):
            shown["Dagster's text"].append(entry.user_message)
            event = entry.dagster_event
            data = getattr(event, "event_specific_data", None)
            for name in ("materialization", "asset_observation", "user_failure_data"):
                one = getattr(data, name, None)
                look(getattr(one, "metadata", None))
                shown["Dagster's text"].append(str(getattr(one, "description", "") or ""))
            look(getattr(data, "metadata", None))
            error = getattr(data, "error", None)
            if error is not None:
                shown["Dagster's text"].append(error.message)
    return shown


def fetched(settings: Settings, path: str) -> str:
    """What the monitoring endpoint answers, over HTTP."""
    server = uvicorn.Server(
        uvicorn.Config(application(settings, None), port=0, log_level="critical")
    )
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    serving = threading.Thread(target=server.run, daemon=True)
    serving.start()
    try:
        while not server.started:
            serving.join(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return str(answer.read().decode())
        except OSError as error:
            return str(error.read().decode())  # type: ignore[attr-defined]
    finally:
        server.should_exit = True
        serving.join()


def is_text(text: str) -> bool:
    """Whether a terminal, a file or a program that reads it is steered by nothing in it."""
    return not has_active_characters(text.replace("\t", " "))


def is_markdown(text: str) -> bool:
    """Whether everything is text but our own marks: list items, bold verdicts, heads of tables."""
    lines = text.splitlines()
    rows = [
        line for line, under in pairwise([*lines, ""]) if not re.fullmatch(r"\|( --- \|)+", under)
    ]
    cells = [cell for line in rows for cell in re.split(r" ?(?<!\\)\| ?", line)]
    plain = [re.sub(r"^(- )?(\*\*[A-Z][a-z ]+\.\*\*)?", "", cell) for cell in cells]
    return is_inert(text) and all(map(is_markdown_text, plain))


HOLDS: dict[str, Callable[[str], bool]] = {
    "terminal": is_text,
    "log": is_text,
    "--json": is_text,
    "Dagster's text": is_text,
    "Dagster's Markdown": is_markdown,
    "/health": is_inert,
    "/metrics": is_inert,
    "webhook": is_inert,
    "Slack": is_inert,
    "mail": is_inert,
}


def sinks_campaign(folder: Path) -> Figures:
    """Feed every sink once; what is not inert in it is a violation."""
    figures = Figures("hostile text")
    figures.seen["texts"], figures.seen["places of a provider"] = len(TEXTS), len(SOURCES)
    for sink, texts in fed(folder).items():
        figures.fired[f"sink: {sink}"] += sum(bool(text) for text in texts)
        figures.judge(
            sink,
            (
                Violation("active text", sink, repr(text)[:500])
                for text in texts
                if not HOLDS[sink](text)
            ),
        )
    figures.missing = figures.never_fired(f"sink: {name}" for name in HOLDS)
    return figures
