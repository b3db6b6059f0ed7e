"""`elt-assets integrations …`: register, test, show, change and remove integrations."""

from __future__ import annotations

import sys
from typing import IO, Any

import click
import yaml

from elt_assets.cli.commands.connections.integration_lists import export, import_
from elt_assets.cli.console.as_person import as_person
from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, complain, note, print_json, print_table
from elt_assets.cli.console.stream_option import of_stream
from elt_assets.cli.installation import existing_platform, registered
from elt_assets.config import documents
from elt_assets.config.settings import load_settings
from elt_assets.connectors import catalog
from elt_assets.errors import InvalidInput, SyncError
from elt_assets.errors.foreign_text import visible
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.extract.preview import Preview
from elt_assets.sync.service import SyncService
from elt_assets.sync.state.registry import Integration
from elt_assets.sync.streams import STREAMS, USERS, Stream

named = click.argument("integration", metavar="ORG:ID")


@click.group(epilog="Example: elt-assets integrations list")
def integrations() -> None:
    """Connect, show, test, disable and disconnect integrations."""


integrations.add_command(import_)
integrations.add_command(export)


@integrations.command(
    epilog="Example: elt-assets integrations add --org org-001 --id okta-main --provider rest "
    "--data okta-main.yaml"
)
@click.option("--org", "organization_id", required=True, help="Organization of the integration.")
@click.option(
    "--id", "integration_id", required=True, help="Name of the integration within the organization."
)
@click.option(
    "--provider", required=True, help="Kind of provider; `integrations providers` lists them."
)
@click.option(
    "--data",
    type=click.File(encoding="utf-8"),
    required=True,
    help="File with provider_data, YAML or JSON; - reads standard input.",
)
@click.option(
    "--if-absent", is_flag=True, help="Do nothing if the integration is registered already."
)
@as_person
def add(
    organization_id: str, integration_id: str, provider: str, data: IO[str], if_absent: bool
) -> None:
    """Validate provider_data and register the integration. Name secrets by reference only."""
    ref = IntegrationRef(organization_id, integration_id)
    provider_data = catalog.validate(provider, _document(data))
    settings = load_settings()
    with SyncService.open(settings) as platform:
        added = platform.registry.add(ref, provider, provider_data, if_absent=if_absent)
    # Importing Dagster takes 1.4 s; mistakes are reported before that.
    from elt_assets.orchestration.instance.opening import open_instance
    from elt_assets.orchestration.partitions import add_partition_keys

    with open_instance(settings) as instance:
        add_partition_keys(instance, [ref])
    if not added:
        click.echo(f"{ref} is registered already and was not changed.")
        return
    click.echo(
        f"Added {ref}. See one page of its records with `elt-assets integrations test {ref}`, "
        f"then sync it with `elt-assets sync {ref}`."
    )


@integrations.command(
    epilog="Example: elt-assets integrations update org-001:okta-main --data okta-main.yaml"
)
@named
@click.option(
    "--data",
    type=click.File(encoding="utf-8"),
    required=True,
    help="File with the complete new provider_data, YAML or JSON; - reads standard input.",
)
@as_person
def update(integration: str, data: IO[str]) -> None:
    """Replace an integration's provider_data; its users change with the next sync."""
    provider_data = _document(data)
    with existing_platform() as platform:
        ref = registered(platform, integration)
        changed = platform.registry.update(ref, provider_data)
    if changed:
        click.echo(f"Updated {ref}; its next sync reads everything: `elt-assets sync {ref}`.")
    else:
        click.echo(f"{ref} already has this provider_data.")


@integrations.command(name="list", epilog="Example: elt-assets integrations list --json")
@as_json
def list_(as_json: bool) -> None:
    """List every registered integration, in order of registration."""
    with existing_platform() as platform:
        found = platform.registry.all()
    if as_json:
        print_json([_summary(integration) for integration in found])
        return
    if not found:
        note("no integration is registered; add one with `elt-assets integrations add`")
        return
    print_table(
        ("integration", "provider", "enabled", "added"),
        [
            (
                one.ref.partition_key,
                one.provider,
                "being removed" if one.removing else one.enabled,
                one.created_at,
            )
            for one in found
        ],
    )


@integrations.command(epilog="Example: elt-assets integrations show demo-001:people-001")
@named
@as_json
def show(integration: str, as_json: bool) -> None:
    """Show one integration, with its secrets as references."""
    with existing_platform() as platform:
        found = platform.registry.get(IntegrationRef.parse(integration))
    document = {**_summary(found), "provider_data": found.provider_data}
    if as_json:
        print_json(document)
        return
    click.echo(
        visible(
            yaml.safe_dump(document, sort_keys=False, allow_unicode=True, default_flow_style=False),
            most=10_000_000,
        ),
        nl=False,
    )


