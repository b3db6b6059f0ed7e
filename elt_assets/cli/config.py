"""`elt-assets config`: settings, and what they lead to.

Belongs here: the commands and their report. Does not: what is looked at (health.configuration).
"""

from __future__ import annotations

import click

from elt_assets.cli.exit_statuses import FAILED
from elt_assets.cli.output import as_json, print_json, print_table


@click.group()
def config() -> None:
    """Check settings and what they lead to."""


@config.command(
    epilog="Example: elt-assets config check --json\n\nExit status: 1 if anything is wrong, else 0."
)
@as_json
def check(as_json: bool) -> int:
    """Connect to everything that is configured; a line for each thing, and for each mistake.

    Says version and rights of the operational database, and writes nothing into it.
    """
    from elt_assets.health.configuration import configuration

    found = [*configuration()]
    if as_json:
        print_json([{"name": one.name, "ok": one.ok, "detail": one.detail} for one in found])
    else:
        print_table(
            ("what", "result", "detail"),
            [(one.name, "ok" if one.ok else "failed", one.detail) for one in found],
        )
    return 0 if all(one.ok for one in found) else FAILED
