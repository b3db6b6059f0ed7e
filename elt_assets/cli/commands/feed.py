"""`elt-assets feed …` and `serve-feed`: applied changes for applications."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import msgspec

from elt_assets.cli.commands.server.dev import refuse_a_port_in_use
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.cli.installation import existing_platform
from elt_assets.config.secret_refs import SecretRef
from elt_assets.config.settings import Settings, load_settings
from elt_assets.feed.consumers import Consumer, ConsumerEndpoint, Consumers, check_endpoint
from elt_assets.feed.delivery import Deliverer, check_egress, keep_delivering, signers
from elt_assets.feed.entries import read
from elt_assets.feed.numbering import BEGINNING, number_entries
from elt_assets.feed.scope import Scope
from elt_assets.feed.status import feed_status
from elt_assets.storage.from_settings import operational_database
from elt_assets.sync.service import SyncService
from elt_assets.sync.streams import STREAMS

_AT_ONCE = 1_000
_LOOK_EVERY = 0.5


@click.group(epilog="Example: elt-assets feed consumers add billing --org acme")
def feed() -> None:
    """Let applications hear of every applied change, and show how far each has read."""


@feed.group(epilog="Example: elt-assets feed consumers list")
def consumers() -> None:
    """Register the applications that hear of changes, and end their access."""


@consumers.command(epilog="Example: elt-assets feed consumers add billing --org acme")
@click.argument("name")
@click.option("--org", "organizations", multiple=True, help="Only this organization; repeatable.")
@click.option(
    "--stream",
    "streams",
    multiple=True,
    type=click.Choice([*STREAMS]),
    help="Only this stream; repeatable.",
)
@click.option("--field", "fields", multiple=True, help="Only this field's values; repeatable.")
@click.option("--names-only", is_flag=True, help="Send the names of changed fields, no values.")
@click.option(
    "--from",
    "after",
    metavar="POSITION",
    help=f"Position where the consumer begins; {BEGINNING}: the oldest entry kept. Default: now.",
)
@click.option("--webhook", metavar="URL", help="Send entries to URL; without it, consumers pull.")
@click.option(
    "--secret",
    metavar="env:NAME|file:PATH",
    help="Where the key that signs a webhook's messages is kept.",
)
@as_json
def add(
    name: str,
    organizations: tuple[str, ...],
    streams: tuple[str, ...],
    fields: tuple[str, ...],
    names_only: bool,
    after: str | None,
    webhook: str | None,
    secret: str | None,
    as_json: bool,
) -> None:
    """Register a consumer and print its token, once; with --webhook, send entries instead."""
    if fields and names_only:
        raise click.UsageError("--field and --names-only exclude each other")
    target = _webhook(webhook, secret)
    scope = Scope(organizations or None, streams or None, () if names_only else fields or None)
    with existing_platform() as platform:
        if target is not None:
            check_endpoint(target.endpoint)
            check_egress(platform.settings.egress_policy, scope, target.endpoint)
        detail = {"consumer": name, "scope": msgspec.to_builtins(scope)}
        platform.audit_log.record("feed consumer add", None, detail)
        token = Consumers(platform.database).add(name, scope, target, after=after)
    if target is not None and not as_json:
        begins = "from now on" if after is None else f"after {after}"
        note(f"{name} is sent every entry {begins}; `elt-assets feed status` shows how far it is")
        return
    _show_token(name, token, as_json)


@consumers.command("list", epilog="Example: elt-assets feed consumers list --json")
@as_json
def list_consumers(as_json: bool) -> None:
    """Show the consumers of the feed, and which part of it each may read."""
    with existing_platform() as platform:
        found = Consumers(platform.database).all()
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    print_table(
        ("consumer", "kind", "organizations", "streams", "fields", "since"),
        [
            (
                one.name,
                _kind(one),
                _names(one.scope.organizations),
                _names(one.scope.streams),
                _names(one.scope.fields) or "names only",
                one.created_at,
            )
            for one in found
        ],
    )


@consumers.command(epilog="Example: elt-assets feed consumers rotate billing")
@click.argument("name")
@as_json
def rotate(name: str, as_json: bool) -> None:
    """Print a new token for a consumer; the old token stops working at once."""
    with existing_platform() as platform:
        registered = Consumers(platform.database)
        registered.get(name)
        platform.audit_log.record("feed consumer rotate", None, {"consumer": name})
        token = registered.rotate(name)
    _show_token(name, token, as_json)


@consumers.command(epilog="Example: elt-assets feed consumers remove billing")
@click.argument("name")
def remove(name: str) -> None:
    """End a consumer's access and delete its position."""
    with existing_platform() as platform:
        registered = Consumers(platform.database)
        registered.get(name)
        platform.audit_log.record("feed consumer remove", None, {"consumer": name})
        registered.remove(name)
    note(f"consumer {name} is removed; its token no longer works")


