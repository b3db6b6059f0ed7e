"""Each check finds the fault that it is there for, planted in an emulator or a preset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from elt_assets.conformance import emulated
from elt_assets.conformance.emulated import EMULATED
from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.emulators.description import Emulation
from elt_assets.conformance.trial import trial
from elt_assets.conformance.verdict import CheckOutcome
from elt_assets.connectors.presets import preset
from elt_assets.connectors.presets.preset import Preset

pytestmark = pytest.mark.slow

OKTA, GITHUB, AUTH0 = (emulations()[name] for name in ("okta", "github", "auth0"))
SLACK, GOOGLE = emulations()["slack"], emulations()["google_workspace"]


def found(check: str, emulation: Emulation, stream: str = "users") -> tuple[CheckOutcome, str]:
    with trial(emulation, stream) as at:
        finding = EMULATED[check](at)
    return finding.verdict, finding.detail


@pytest.fixture
def changed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Changes a stream of a preset for one test."""

    def change(name: str, edit: Callable[[dict[str, Any]], None], stream: str = "users") -> None:
        import copy

        every = dict(preset.presets())
        rest = copy.deepcopy(every[name].rest)
        edit(rest["streams"][stream])
        rest["rate_limit"] = rest.get("rate_limit", {})
        every[name] = every[name].model_copy(update={"rest": rest})
        preset.model.cache_clear()
        from elt_assets.connectors import catalog

        catalog._kind.cache_clear()

        def presets() -> dict[str, Preset]:
            return every

        monkeypatch.setattr(preset, "presets", presets)
        monkeypatch.setattr(emulated, "presets", presets)

    return change


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Models that a test made of a changed preset end with it."""
    yield
    from elt_assets.connectors import catalog

    preset.model.cache_clear()
    catalog._kind.cache_clear()


def test_a_mask_without_the_next_token_loses_the_other_pages(changed: Any) -> None:
    changed("google_workspace", lambda users: users["params"].update(fields="users(id,name)"))
    verdict, detail = found("pages", GOOGLE)
    assert verdict is CheckOutcome.FAILED
    assert "missing" in detail


def test_a_page_larger_than_the_provider_gives(changed: Any) -> None:
    changed("onelogin", lambda users: users["params"].update(limit=500))
    verdict, detail = found("caps", emulations()["onelogin"])
    assert (verdict, "500 a page are requested, 50" in detail) == (CheckOutcome.FAILED, True)


def test_a_cap_that_nothing_knows_of(changed: Any) -> None:
    changed("auth0", lambda users: users["pagination"].pop("reach"))
    verdict, detail = found("caps", AUTH0)
    assert verdict is CheckOutcome.FAILED
    assert "1,000 records are reported as complete" in detail


@pytest.mark.parametrize("emulation", [GITHUB, SLACK], ids=lambda one: one.provider)
def test_a_permission_that_nothing_asks_about(changed: Any, emulation: Emulation) -> None:
    changed(emulation.provider, lambda users: users.pop("requires"))
    verdict, detail = found("permissions", emulation)
    if emulation is GITHUB:
        assert verdict is CheckOutcome.FAILED
        assert "a first sync does not report it" in detail
    else:
        assert verdict is CheckOutcome.PASSED  # the look at one page warns of empty addresses


def test_a_state_that_is_taken_for_inactive(changed: Any) -> None:
    changed("okta", lambda users: users["fields"].update(active='status == "ACTIVE"'))
    verdict, detail = found("fields", OKTA)
    assert verdict is CheckOutcome.FAILED
    assert "LOCKED_OUT: active is False and not True" in detail


def test_a_single_record_that_is_looked_for_in_the_wrong_place(changed: Any) -> None:
    changed("gitlab", lambda users: users["single"].update(path="/users/{external_id}"))
    verdict, detail = found("probe", emulations()["gitlab"])
    assert verdict is CheckOutcome.FAILED
    assert "unknown instead of" in detail


def test_an_error_that_is_taken_for_an_empty_directory() -> None:
    empty = replace(OKTA.gate, refused=replace(OKTA.gate.refused, status=200, body=[]))
    verdict, detail = found("credentials", replace(OKTA, gate=empty))
    assert verdict is CheckOutcome.FAILED
    assert "the sync is" in detail


def test_a_rate_above_the_budget() -> None:
    tight = replace(OKTA.budget, requests=60)
    verdict, detail = found("budget", replace(OKTA, budget=tight))
    assert verdict is CheckOutcome.FAILED
    assert "5 requests a second; 0.5 are allowed" in detail


def test_deletes_on_the_word_of_a_listing(changed: Any) -> None:
    changed("github", lambda users: users.update(snapshot=True))
    verdict, detail = found("unstable", GITHUB)
    assert verdict is CheckOutcome.FAILED
    assert "1 records that still exist were deleted" in detail


def test_a_token_that_is_kept() -> None:
    with trial(OKTA) as at:
        leak = at.bench.folder / "home" / "leak.txt"
        leak.write_text(f"the token is {at.emulator.secret}")
        finding = EMULATED["secrets"](at)
    assert finding.verdict is CheckOutcome.FAILED
    assert "home/leak.txt" in finding.detail


def test_a_cursor_that_leads_elsewhere() -> None:
    with trial(OKTA) as at:
        turned = []

        def shuffle() -> None:
            turned.append(True)
            if len(turned) > 2:
                at.emulator.rows = at.emulator.rows[:-7]

        at.emulator.turned = shuffle
        finding = EMULATED["resume"](at)
    assert finding.verdict is CheckOutcome.FAILED


@pytest.mark.parametrize(
    ("name", "stream", "check", "edit", "said"),
    [
        ("okta", "groups", "pages", {"pagination": {"type": "none"}}, "missing"),
        (
            "github",
            "groups",
            "unstable",
            {"snapshot": True},
            "1 records that still exist were deleted",
        ),
        ("entra_id", "groups", "probe", {"single": {"path": "/teams/{external_id}"}}, "unknown"),
        ("github", "group_memberships", "pages", {"parent": {"stream": "groups"}}, "404"),
        ("github", "group_memberships", "caps", {"params": {"per_page": 200}}, "200 a page"),
        ("google_workspace", "group_memberships", "pages", {"empty_if": None}, "has no list"),
        ("google_workspace", "groups", "pages", {"params": {}}, "answered 400"),
    ],
)
def test_a_fault_in_what_is_read_of_groups(
    changed: Any, name: str, stream: str, check: str, edit: dict[str, Any], said: str
) -> None:
    changed(name, lambda one: one.update(edit), stream)
    verdict, detail = found(check, emulations()[name], stream)
    assert verdict is CheckOutcome.FAILED
    assert said in detail


def test_a_field_of_a_member_that_is_somewhere_else(changed: Any) -> None:
    changed("entra_id", lambda one: one["fields"].update(kind="type"), "group_memberships")
    verdict, detail = found("fields", emulations()["entra_id"], "group_memberships")
    assert verdict is CheckOutcome.FAILED
    assert "a device that the app may not read: kind is None and not" in detail
