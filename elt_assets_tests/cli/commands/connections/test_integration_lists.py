"""Lists of integrations: all of them are registered or none, and an export can be imported."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from elt_assets_tests.cli.conftest import Command

DATA: dict[str, Any] = {
    "permission_source_name": "Acme directory",
    "api_endpoint": "https://directory.acme.example/v1",
    "auth": {"type": "bearer", "token": {"env": "ACME_TOKEN"}},
    "streams": {
        "users": {
            "path": "/users",
            "records": "data.items",
            "pagination": {"type": "cursor", "cursor": "data.next", "param": "cursor"},
            "fields": {"external_id": "id", "name": "profile.displayName", "email": "email"},
        }
    },
}


def row(number: int, **changes: Any) -> dict[str, Any]:
    """One line of a list."""
    return {
        "organization_id": f"org-{number:03}",
        "integration_id": "main",
        "provider": "rest",
        "provider_data": DATA,
    } | changes


def lines(*rows: object) -> str:
    return "".join(f"{json.dumps(one)}\n" for one in rows)


def partitions(elt_assets: Command) -> list[str]:
    """Every registered integration, by its name."""
    listed = elt_assets("integrations", "list", "--json")
    return [one["partition"] for one in listed.document]


def test_a_list_is_imported_again_without_a_change(elt_assets: Command) -> None:
    text = lines(row(1), row(2, enabled=False), row(3))
    tried = elt_assets("integrations", "import", "-", "--dry-run", stdin=text)
    assert (tried.status, tried.out) == (
        0,
        "3 would be added, 0 unchanged.\n",
    )
    assert partitions(elt_assets) == []
    added = elt_assets("integrations", "import", "-", "--json", stdin=text)
    keys = ["org-001:main", "org-002:main", "org-003:main"]
    assert added.document == {"added": keys, "unchanged": 0, "dry_run": False}
    assert partitions(elt_assets) == keys
    again = elt_assets("integrations", "import", "-", stdin=text + lines(row(4)))
    assert again.out == "1 added, 3 unchanged.\n"


def test_an_export_is_a_list_of_all(elt_assets: Command) -> None:
    rows = [row(1), row(2, enabled=False)]
    elt_assets("integrations", "import", "-", stdin=lines(*rows))
    exported = elt_assets("integrations", "export")
    found = [json.loads(line) for line in exported.out.splitlines()]
    assert found == [{"enabled": True} | one for one in rows]
    again = elt_assets("integrations", "import", "-", stdin=exported.out)
    assert again.out == "0 added, 2 unchanged.\n"


def test_a_list_may_be_csv(elt_assets: Command) -> None:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["provider", "organization_id", "integration_id", "enabled", "provider_data"])
    writer.writerow(["rest", "org-001", "main", "", json.dumps(DATA, indent=2)])
    writer.writerow(["rest", "org-002", "main", "false", json.dumps(DATA)])
    done = elt_assets("integrations", "import", "-", stdin=f"\ufeff{text.getvalue()}")
    assert (done.status, done.out) == (0, "2 added, 0 unchanged.\n")
    listed = elt_assets("integrations", "list", "--json").document
    assert [one["enabled"] for one in listed] == [True, False]


@pytest.mark.parametrize(
    ("wrong", "mistake"),
    [
        (row(2, provider="nobody"), "provider 'nobody' is unknown"),
        (row(2, provider_data={}), "api_endpoint"),
        (row(2, organization_id="../x"), "organization '../x' is not"),
        (row(2, extra=1), "has 'extra', which is not known"),
        (row(2, provider=None), "has no provider"),
        (row(2, enabled="perhaps"), "enabled is neither true nor false"),
        (row(2, provider_data="{,}"), "provider_data"),
        (row(1), "org-001:main is in the list twice"),
        (row(1, organization_id="ORG-001"), "only in upper and lower case"),
        ([1], "is not an object"),
    ],
)
def test_one_wrong_line_keeps_the_whole_list_out(
    elt_assets: Command, wrong: object, mistake: str
) -> None:
    done = elt_assets("integrations", "import", "-", stdin=lines(row(1), wrong, row(3)))
    assert (done.status, done.out) == (1, "")
    problem, end = done.err.strip().splitlines()
    assert problem.startswith("Error: line 2: ")
    assert mistake in problem
    assert end == "Error: nothing was added"
    assert partitions(elt_assets) == []


def test_a_line_that_is_registered_otherwise_is_refused(elt_assets: Command) -> None:
    elt_assets("integrations", "import", "-", stdin=lines(row(1)))
    text = lines(row(2), row(1, enabled=False))
    done = elt_assets("integrations", "import", "-", stdin=text)
    assert done.status == 1
    assert "line 2: org-001:main is registered with other contents" in done.err
    assert partitions(elt_assets) == ["org-001:main"]


@pytest.mark.parametrize("text", ["name;mail\nAnn;a@b\n", "organization_id,provider\nx,rest\n"])
def test_what_is_no_list_is_refused(elt_assets: Command, text: str) -> None:
    done = elt_assets("integrations", "import", "-", stdin=text)
    assert done.status == 1
    assert "line 1 is neither JSON nor a header with" in done.err