@integrations.command(epilog="Example: elt-assets integrations test org-001:okta-main")
@named
@of_stream
@click.option("--all-streams", is_flag=True, help="Test every stream that is configured.")
@as_json
def test(integration: str, stream: Stream, all_streams: bool, as_json: bool) -> int:
    """Fetch one page and show the mapped records, without writing anything.

    Suspicious results cause warnings. With --all-streams every stream is tested; the exit status
    is 1 if one of them cannot be read.
    """
    with existing_platform() as platform:
        ref = registered(platform, integration)
        if all_streams:
            return _test_all(platform, ref, as_json)
        found = platform.preview(stream, ref)
    if as_json:
        print_json(found)
    else:
        _show(stream, found)
    return 0


def _test_all(platform: SyncService, ref: IntegrationRef, as_json: bool) -> int:
    """Test each stream that is synced, which excludes sign-ins; return the exit status."""
    offered = catalog.streams(platform.registry.get(ref).provider_data)
    documents: dict[str, Any] = {}
    failed = False
    for stream in (STREAMS[name] for name in offered if name in STREAMS):
        try:
            found = platform.preview(stream, ref)
        except SyncError as error:
            failed = True
            documents[stream.name] = {"error": str(error)}
            complain(f"{stream.name}: {error}")
            continue
        documents[stream.name] = found
        if not as_json:
            click.echo(f"{stream.name}:")
            _show(stream, found)
    if as_json:
        print_json({"streams": documents})
    return FAILED if failed else 0


def _show(stream: Stream, found: Preview) -> None:
    columns = [column.name for column in stream.columns]
    columns += ["attributes", "source_updated_at"]
    print_table(columns, [[record[column] for column in columns] for record in found.records])
    for letter in found.rejected:
        note(f"rejected {letter['key'] or 'a record without a readable key'}: {letter['reason']}")
    for warning in found.warnings:
        note(f"warning: {warning}")
    total = "" if found.declared_total is None else f" of {found.declared_total:,} declared"
    note(
        f"{found.count:,} records on this page{total}, {len(found.rejected):,} rejected; "
        f"{'more pages follow' if found.has_more else 'this is the last page'}; nothing was written"
    )


@integrations.command(epilog="Example: elt-assets integrations enable org-001:okta-main")
@named
@as_person
def enable(integration: str) -> None:
    """Sync an integration again."""
    _set_enabled(integration, True)


@integrations.command(epilog="Example: elt-assets integrations disable org-001:okta-main")
@named
@as_person
def disable(integration: str) -> None:
    """Stop syncing an integration; its data is kept."""
    _set_enabled(integration, False)


@integrations.command(epilog="Example: elt-assets integrations remove org-001:okta-main --yes")
@named
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@as_person
def remove(integration: str, yes: bool) -> None:
    """Disconnect an integration and delete all its data. This cannot be undone."""
    from elt_assets.signin_events.pipeline import EventPipeline

    with existing_platform() as platform:
        ref = registered(platform, integration)
        if not yes and not sys.stdin.isatty():
            raise click.UsageError(f"removing {ref} deletes its data for good: add --yes")
        if not yes:
            users = platform.counts(USERS, ref)["latest"]
            click.confirm(
                f"Delete {ref} with its {users:,} users, their history and its files for good?",
                abort=True,
                err=True,
            )
        # Events first: an interrupted removal can be repeated while the registry knows the
        # integration. The second removal covers a run that was fetching events meanwhile.
        with EventPipeline(platform) as events:
            events.forget(ref)
            gone = platform.remove(ref)
            events.forget(ref)
    click.echo(f"Removed {ref} and its data.")
    if not gone:
        note(
            "another process is reading the database, so its write-ahead log still holds deleted "
            "rows; `elt-assets maintain` empties it"
        )


@integrations.command(epilog="Example: elt-assets integrations schema rest")
@click.argument("provider")
def schema(provider: str) -> None:
    """Print the JSON Schema of a provider's provider_data."""
    print_json(catalog.schema(provider))


@integrations.command(epilog="Example: elt-assets integrations providers")
@as_json
def providers(as_json: bool) -> None:
    """List the kinds of provider that can be connected."""
    found = catalog.providers()
    if as_json:
        print_json(found)
        return
    print_table(("provider",), [(provider,) for provider in found])


def _document(data: IO[str]) -> object:
    """The content of a YAML or JSON file. Raises `InvalidInput` with the place of a mistake."""
    name = "standard input" if data.name == "<stdin>" else data.name
    try:
        text = data.read()
    except UnicodeDecodeError:
        raise InvalidInput(
            f"{name} is not UTF-8 text: give provider_data as YAML or JSON"
        ) from None
    return documents.load(text, name)


def _summary(integration: Integration) -> dict[str, Any]:
    return {
        "partition": integration.ref.partition_key,
        "organization_id": integration.ref.organization_id,
        "integration_id": integration.ref.integration_id,
        "provider": integration.provider,
        "enabled": integration.enabled,
        "removing": integration.removing,
        "created_at": integration.created_at,
        "updated_at": integration.updated_at,
    }


def _set_enabled(partition_key: str, enabled: bool) -> None:
    with existing_platform() as platform:
        ref = registered(platform, partition_key)
        platform.registry.set_enabled(ref, enabled)
    click.echo(f"{ref} is {'enabled' if enabled else 'disabled'}.")
