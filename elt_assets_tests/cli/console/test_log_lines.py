"""Log lines in a command are lines; a traceback is for those who ask."""

from __future__ import annotations

import logging

import pytest

from elt_assets.cli.console.log_lines import log_to_standard_error


@pytest.mark.parametrize("tracebacks", [False, True])
def test_a_logged_error_is_one_line_unless_tracebacks_are_asked_for(
    capsys: pytest.CaptureFixture[str], tracebacks: bool
) -> None:
    log_to_standard_error(tracebacks=tracebacks)
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logging.getLogger("elt_assets.sync.engine").exception("%s: unexpected error", "org:id")
    first, *rest = capsys.readouterr().err.splitlines()
    assert first == "org:id: unexpected error"
    assert bool(rest) is tracebacks


def test_configuring_logs_twice_prints_once(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        log_to_standard_error(tracebacks=False)
    logging.getLogger("elt_assets.storage").warning("waiting for a lock")
    assert capsys.readouterr().err == "waiting for a lock\n"
