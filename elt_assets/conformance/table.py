"""The conformance table: run every check of every preset and write what came of it.

    python -m elt_assets.conformance.table docs/connectors.md

The verdicts are kept next to the presets, and docs/connectors.md is written again from both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from elt_assets.conformance.emulators import EMULATIONS
from elt_assets.conformance.verify import emulated
from elt_assets.connectors import documentation
from elt_assets.connectors.presets import preset

RECORD = Path(preset.__file__).parent / "conformance.json"


def main(document: Path) -> None:
    """Verify all presets, record the verdicts and write the document."""
    verdicts = {}
    for name in sorted(EMULATIONS):
        report = emulated(name)
        verdicts[name] = {one.check: str(one.verdict) for one in report.findings}
        for one in report.findings:
            click.echo(f"{name} {one.check}: {one.verdict}: {one.detail}", err=True)
    RECORD.write_bytes(msgspec.json.format(msgspec.json.encode(verdicts), indent=2) + b"\n")
    preset.verdicts.cache_clear()
    document.write_text(documentation.document(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
