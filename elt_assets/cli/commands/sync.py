"""`elt-assets sync`: bring integrations up to date, through Dagster, in this process."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from elt_assets.cli.console.exit_statuses import FAILED, QUARANTINED
from elt_assets.cli.console.output import as_json, note, print_json, print_table, program
from elt_assets.cli.console.profiling import profiled
from elt_assets.cli.console.stream_option import StreamName
from elt_assets.cli.foreground import run_syncs
from elt_assets.cli.installation import existing_platform
from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import load_settings
from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef, checked_name
from elt_assets.sync.admin.completeness import completeness, incomplete_outcomes
from elt_assets.sync.outcome import Mode, Outcome, Status
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import STREAMS, USERS, Stream


@click.command(
    epilog="Example: elt-assets sync org-001:okta-main\n\n"
    "Exit status: 0 if every integration is up to date; 3 if any needs a person (quarantined, or "
    "a listing that is far from complete, which is new or worse than before); 1 if any failed."
)
@click.argument("integrations", nargs=-1, metavar="[ORG:ID]...")
@click.option("--all", "everything", is_flag=True, help="Sync every enabled integration.")
@click.option(
    "--stream",
    "streams",
    type=StreamName(),
    multiple=True,
    help=f"Sync only this kind of record ({', '.join(STREAMS)}); may be repeated. Default: all "
    "that an integration offers; with --incremental or --retry-rejected, users.",
)
@click.option(
    "--sync-id",
    help="Name of the sync. With a name that was used before, interrupted integrations continue "
    "and settled ones are only reported. Default: a new name.",
)
@click.option(
    "--full/--incremental",
    "full",
    default=None,
    help="Fetch every record, or only those changed since the last sync.",
)
@click.option(
    "--retry-rejected",
    is_flag=True,
    help="Fetch nothing; map the records of the newest sync again after a correction of "
    "provider_data.",
)
@click.option(
    "--strict",
    is_flag=True,
    help="Exit with status 3 whenever a listing is not complete.",
)
@as_json
@click.option(
    "--profile",
    "profile_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write a cProfile file for snakeviz or pstats.",
)
def sync(
    integrations: tuple[str, ...],
    everything: bool,
    streams: tuple[Stream, ...],
    sync_id: str | None,
    full: bool | None,
    retry_rejected: bool,
    strict: bool,
    as_json: bool,
    profile_path: Path | None,
) -> int:
    """Bring integrations up to date through Dagster in this process; no server is needed."""
    if bool(integrations) == everything:
        raise click.UsageError("name integrations as ORG:ID, or give --all (one of the two)")
    sync_id = checked_name(sync_id, "sync id") if sync_id else new_sync_id()
    settings = load_settings()
    with existing_platform() as platform:
        chosen = _everything_enabled(platform) if everything else _named(platform, integrations)
        _refuse_without_streams(chosen, streams)
        if not streams:
            is_about_users = full is False or retry_rejected
            streams = (USERS,) if is_about_users else tuple(STREAMS.values())
        if full is False:
            _refuse_without_incremental(platform, chosen, streams)
    refs = [integration.ref for integration in chosen]
    syncs = sum(integration.offers(stream) for integration in chosen for stream in streams)
    with profiled(profile_path):
        if retry_rejected:
            outcomes = _mapped_again(refs, streams)
        elif syncs:
            outcomes = run_syncs(refs, settings, SyncCommand(sync_id, streams, _MODES[full]), syncs)
        else:
            outcomes = []
    if as_json:
        print_json({"sync": [outcome.as_json() for outcome in outcomes]})
    else:
        show(outcomes)
    if profile_path:
        note(f"profile written to {profile_path}; look at it with `snakeviz {profile_path}`")
    status = status_of(outcomes, sync_id)
    incomplete = [one for one in outcomes if _is_incomplete(one)]
    if status or not incomplete:
        return status
    with existing_platform() as platform:
        return QUARANTINED if strict or incomplete_outcomes(platform, incomplete) else 0


def _is_incomplete(outcome: Outcome) -> bool:
    return completeness(outcome.status, outcome.mode, outcome.certificate) is False


_MODES = {None: None, True: Mode.FULL, False: Mode.INCREMENTAL}


def _mapped_again(refs: Sequence[IntegrationRef], streams: Sequence[Stream]) -> list[Outcome]:
    with existing_platform() as platform:
        return [platform.retry_rejected(stream, ref) for ref in refs for stream in streams]


def new_sync_id(what: str = "sync") -> str:
    """A new, unique name for a sync, which sorts by time."""
    return f"{what}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def show(outcomes: Sequence[Outcome]) -> None:
    """Print one row for each sync, without columns that have nothing to show."""
    columns: dict[str, list[Any]] = {
        "integration": [outcome.partition for outcome in outcomes],
        "stream": [outcome.stream for outcome in outcomes],
        "status": [str(outcome.status) for outcome in outcomes],
        "staged": [outcome.counts.staged for outcome in outcomes],
        "rejected": [outcome.counts.rejected for outcome in outcomes],
        "inserted": [outcome.counts.inserts for outcome in outcomes],
        "updated": [outcome.counts.updates for outcome in outcomes],
        "deleted": [outcome.counts.deletes for outcome in outcomes],
        "withheld": [outcome.counts.withheld for outcome in outcomes],
        "pending": [outcome.counts.pending_deletes for outcome in outcomes],
        "complete": [_completeness(outcome) for outcome in outcomes],
        # A failed sync did not count the latest table; 0 would look as if it were empty.
        "latest": [
            None if outcome.status is Status.FAILED else outcome.counts.latest
            for outcome in outcomes
        ],
    }
    for optional in ("rejected", "withheld", "pending"):
        if not any(columns[optional]):
            del columns[optional]
    if set(columns["stream"]) <= {USERS.name}:
        del columns["stream"]
    print_table(list(columns), zip(*columns.values(), strict=True))
    _explain(outcomes)


def _completeness(outcome: Outcome) -> str | None:
    complete = completeness(outcome.status, outcome.mode, outcome.certificate)
    return None if complete is None else "yes" if complete else "NO"


def _explain(outcomes: Sequence[Outcome]) -> None:
    """Print why listings are incomplete, which changes are withheld, and which deletes wait."""
    for outcome in [one for one in outcomes if _is_incomplete(one)][:_EXPLAINED]:
        note(
            f"{outcome.partition} {outcome.stream}: the listing is not complete: "
            f"{'; '.join(outcome.certificate.reasons) or 'no reason is recorded'}"
        )
    for outcome in [one for one in outcomes if one.counts.withheld][:_EXPLAINED]:
        note(
            f"{outcome.partition} {outcome.stream}: {outcome.counts.withheld:,} changes are "
            f"withheld: {'; '.join(outcome.reasons)}; decide with `elt-assets quarantine list`"
        )
    pending = [one for one in outcomes if one.counts.pending_deletes]
    if pending:
        due = datetime.now(UTC) + load_settings().confirm_after
        total = sum(one.counts.pending_deletes for one in pending)
        note(
            f"{total:,} deletes wait for a second complete listing; the daemon makes one from "
            f"{due:%H:%M} UTC on, or run the sync again"
        )


_EXPLAINED = 20


def status_of(outcomes: Sequence[Outcome], sync_id: str) -> int:
    """The exit status of a sync; a failed sync also gets a line on how to continue."""
    statuses = {outcome.status for outcome in outcomes}
    failures = [outcome for outcome in outcomes if outcome.status not in _FINE]
    if failures:
        failed = list(dict.fromkeys(outcome.partition for outcome in failures))
        names = "--all" if len(failed) > _NAMED_AT_MOST else " ".join(failed)
        note(
            f"{len(failures):,} of {len(outcomes):,} failed; what they fetched is kept. Continue "
            f"with `{program()} sync {names} --sync-id {sync_id}`"
        )
        return FAILED
    return QUARANTINED if Status.QUARANTINED in statuses else 0


_NAMED_AT_MOST = 5
_FINE = frozenset({Status.APPLIED, Status.UNCHANGED, Status.QUARANTINED, Status.SUPERSEDED})


def _named(platform: SyncService, partition_keys: Sequence[str]) -> list[Integration]:
    """The integrations of the command line, each once. Mistakes are found before anything runs."""
    refs = dict.fromkeys(IntegrationRef.parse(key) for key in partition_keys)
    chosen = [platform.registry.get(ref) for ref in refs]
    for integration in chosen:
        if not integration.enabled:
            raise InvalidInput(
                f"{integration.ref} is disabled; to sync it again, run `elt-assets integrations "
                f"enable {integration.ref}`"
            )
    return chosen


def _everything_enabled(platform: SyncService) -> list[Integration]:
    chosen = platform.registry.all(enabled=True)
    if not chosen:
        note("no enabled integration is registered; add one with `elt-assets integrations add`")
    return chosen


def _refuse_without_streams(integrations: Sequence[Integration], streams: Sequence[Stream]) -> None:
    """Raise `InvalidInput` for a stream that none of the integrations offers."""
    for stream in streams:
        if integrations and not any(integration.offers(stream) for integration in integrations):
            raise InvalidInput(
                f"{integrations[0].ref} {'and the others have' if integrations[1:] else 'has'} no "
                f"stream {stream.name}; add it to `streams` in provider_data"
            )


def _refuse_without_incremental(
    platform: SyncService, integrations: Sequence[Integration], streams: Sequence[Stream]
) -> None:
    for integration in integrations:
        for stream in streams:
            if integration.offers(stream) and not platform.reads_changes(stream, integration):
                raise InvalidInput(
                    f"{integration.ref} cannot be synced incrementally: its provider_data has no "
                    f"`incremental` for {stream.name}; leave --incremental out to fetch everything"
                )
