"""The option `--as`: on whose behalf a command acts."""

from __future__ import annotations

import os

import click

from elt_assets.sync.state.actor import act_as


def _acting(context: click.Context, _: click.Parameter, person: str | None) -> None:
    # A proxy sets the variable; the option takes precedence, wherever it is given.
    if person is None and context.parent is None:
        person = os.environ.get("ELT_ASSETS_AS")
    if person:
        act_as(person)


as_person = click.option(
    "--as",
    metavar="PERSON",
    expose_value=False,
    callback=_acting,
    help="Person on whose behalf to act, for the audit log, which also records this account.",
)
"""The option of every command that decides or changes something."""
