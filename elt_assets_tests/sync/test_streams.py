"""Streams beyond users: keys of two parts, records listed under a parent, one file for all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from elt_assets.config.safeguards import Safeguards
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.source import Cursor, FieldMap, Page
from elt_assets.errors import BooksUnbalanced, ProviderUnavailable
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.admin import standing_checks
from elt_assets.sync.extract.page_table import pages_table
from elt_assets.sync.outcome import Outcome, Status
from elt_assets.sync.streams import GROUP_MEMBERSHIPS, GROUPS, USERS
from elt_assets_tests.sync import worlds
from elt_assets_tests.sync.worlds import ACME, Company, World, WorldSource, people

USERS_STREAM: dict[str, Any] = worlds.PROVIDER_DATA["streams"]["users"]  # type: ignore[index]
PROVIDER_DATA = worlds.PROVIDER_DATA | {
    "streams": {
        "users": USERS_STREAM,
        "groups": USERS_STREAM,
        "group_memberships": USERS_STREAM
        | {"fields": {"group_external_id": "group", "member_external_id": "id"}},
    }
}
GROUP_FIELDS: FieldMap = {"external_id": parse("id"), "name": parse("name")}
MEMBERSHIP_FIELDS: FieldMap = {
    "group_external_id": parse("$parent"),
    "member_external_id": parse("id"),
    "role": parse("role"),
}


@dataclass
class Membership(WorldSource):
    """Members by group, a page for every group."""

    groups: dict[str, list[Any]] = field(default_factory=dict)
    fail_at: str | None = None
    cut_short: str | None = None

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        names = list(self.groups)
        for number, name in enumerate(names):
            if number < (cursor or 0):
                continue
            if name == self.fail_at:
                raise ProviderUnavailable("away")
            members = self.groups[name]
            last = number == len(names) - 1
            yield Page(
                msgspec.json.encode({"items": members}),
                len(members),
                None if last else number + 1,
                cut_short=self.cut_short if last else None,
                parents=((name, len(members)),),
            )


class Firm(Company):
    """A company whose one integration also has groups and memberships."""

    def __init__(self, home: Path, **settings: object) -> None:
        super().__init__(home, **settings)
        self.users_world = World(people(5))
        self.platform.registry.add(ACME, "rest", PROVIDER_DATA)
        self.groups_world = World([{"id": f"g{n}", "name": f"Group {n}"} for n in range(5)])
        self.memberships_fields = dict(MEMBERSHIP_FIELDS)
        self.membership = Membership(
            World(),
            groups={
                "g0": [{"id": "u1", "role": "owner"}, {"id": "u2"}],
                "g1": [{"id": "u1"}],
                "g2": [],
            },
        )

    def _open_source(
        self,
        provider: str,
        provider_data: Mapping[str, Any],
        stream: str,
        *,
        secrets: Secrets,
        limits: FetchLimits,
        ref: IntegrationRef,
    ) -> WorldSource:
        if stream == "groups":
            return WorldSource(self.groups_world, GROUP_FIELDS)
        if stream == "group_memberships":
            self.membership.fields = self.memberships_fields
            return self.membership
        return WorldSource(self.users_world, self.fields)

    def of(self, stream: Any, sync_id: str = "s1", **options: Any) -> Outcome:
        (outcome,) = self.platform.sync(stream, [ACME], sync_id=sync_id, **options)
        return outcome

    def members(self) -> set[tuple[str, str, str | None]]:
        return {
            (row["group_external_id"], row["member_external_id"], row["role"])
            for row in self.platform.records(GROUP_MEMBERSHIPS, ACME)
        }


@pytest.fixture
def firm(tmp_path: Path) -> Iterator[Firm]:
    made = Firm(tmp_path / "home")
    yield made
    made.platform.close()


def test_every_stream_has_tables_of_its_own_in_one_file(firm: Firm) -> None:
    for stream in (USERS, GROUPS, GROUP_MEMBERSHIPS):
        assert firm.of(stream).status is Status.APPLIED
    assert len(firm.users()) == 5
    assert [row["name"] for row in firm.platform.records(GROUPS, ACME)] == [
        f"Group {n}" for n in range(5)
    ]
    assert firm.members() == {("g0", "u1", "owner"), ("g0", "u2", None), ("g1", "u1", None)}
    assert len({row.stream for row in firm.platform.syncs()}) == 3


def test_a_failing_stream_costs_the_others_nothing(firm: Firm) -> None:
    firm.groups_world.fail_at[0] = ProviderUnavailable("no groups today")
    assert firm.of(GROUPS).status is Status.FAILED
    assert firm.of(USERS).status is Status.APPLIED
    assert firm.of(GROUP_MEMBERSHIPS).status is Status.APPLIED


def test_an_integration_without_a_stream_is_settled_without_a_word(tmp_path: Path) -> None:
    company = Company(tmp_path / "home")
    company.connect(world=World(people(3)))
    assert list(company.platform.sync(GROUPS, [ACME], sync_id="s1")) == []
    assert company.platform.syncs() == []
    assert company.platform.offering(GROUPS) == []
    assert company.platform.offering(USERS) == [ACME]
    for asked in (*standing_checks.ERRORS, *standing_checks.WARNINGS):
        found = asked(company.platform, GROUPS)
        assert (found.passed, found.looked_at) == (True, 0), asked
    company.platform.close()


def test_who_leaves_one_group_stays_in_the_other(firm: Firm) -> None:
    firm.of(GROUP_MEMBERSHIPS)
    del firm.membership.groups["g0"][0]
    outcome = firm.of(GROUP_MEMBERSHIPS, "s2")
    assert (outcome.status, outcome.counts.deletes) == (Status.APPLIED, 1)
    assert firm.members() == {("g0", "u2", None), ("g1", "u1", None)}
    (change,) = firm.platform.changes(GROUP_MEMBERSHIPS, ACME, "s2")
    assert (change["change_type"], change["external_id"]) == ("DELETE", "g0 / u1")


def test_a_group_cut_out_of_the_listing_loses_nobody(firm: Firm) -> None:
    firm.of(GROUP_MEMBERSHIPS)
    before = firm.members()
    del firm.membership.groups["g1"]
    firm.membership.cut_short = "the members of 1 group are not known"
    outcome = firm.of(GROUP_MEMBERSHIPS, "s2")
    assert (outcome.status, outcome.counts.withheld_deletes) == (Status.QUARANTINED, 1)
    assert firm.members() == before
    (waiting,) = firm.platform.quarantined(ACME)
    assert waiting.stream == "group_memberships"
    firm.platform.approve(ACME, "a person")
    assert firm.members() == before - {("g1", "u1", None)}


def test_limits_hold_for_every_stream(firm: Firm) -> None:
    firm.membership.groups = {"g": [{"id": f"u{n}"} for n in range(40)]}
    firm.of(GROUP_MEMBERSHIPS)
    del firm.membership.groups["g"][10:]
    outcome = firm.of(GROUP_MEMBERSHIPS, "s2")
    assert (outcome.status, outcome.counts.withheld_deletes) == (Status.QUARANTINED, 30)
    assert Safeguards().max_delete_share < 30 / 40


def test_undoing_and_rebuilding_work_by_both_parts_of_a_key(firm: Firm) -> None:
    firm.of(GROUP_MEMBERSHIPS)
    before = firm.members()
    firm.membership.groups |= {"g0": [{"id": "u2", "role": "owner"}], "g2": [{"id": "u1"}]}
    firm.of(GROUP_MEMBERSHIPS, "s2")
    assert firm.members() != before
    firm.platform.undo(GROUP_MEMBERSHIPS, ACME, "s2")
    assert firm.members() == before
    with firm.platform.database.transaction() as transaction:
        transaction.execute("DELETE FROM group_memberships_latest")
    assert firm.platform.rebuild(GROUP_MEMBERSHIPS, ACME).after == len(before)
    assert firm.members() == before
    for asked in (*standing_checks.ERRORS, *standing_checks.WARNINGS):
        assert asked(firm.platform, GROUP_MEMBERSHIPS).passed, asked


def test_an_interrupted_extraction_goes_on_with_the_next_parent(firm: Firm) -> None:
    firm.membership.fail_at = "g1"
    failed = firm.of(GROUP_MEMBERSHIPS, pages_per_batch=1)
    assert (failed.status, failed.counts.staged) == (Status.FAILED, 2)
    firm.membership.fail_at = None
    outcome = firm.of(GROUP_MEMBERSHIPS, pages_per_batch=1)
    assert (outcome.status, outcome.resumed_batches) == (Status.APPLIED, 1)
    assert len(firm.members()) == 3


def test_records_that_are_mapped_again_keep_their_parents(firm: Firm) -> None:
    firm.membership.groups = {"g0": [{"uid": "u1"}, {"uid": "u2"}], "g1": [{"uid": "u1"}]}
    assert firm.of(GROUP_MEMBERSHIPS).status is Status.FAILED
    firm.memberships_fields["member_external_id"] = parse("uid")
    firm.membership.groups = {}
    outcome = firm.platform.retry_rejected(GROUP_MEMBERSHIPS, ACME)
    assert (outcome.counts.staged, outcome.counts.rejected) == (3, 0)
    assert firm.members() == {("g0", "u1", None), ("g0", "u2", None), ("g1", "u1", None)}


def test_a_page_that_says_too_little_of_its_parents_is_refused() -> None:
    with pytest.raises(BooksUnbalanced, match="holds 3 records and names the parents of 2"):
        pages_table(ACME, [Page(b"[1,2,3]", 3, None, parents=(("g", 2),))])


def test_groups_that_are_no_longer_listed_do_not_silently_lose_their_members(firm: Firm) -> None:
    firm.membership.groups = {f"g{n}": [{"id": f"u{m}"} for m in range(8)] for n in range(5)}
    firm.of(GROUPS)
    firm.of(GROUP_MEMBERSHIPS)
    # Two of five groups are missing: 16 of 40 memberships, below the limit of routine removals.
    firm.membership.groups = {name: firm.membership.groups[name] for name in ("g0", "g1", "g2")}
    outcome = firm.of(GROUP_MEMBERSHIPS, "s2")
    assert (outcome.status, outcome.counts.withheld_deletes) == (Status.QUARANTINED, 16)
    assert "removed from 2 groups that still stand" in outcome.reasons[0]
    # Once the groups themselves are gone, so are their memberships.
    firm.groups_world.records = firm.groups_world.records[:3]
    firm.configure(safeguards={"max_delete_share": 0.5})
    assert firm.of(GROUPS, "s3").counts.deletes == 2
    firm.configure(safeguards={})
    assert firm.of(GROUP_MEMBERSHIPS, "s4").counts.deletes == 16


def test_members_that_leave_a_group_one_by_one_are_routine(firm: Firm) -> None:
    firm.membership.groups = {f"g{n}": [{"id": f"u{m}"} for m in range(8)] for n in range(5)}
    firm.of(GROUPS)
    firm.of(GROUP_MEMBERSHIPS)
    firm.membership.groups = {name: found[:5] for name, found in firm.membership.groups.items()}
    assert firm.of(GROUP_MEMBERSHIPS, "s2").counts.deletes == 15
