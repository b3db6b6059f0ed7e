"""Records of every shape that JSON allows, and pages of every byte that HTTP carries."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from elt_assets.errors import InvalidInput
from elt_assets.identifiers import IntegrationRef
from elt_assets.storage.warehouse.warehouse_files import FileWarehouses
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.streams import USERS
from elt_assets_tests.campaign.hostile.installations import Installation, page, person
from elt_assets_tests.campaign.oracles import always
from elt_assets_tests.campaign.state import read_state

FRAGMENTS = (
    "'; DROP TABLE users_latest; --",
    '" OR ""="',
    "$id",
    "?",
    "../../../etc/passwd",
    "..\\..\\windows",
    "/dev/null\n",
    "%s %(id)s {0} ${HOME} `id`",
    "\\u0000",
    "NULL",
    "null",
    "NaN",
    "u-0001 ",
    " u-0001",
    "U-0001",
    "ﬀ", "ff",
    "é", "e\u0301",
    "\u202edesrever",
    "\ufeff",
    "🜁" * 50,
    "=cmd|' /C calc'!A0",
)  # fmt: skip

texts = st.one_of(st.text(max_size=30), st.sampled_from(FRAGMENTS))
scalars = st.one_of(texts, st.integers(-(2**63), 2**64 - 1), st.booleans(), st.none())
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
records = st.one_of(
    values,
    st.fixed_dictionaries(
        {"id": st.one_of(scalars, values), "name": values},
        optional={
            "profile": st.one_of(values, st.fixed_dictionaries({"email": values})),
            "status": values,
            "team": values,
        },
    ),
)


def key_of(record: Any) -> str | None:
    """The key that a record must get, or None if it has none that is usable."""
    found = record.get("id") if isinstance(record, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        return None
    key = str(found)
    return None if key == "" or "\0" in key or len(key) > 1024 else key


def text_of(value: Any) -> tuple[bool, str | None]:
    """Whether a value is usable as text, and which."""
    if isinstance(value, list | dict) or (isinstance(value, str) and "\0" in value):
        return False, None
    if isinstance(value, bool):
        return True, str(value).lower()
    return True, str(value) if value not in (None, "") else None


def expected(listing: list[Any]) -> dict[str, tuple[str | None, str | None]]:
    """Name and e-mail of everybody who must be in the latest table; the last record wins."""
    found = {}
    for record in listing:
        key = key_of(record)
        if key is None or "$unreadable" in record:
            continue
        profile = record.get("profile")
        email = profile.get("email") if isinstance(profile, dict) else None
        (name_fits, name), (email_fits, address) = text_of(record.get("name")), text_of(email)
        if name_fits and email_fits:
            found[key] = (name, address)
    return found


def well(installation: Installation, ref: IntegrationRef) -> None:
    assert always(read_state(installation.home, ref)) == []


SLOW = settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
LONG = settings(SLOW, max_examples=150)
SHARES = pytest.mark.parametrize("share", range(2))
"""Parts of a long search, so that two processes can have one each."""


def check_records(installation: Installation, listing: list[Any]) -> None:
    ref = installation.connect(page(listing))
    outcome = installation.sync(ref)
    counts = outcome.counts
    assert counts.fetched == len(listing)
    assert counts.staged + counts.rejected == counts.fetched
    if outcome.status is Status.FAILED:
        assert "cannot be used" in (outcome.error or "")
        assert installation.users(ref) == {}
    else:
        held = {k: (row["name"], row["email"]) for k, row in installation.users(ref).items()}
        assert held == expected(listing)
        well(installation, ref)
    assert len(installation.platform.rejected(USERS, ref)) == counts.rejected


@SLOW
@given(st.lists(records, max_size=8))
@example([{"id": fragment, "name": fragment} for fragment in FRAGMENTS])
@example([{"id": 1, "name": True}, {"id": "1", "name": 2**64 - 1}, {"id": -(2**63)}])
def test_any_record_is_staged_as_it_is_or_rejected_with_a_reason(
    installation: Installation, listing: list[Any]
) -> None:
    check_records(installation, listing)


@pytest.mark.campaign(40)
@SHARES
@LONG
@given(listing=st.lists(records, max_size=8))
def test_many_more_records_are_staged_as_they_are_or_rejected(
    installation: Installation, share: int, listing: list[Any]
) -> None:
    check_records(installation, listing)


PEOPLE = [person(number) for number in range(12)]
WHOLE = page(PEOPLE)
SNIPPETS = (
    b"\x00", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b'"', b"\\", b"{", b"}", b"[", b"]",
    b",", b":", b"null", b"NaN", b"1e999", b"-", b"\n", b"//", b"/**/", b'"id":', b'"items":[],',
    b'"next":"x",', b"\xef\xbb\xbf", b"[" * 2_000,
)  # fmt: skip
edits = st.lists(
    st.tuples(
        st.integers(0, len(WHOLE)), st.integers(0, 40), st.one_of(
            st.sampled_from(SNIPPETS), st.binary(max_size=6)
        )
    ),
    min_size=1,
    max_size=4,
)  # fmt: skip


def damaged(changes: list[tuple[int, int, bytes]]) -> bytes:
    body = WHOLE
    for place, removed, added in changes:
        body = body[:place] + added + body[place + removed :]
    return body


def check_damage(installation: Installation, changes: list[tuple[int, int, bytes]]) -> None:
    ref = installation.connect(WHOLE)
    installation.sync(ref)
    before = installation.users(ref)
    body = damaged(changes)
    installation.bodies[str(ref)] = body
    outcome = installation.sync(ref, "s2")
    after = installation.users(ref)
    # Whose id is still written somewhere in the answer was not said to be gone.
    said = {key for key in before if f'"id": "{key}"'.encode() in body}
    assert said <= after.keys(), (said - after.keys(), body, outcome)
    if outcome.status is Status.FAILED:
        assert after == before
        assert one_line(outcome)
    well(installation, ref)


def one_line(outcome: Outcome) -> bool:
    return bool(outcome.error) and "\n" not in str(outcome.error)


@SLOW
@given(edits)
# Two records that look like one: by their brackets, and with a damaged name between them.
@example([(174, 1, b"\x00"), (253, 35, b"")])
@example([(773, 38, b"\x00")])
@example([(1021, 18, b"\x00")])
def test_a_damaged_page_deletes_nobody_whom_it_still_names(
    installation: Installation, changes: list[tuple[int, int, bytes]]
) -> None:
    check_damage(installation, changes)


@pytest.mark.campaign(70)
@SHARES
@LONG
@given(changes=edits)
def test_many_more_damaged_pages_delete_nobody_whom_they_still_name(
    installation: Installation, share: int, changes: list[tuple[int, int, bytes]]
) -> None:
    check_damage(installation, changes)


HUGE = "x" * 10_000_000


@pytest.mark.parametrize(
    ("record", "kept"),
    [
        (person(1, name=HUGE), "as it was"),
        (person(1, id=HUGE), "all"),
        (person(1, profile={"email": HUGE}), "as it was"),
        (person(1, unmapped=HUGE), "new"),
    ],
    ids=["name", "id", "email", "unmapped"],
)
def test_ten_million_characters_in_one_field_harm_nobody(
    installation: Installation, record: dict[str, Any], kept: str
) -> None:
    ref = installation.connect(WHOLE)
    installation.sync(ref)
    before = installation.users(ref)
    changed = [person(0), record | {"team": "red"}, *PEOPLE[2:]]
    installation.bodies[str(ref)] = page(changed)
    outcome = installation.sync(ref, "s2")
    after = installation.users(ref)
    assert after.keys() == before.keys()
    assert after["u-0001"]["attributes"]["team"] == ("red" if kept == "new" else "blue")
    assert outcome.counts.rejected == (0 if kept == "new" else 1)
    assert outcome.certificate.complete == (kept != "all")
    well(installation, ref)


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
def test_a_record_nested_without_end_harms_nobody(installation: Installation, depth: int) -> None:
    ref = installation.connect(WHOLE)
    installation.sync(ref)
    deep = b'"team":' + b"[" * depth + b"]" * depth
    installation.bodies[str(ref)] = WHOLE.replace(b'"team": "blue"', deep, 1)
    installation.sync(ref, "s2")
    assert len(installation.users(ref)) == len(PEOPLE)
    well(installation, ref)


def test_fragments_of_other_languages_are_only_text_wherever_they_stand(
    installation: Installation,
) -> None:
    strange = [
        person(1, id=text, name=text, profile={"email": text}, team=text) for text in FRAGMENTS
    ]
    ordinary = [person(number) for number in range(200, 400)]
    ref = installation.connect(page([*strange, *ordinary]))
    installation.sync(ref)
    users = installation.users(ref)
    for text in FRAGMENTS:
        row = users[text]
        assert (row["name"], row["email"], row["attributes"]) == (text, text, {"team": text})
    installation.bodies[str(ref)] = page(ordinary)
    assert installation.sync(ref, "s1-again").counts.pending_deletes == len(FRAGMENTS)
    assert installation.sync(ref, "s2").counts.deletes == len(FRAGMENTS)
    assert installation.users(ref).keys() == {record["id"] for record in ordinary}
    deleted = [change["external_id"] for change in installation.platform.changes(USERS, ref, "s2")]
    assert sorted(deleted) == sorted(FRAGMENTS)
    well(installation, ref)


UNSUPPORTED = re.compile(r'[\x00-\x1f"\\]')


def test_fragments_of_other_languages_are_only_names_in_a_configuration(
    installation: Installation,
) -> None:
    for text in (text for text in FRAGMENTS if not UNSUPPORTED.search(text)):
        quoted = json.dumps(text, ensure_ascii=False)
        records = [{text: f"id-{n}", "n.n": {text: "x"}, text * 2: n} for n in range(3)]
        ref = installation.connect(
            json.dumps({text: {text: records}}).encode(),
            records=f"{quoted}.{quoted}",
            fields={
                "external_id": quoted,
                "name": f'"n.n".{quoted}',
                "extra": json.dumps(text * 2),
            },
            pagination={"type": "none"},
        )
        assert installation.sync(ref).error is None
        assert [
            (row["external_id"], row["name"], row["attributes"])
            for row in installation.users(ref).values()
        ] == [(f"id-{n}", "x", {"extra": n}) for n in range(3)], text


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a\nb", "a\0b"])
def test_a_name_that_cannot_lead_to_the_list_is_refused_when_it_is_configured(
    installation: Installation, name: str
) -> None:
    with pytest.raises(InvalidInput, match="a quote, a backslash or a control character"):
        installation.connect(b"", records=json.dumps(name))


@given(st.text(max_size=80), st.text(max_size=80))
@example("..", "x")
@example("a/../b", "x")
@example("a", "b\n")
def test_no_name_leads_out_of_the_home_folder(organization: str, integration: str) -> None:
    try:
        ref = IntegrationRef(organization, integration)
    except InvalidInput:
        return
    root = Path("/home-of-the-platform/olap")
    path = FileWarehouses(root).path(ref)
    assert Path(os.path.normpath(path)) == path
    assert path.parent.parent == root
    assert IntegrationRef.parse(str(ref)) == ref
