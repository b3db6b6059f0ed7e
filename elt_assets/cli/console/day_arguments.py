"""Days and ranges of days as arguments, such as 2026-01-05."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import click

from elt_assets.errors import InvalidInput


class Day(click.ParamType[date]):
    """A day in UTC."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse a day; anything else is a usage error."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day: write it as 2026-01-05", param, ctx)


def stretch(*, required: bool) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options --from and --to, which the command receives as `begin` and `end`."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for name, variable, text in (
            ("--to", "end", "Last day, inclusive."),
            ("--from", "begin", "First day, UTC."),
        ):
            command = click.option(
                name, variable, type=Day(), metavar="DAY", required=required, help=text
            )(command)
        return command

    return decorate


def every_day(begin: date, end: date) -> list[date]:
    """Return the days from `begin` to `end`, inclusive. Raises `InvalidInput` if there are none."""
    if end < begin:
        raise InvalidInput(f"the last day, {end}, is before the first, {begin}")
    return [date.fromordinal(day) for day in range(begin.toordinal(), end.toordinal() + 1)]
