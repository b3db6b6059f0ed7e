"""Text of providers acts nowhere that it is shown."""

from __future__ import annotations

import io
import json
import logging
import unicodedata

import dagster as dg
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elt_assets.cli.console.output import complain, print_json, print_table
from elt_assets.connectors.http.error_bodies import complaint
from elt_assets.errors import PermanentError
from elt_assets.errors.foreign_text import LONGEST, SHOWN, inert, json_text, markdown, visible
from elt_assets.monitoring.health_report import Check, HealthReport
from elt_assets.orchestration.alerts.issues import Issue, grouped
from elt_assets.orchestration.assets.failed_partitions import (
    DeadLetter,
    FailedAttempt,
    FailureDetails,
    failed_observation,
)
from elt_assets.orchestration.assets.materializations import failure
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.streams import USERS
from elt_assets.telemetry import logs

ATTACKS = {
    "image": "![x](https://evil.example/x.png)",
    "link": "[click](https://evil.example/a?b=c)",
    "angle link": "<https://evil.example>",
    "html": '<img src=x onerror="alert(1)"><script>alert(1)</script>',
    "bare address": "see https://evil.example/now or www.evil.example or evil.example/now",
    "script address": "javascript:alert(1) data:text/html,x mailto:a@evil.example",
    "mentions": "<!channel> <@U1> @everyone @here a@evil.example",
    "escape": "\x1b]8;;https://evil.example\x07click\x1b]8;;\x07 \x9b31m \x7f",
    "direction": "user\u202egnp.exe \u2066x\u2069 \u200e\u200f \u061c",
    "hidden": "a\u200bb\u2060c\ufeff\U000e0041\u00ad",
    "lines": "one\n# two\r\n- three\u2028four\u2029> five",
    "table": "a | b\n---|---\nc | d",
    "code": "`` ` ``` ~~~ $x$ ~s~ **b** __i__ # h",
    "list": "1. one",
    "dash": "- one",
    "long": "x" * 200_000,
}


def is_inert(text: str) -> bool:
    """Whether no program makes a link, an image, a mention or a control of it."""
    return not (
        "://" in text
        or "@" in text
        or "www." in text.lower()
        or "javascript:" in text.lower()
        or has_active_characters(text)
    )


def has_active_characters(text: str) -> bool:
    joiners = "\u200c\u200d"
    return (
        any(
            unicodedata.category(one) in ("Cc", "Cf", "Zl", "Zp", "Cs")
            and one not in "\n" + joiners
            for one in text
            # Arabic and other signs that format numbers are written, not invisible.
            if not 0x600 <= ord(one) <= 0x8E2
            and ord(one) not in (0x110BD, 0x110CD)
            and not 0x13430 <= ord(one) <= 0x1343F
            and not 0x1BCA0 <= ord(one) <= 0x1BCA3
            and not 0x1D173 <= ord(one) <= 0x1D17A
        )
        or "\u061c" in text
    )


def is_markdown_text(text: str) -> bool:
    """Whether every character of Markdown's is behind a backslash."""
    rest = text.replace("\\\\", "")
    return not any(
        one in "`*_[]<>()!|~#$" and (at == 0 or rest[at - 1] != "\\") for at, one in enumerate(rest)
    )


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> str:
    """Each text in turn."""
    return ATTACKS[request.param]


def test_a_line_for_people_is_inert_and_has_an_end(attack: str) -> None:
    line = inert(attack)
    assert is_inert(line)
    assert "\n" not in line
    assert len(line) < 2 * SHOWN


def test_markdown_is_text_only(attack: str) -> None:
    line = markdown(attack)
    assert is_inert(line)
    assert is_markdown_text(line)
    assert line[:1] not in ("-", "+", "=")
    assert not line.startswith("1. ")


@given(st.text())
def test_any_text_is_inert(text: str) -> None:
    assert is_inert(inert(text))
    assert is_markdown_text(markdown(text))


@given(st.text())
def test_json_means_the_same_with_its_characters_written_as_escapes(text: str) -> None:
    document = json.dumps({text: [text]}, ensure_ascii=False)
    written = json_text(document)
    assert json.loads(written) == json.loads(document)
    assert not has_active_characters(written)


def test_names_of_every_script_stay_as_they_are() -> None:
    for name in ("Zoë Ødegård", "山田太郎", "می‌خواهم", "مريم", "नेपाल", "👩‍👩‍👧", "O'Brien-Smith"):
        assert visible(name) == name


def test_an_error_quotes_no_more_than_a_page_and_steers_nothing(attack: str) -> None:
    said = str(PermanentError(f"the provider says {attack}"))
    assert not has_active_characters(said)
    assert len(said) < LONGEST + 200


def outcome(error: str) -> Outcome:
    return Outcome(
        partition="acme:main", sync_id="s", stream="users", status=Status.FAILED, error=error
    )


def texts(metadata: dict[str, dg.MetadataValue]) -> list[str]:  # type: ignore[type-arg]
    return [
        str(value.value)
        for value in metadata.values()
        if isinstance(value, dg.MarkdownMetadataValue)
    ]


def test_dagsters_pages_show_it_as_text(attack: str) -> None:
    failed = failure([outcome(attack)])
    assert failed is not None
    details = FailureDetails(
        "acme:main",
        "s",
        attack,
        False,
        (FailedAttempt(1, attack, "2026-01-01"),),
        1,
        (DeadLetter(1, 1, attack),),
    )
    observed = failed_observation(USERS, outcome(attack), details)
    shown = [*texts(dict(failed.metadata)), *texts(dict(observed.metadata))]
    assert len(shown) == 3
    for text in shown:
        assert is_inert(text)
        for line in text.splitlines():
            assert is_markdown_text(line)
    assert is_inert(str(failed.description))
    assert is_inert(str(observed.description))


def test_alerts_and_health_say_it_as_text(attack: str) -> None:
    issue = Issue("failure/acme:main/users/x", "failure", "acme:main", attack, attack)
    (alert,) = grouped([issue])
    assert is_inert(alert.text)
    report = HealthReport("2026-01-01T00:00:00Z", (Check("syncs", False, attack),))
    said = json.dumps(report.as_json(), ensure_ascii=False)
    assert is_inert(said)
    assert len(said) < 3 * 4_000


def test_a_terminal_gets_no_control(attack: str, capsys: pytest.CaptureFixture[str]) -> None:
    complain(attack)
    print_table((attack[:5], "n"), [(attack, 1)])
    print_json({"name": attack})
    printed = capsys.readouterr()
    assert not has_active_characters(printed.out)
    assert not has_active_characters(printed.err)


@pytest.mark.parametrize("form", ["console", "json"])
def test_logs_get_no_control_and_no_line_of_its_own(attack: str, form: logs.Format) -> None:
    written = io.StringIO()
    logs.configure(form, "info", to=written)
    try:
        logging.getLogger(f"{logs.PACKAGE}.test").warning("it said %s", attack)
        logs.logger.warning("it said", detail=attack)
    finally:
        logs.configure(form, "critical", to=io.StringIO())
    assert not has_active_characters(written.getvalue())
    assert len(written.getvalue().splitlines()) == 2


@pytest.mark.parametrize("schemas", [5, None, {"a": 1}, "urn", [5], True])
def test_an_error_body_of_another_shape_is_no_defect(schemas: object) -> None:
    assert complaint(msgspec.json.encode({"schemas": schemas, "detail": "x"})) == ""
