"""The conformance table: run every check of every preset and record the verdicts.

    python -m elt_assets_tests.connector_pages.conformance_table docs/connectors.md

The verdicts are kept next to the presets. The pages of the documentation are written from both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.verify import emulated
from elt_assets_tests.connector_pages import documentation


def main(document: Path) -> None:
    """Verify all presets, record the verdicts and write the documents."""
    verdicts: dict[str, dict[str, dict[str, str]]] = {}
    for name in emulations():
        streams = verdicts[name] = {}
        for one in emulated(name).findings:
            streams.setdefault(one.stream, {})[one.check] = str(one.verdict)
            click.echo(f"{name} {one.stream} {one.check}: {one.verdict}: {one.detail}", err=True)
    documentation.VERDICTS.write_bytes(
        msgspec.json.format(msgspec.json.encode(verdicts), indent=2) + b"\n"
    )
    documentation.write(document)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