@feed.command(epilog="Example: elt-assets feed tail --org acme --limit 20")
@click.option("--org", "organization", help="Only this organization.")
@click.option("--stream", type=click.Choice([*STREAMS]), help="Only this stream.")
@click.option("--from", "after", default=BEGINNING, metavar="POSITION", help="Where to begin.")
@click.option("--limit", type=click.IntRange(min=1), help="Show at most this many.")
@click.option("--follow", is_flag=True, help="Keep printing new entries until Ctrl-C.")
@click.option("--values", is_flag=True, help="Show values too, not only names of fields.")
def tail(
    organization: str | None,
    stream: str | None,
    after: str,
    limit: int | None,
    follow: bool,
    values: bool,
) -> None:
    """Print entries of the feed, one JSON document per line."""
    scope = Scope(fields=None if values else ()).narrowed(organization, stream)
    with existing_platform() as platform:
        state = number_entries(platform.database)
        begin = state.begins(after)
        left = limit
        while left is None or left > 0:
            state = number_entries(platform.database)
            wanted = _AT_ONCE if left is None else min(left, _AT_ONCE)
            found = read(platform.database, state, begin, wanted, scope)
            _print_lines(found.found)
            left = None if left is None else left - len(found.found)
            begin = found.next
            if begin >= state.head:
                if not follow:
                    return
                time.sleep(_LOOK_EVERY)


@feed.command(
    epilog="Example: elt-assets feed status --json\n\n"
    "Exit status: 1 if a consumer needs a person, else 0."
)
@as_json
def status(as_json: bool) -> int:
    """Show how far each consumer is behind, in entries and seconds, and its last error."""
    with existing_platform() as platform:
        found = feed_status(platform.database, platform.settings.keep_feed_bytes)
    if as_json:
        print_json(msgspec.to_builtins(found))
    else:
        note(
            f"the feed is at {found.position} and keeps {found.entries:,} entries in "
            f"{found.bytes / 1e6:,.1f} of {found.room / 1e6:,.0f} MB"
        )
        print_table(
            ("consumer", "kind", "state", "entries behind", "seconds behind", "last error"),
            [
                (one.name, one.kind, one.state, one.entries, one.seconds, one.error or "")
                for one in found.consumers
            ],
        )
    return 0 if all(one.ok for one in found.consumers) else FAILED


@feed.command(epilog="Example: elt-assets feed replay billing --from 0")
@click.argument("name")
@click.option(
    "--from",
    "after",
    required=True,
    metavar="POSITION",
    help=f"The position after which to begin again; {BEGINNING} for the oldest entry kept.",
)
def replay(name: str, after: str) -> None:
    """Move a consumer back to an earlier position: a webhook gets every later entry again.

    A consumer that pulls names its position in each request; only its reported lag changes.
    """
    with existing_platform() as platform:
        state = number_entries(platform.database)
        Consumers(platform.database).get(name)
        platform.audit_log.record("feed replay", None, {"consumer": name, "from": after})
        Consumers(platform.database).replay(name, after, state)
    note(f"consumer {name} continues after {after}")


@feed.command(epilog="Example: elt-assets feed retry billing")
@click.argument("name")
def retry(name: str) -> None:
    """Send again, at once, the message that a webhook did not accept."""
    with existing_platform() as platform:
        Consumers(platform.database).retry(name)
    note(f"the message to {name} is sent again")


