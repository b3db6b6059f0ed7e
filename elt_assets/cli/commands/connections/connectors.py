"""`elt-assets connectors …`: verify that a connector fulfils what a sync relies on."""

from __future__ import annotations

import click

from elt_assets.cli.console.exit_statuses import FAILED
from elt_assets.cli.console.output import as_json, note, print_json, print_table
from elt_assets.conformance.verdict import CheckOutcome, Finding
from elt_assets.conformance.verify import verify as verified


@click.group(epilog="Example: elt-assets connectors verify okta")
def connectors() -> None:
    """Verify connectors: your own and those of the platform."""


@connectors.command(
    epilog="Example: elt-assets connectors verify acme.yaml --against http://127.0.0.1:8000"
)
@click.argument("connector", metavar="PROVIDER|FILE")
@click.option(
    "--against",
    metavar="URL",
    help="Server to verify against. Default: for a preset an emulator of its provider, for a file "
    "the address that it names.",
)
@click.option(
    "--provider",
    default="rest",
    show_default=True,
    help="Kind of provider whose provider_data FILE holds.",
)
@as_json
def verify(connector: str, against: str | None, provider: str, as_json: bool) -> int:
    """Run the conformance checks; exit with status 1 if one fails.

    PROVIDER is a preset, FILE holds provider_data. The checks read from the server several times
    and send wrong credentials once; they write nothing to this installation.
    """

    def progress(finding: Finding) -> None:
        note(f"{finding.stream} {finding.check}: {finding.verdict}")

    report = verified(connector, provider=provider, against=against, listener=progress)
    if as_json:
        print_json(report.document())
    else:
        print_table(
            ("stream", "check", "verdict", "detail"),
            [(one.stream, one.check, str(one.verdict), one.detail) for one in report.findings],
        )
        failed = sum(one.verdict is CheckOutcome.FAILED for one in report.findings)
        note(f"{connector} against {report.against}: {failed} of {len(report.findings)} failed")
    return 0 if report.passed else FAILED
