"""A log record says whose it is, and holds no secret and no person."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.secret_refs import Secrets
from elt_assets.errors import ProviderRefused
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.streams import USERS
from elt_assets.telemetry import logs
from elt_assets.telemetry.logs import PACKAGE, bound, configure, logger, stage
from elt_assets_tests.sync.worlds import ACME, Company, World, people


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Company]:
    made = Company(tmp_path / "home")
    yield made
    made.platform.close()


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What is written, as JSON; the package's logger is afterwards as it was."""
    package = logging.getLogger(PACKAGE)
    handlers, level = package.handlers[:], package.level
    sink = io.StringIO()
    configure("json", "info", to=sink)
    yield sink
    package.handlers[:] = handlers
    package.setLevel(level)


def events(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


def test_the_start_and_end_of_a_sync_are_logged_with_its_integration(
    company: Company, written: io.StringIO
) -> None:
    company.connect(ACME, World(people(3)))
    company.sync(sync_id="monday")
    begun, settled = [event for event in events(written) if "sync_id" in event]
    whose = {
        "organization": "acme",
        "integration": "main",
        "stream": "users",
        "sync_id": "monday",
        "level": "info",
    }
    assert begun["event"] == "sync begun"
    assert settled["event"] == "sync settled"
    assert begun.items() >= whose.items()
    assert settled.items() >= {**whose, "status": "applied", "inserted": 3}.items()


def test_records_of_two_threads_have_their_own_syncs(
    company: Company, written: io.StringIO
) -> None:
    refs = [IntegrationRef(f"org-{number}", "okta") for number in range(8)]
    for ref in refs:
        company.connect(ref, World(people(2)))
    list(company.platform.sync(USERS, refs, sync_id="s1"))
    told = [
        (event["organization"], event["event"]) for event in events(written) if "sync_id" in event
    ]
    assert sorted(told) == sorted(
        (ref.organization_id, what) for ref in refs for what in ("sync begun", "sync settled")
    )


def test_a_failure_is_a_warning_with_its_cause(company: Company, written: io.StringIO) -> None:
    company.connect(ACME, World(fail_at={0: ProviderRefused("page 1: 401 for ann@example.com")}))
    company.sync()
    failed = events(written)[-1]
    assert (failed["event"], failed["level"]) == ("sync failed", "warning")
    assert failed["error"] == "acme:main: page 1: 401 for [mail]"


def test_secrets_and_personal_data_are_removed_from_every_field(written: io.StringIO) -> None:
    secrets = Secrets()
    secrets.remember("s3cr3t-of-acme")
    with bound(ACME, "s1", "users", secrets), stage("extract"):
        logger.info(
            "asked",
            url="https://ann:pa55word@example.com/users?key=s3cr3t-of-acme",
            headers={"Authorization": "Bearer abcdefgh12345678"},
            said="Bearer abcdefgh12345678 was refused for ann@example.com",
            raw={"id": "u-1"},
            name="Ann Example",
            api_key="whatever",
            rows=[{"email": "ann@example.com"}],
        )
        logging.getLogger("elt_assets.connectors").info("got s3cr3t-of-acme from %s", "a@b.example")
    text = written.getvalue()
    for private in ("s3cr3t", "pa55word", "abcdefgh", "ann@", "Ann Example", "whatever", "u-1"):
        assert private not in text
    first, second = events(written)
    assert first["stage"] == second["stage"] == "extract"
    assert second["event"] == "got [secret] from [mail]"


def test_a_traceback_is_kept_and_cleaned(written: io.StringIO) -> None:
    try:
        raise ValueError("cannot reach ann@example.com")
    except ValueError:
        logging.getLogger("elt_assets.sync.engine").exception("unexpected error")
    (event,) = events(written)
    assert "test_a_traceback_is_kept_and_cleaned" in event["exception"]
    assert "ann@" not in event["exception"]


def test_the_console_form_is_one_line_for_people(written: io.StringIO) -> None:
    sink = io.StringIO()
    configure("console", "info", to=sink)
    with bound(ACME, "s1", "users", Secrets()):
        logger.info("sync settled", inserted=3)
    (line,) = sink.getvalue().splitlines()
    for part in ("sync settled", "inserted=3", "organization=acme", "integration=main"):
        assert part in line


def test_configuring_again_replaces_the_configuration(written: io.StringIO) -> None:
    second = io.StringIO()
    configure("json", "info", to=second)
    logger.info("hello")
    assert written.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1


def test_less_important_records_are_left_out(written: io.StringIO) -> None:
    configure("json", "warning", to=written)
    logger.info("quiet")
    logger.warning("loud")
    assert [event["event"] for event in events(written)] == ["loud"]


def test_no_fact_of_a_sync_stays_bound_for_the_next() -> None:
    with bound(ACME, "s1", "users", Secrets()):
        pass
    assert logs.structlog.contextvars.get_contextvars() == {}