@feed.command(epilog="Example: elt-assets feed skip billing")
@click.argument("name")
def skip(name: str) -> None:
    """Skip the message that a webhook did not accept, and continue with the next one."""
    with existing_platform() as platform:
        state = number_entries(platform.database)
        registered = Consumers(platform.database)
        failed = registered.get(name)
        skipped = {"consumer": name, "after": failed.position, "up to": failed.pending}
        platform.audit_log.record("feed skip", None, skipped)
        position = registered.skip(name)
    note(f"{name} continues after {state.text(position)}; skipped entries are not sent again")


@feed.command(epilog="Example: elt-assets feed deliver")
@click.option(
    "--seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds after which to stop.",
)
def deliver(seconds: float) -> None:
    """Send due messages to webhooks, once; `elt-assets serve-feed` does so all the time."""
    with existing_platform() as platform:
        taken = Deliverer(platform.database, platform.settings).deliver(seconds=seconds)
    note(f"{taken:,} entries were delivered")


@feed.command(epilog="Example: elt-assets feed secret > webhook.key")
def secret() -> None:
    """Print a new key for signing webhooks. Store it where --secret points, and at the receiver."""
    click.echo("whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


@click.command(epilog="Example: elt-assets serve-feed --port 8090")
@click.option("--host", help="Address to listen on. Default: ELT_ASSETS_FEED_HOST, 127.0.0.1.")
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="Port to listen on. Default: ELT_ASSETS_FEED_PORT, 8090.",
)
def serve_feed(host: str | None, port: int | None) -> None:
    """Serve /feed and /snapshot, and deliver webhooks; `elt-assets dev` includes this."""
    from elt_assets.feed.listener import listener

    settings = load_settings()
    host, port = host or settings.feed_host, port or settings.feed_port
    refuse_a_port_in_use(host, port, "--port")
    # Opening the service creates missing tables: `dev` may begin in an empty home.
    with SyncService.open(settings):
        pass
    note(f"feed on http://{host}:{port}/feed")
    listener(served(settings), host, port).run()


def served(settings: Settings, *, delivering: bool = True) -> Any:
    """Return the feed's application, behind the request guard of this installation's servers.

    With `delivering` it also sends webhooks while it runs.
    """
    from starlette.middleware import Middleware

    from elt_assets.feed.feed_app import application
    from elt_assets.orchestration.web.request_guard import RequestGuard, RequestRules

    access = RequestRules.of(settings.allowed_hosts, read_only=True)
    return application(
        lambda: operational_database(settings),
        [Middleware(RequestGuard, access=access)],
        (lambda database, stop: keep_delivering(database, settings, stop)) if delivering else None,
    )


def _webhook(endpoint: str | None, secret: str | None) -> ConsumerEndpoint | None:
    if endpoint is None and secret is None:
        return None
    if endpoint is None or secret is None:
        raise click.UsageError("--webhook and --secret belong together")
    kind, _, place = secret.partition(":")
    if kind not in ("env", "file") or not place:
        # The text is not quoted, because it may be the key itself.
        raise click.UsageError("--secret is env:NAME or file:PATH, never the key itself")
    if kind == "file":
        # The server that signs may run in another working directory.
        place = str(Path(place).absolute())
    reference = SecretRef.model_validate({kind: place})
    signers(reference)
    return ConsumerEndpoint(endpoint, reference)


def _show_token(name: str, token: str | None, as_json: bool) -> None:
    if as_json:
        print_json({"consumer": name, "token": token})
        return
    note(f"the token of {name}, shown this once:")
    click.echo(token)


def _print_lines(entries: Iterable[dict[str, Any]]) -> None:
    for entry in entries:
        click.echo(msgspec.json.encode(entry).decode())


def _as_json(consumer: Consumer) -> dict[str, Any]:
    scope = consumer.scope
    return {
        "name": consumer.name,
        "kind": _kind(consumer),
        "organizations": scope.organizations,
        "streams": scope.streams,
        "fields": scope.fields,
        "created_at": consumer.created_at,
    }


def _kind(consumer: Consumer) -> str:
    return "pull" if consumer.webhook is None else "webhook"


def _names(names: tuple[str, ...] | None) -> str:
    return "all" if names is None else ", ".join(names)
