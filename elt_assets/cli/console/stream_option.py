"""The option `--stream` and the argument STREAM."""

from __future__ import annotations

from typing import Any

import click

from elt_assets.sync.streams import STREAMS, USERS, Stream


class StreamName(click.ParamType[Stream]):
    """A stream by its name."""

    name = "stream"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Stream:
        """Parse the name of a stream; an unknown name is a usage error."""
        if isinstance(value, Stream):
            return value
        if value not in STREAMS:
            self.fail(f"{value!r} is not a stream; choose {', '.join(STREAMS)}", param, ctx)
        return STREAMS[value]


of_stream = click.option(
    "--stream",
    type=StreamName(),
    default=USERS.name,
    show_default=True,
    help=f"Kind of record: {', '.join(STREAMS)}.",
)
