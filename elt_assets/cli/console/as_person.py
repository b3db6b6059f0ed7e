"""The option `--as`, by which a command is told on whose behalf it acts."""

from __future__ import annotations

import os

import click

from elt_assets.sync.state.actor import act_as


def _acting(context: click.Context, _: click.Parameter, person: str | None) -> None:
    # A proxy sets the variable; what is typed, wherever, comes before it.
    if person is None and context.parent is None:
        person = os.environ.get("ELT_ASSETS_AS")
    if person:
        act_as(person)


as_person = click.option(
    "--as",
    metavar="PERSON",
    expose_value=False,
    callback=_acting,
    help="On whose behalf, for the audit log; this account is recorded in any case.",
)
"""What every command has that decides or changes something."""
