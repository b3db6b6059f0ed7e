"""Log records of a command as lines on standard error, with tracebacks only under `--debug`."""

from __future__ import annotations

import logging

from elt_assets.cli.console.output import note


class OneLine(logging.Handler):
    """Prints a record's message; with `tracebacks`, what the record says about an error too."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(logging.WARNING)
        self._tracebacks = tracebacks

    def emit(self, record: logging.LogRecord) -> None:
        """Print through standard error as it is now, which a live display may have taken over.

        Events with facts are for a log; a command shows their outcome by itself.
        """
        if isinstance(record.msg, dict):
            return
        note(record.getMessage())
        if self._tracebacks and record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                note(line)


def log_to_standard_error(*, tracebacks: bool) -> None:
    """Print the package's warnings and errors, instead of Python's own way of doing it."""
    logger = logging.getLogger("elt_assets")
    for handler in logger.handlers[:]:
        if isinstance(handler, OneLine):
            logger.removeHandler(handler)
    logger.addHandler(OneLine(tracebacks=tracebacks))
