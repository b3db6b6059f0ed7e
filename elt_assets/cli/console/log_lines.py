"""Log records of a command as lines on standard error, with tracebacks only under `--debug`."""

from __future__ import annotations

import logging

from elt_assets.cli.console.output import note


class OneLine(logging.Handler):
    """Prints a record's message, and with `tracebacks` also its traceback."""

    def __init__(self, *, tracebacks: bool) -> None:
        super().__init__(logging.WARNING)
        self._tracebacks = tracebacks

    def emit(self, record: logging.LogRecord) -> None:
        """Print to the current standard error, which a live display may have replaced.

        Structured events are for log files; the command itself reports their outcome.
        """
        if isinstance(record.msg, dict):
            return
        note(record.getMessage())
        if self._tracebacks and record.exc_info:
            for line in logging.Formatter().formatException(record.exc_info).splitlines():
                note(line)


def log_to_standard_error(*, tracebacks: bool) -> None:
    """Print the package's warnings and errors in place of Python's default handler."""
    logger = logging.getLogger("elt_assets")
    for handler in logger.handlers[:]:
        if isinstance(handler, OneLine):
            logger.removeHandler(handler)
    logger.addHandler(OneLine(tracebacks=tracebacks))
