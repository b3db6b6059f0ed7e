"""Registering integrations: what is accepted, what is refused, and in which words."""

from __future__ import annotations

import json

import pytest

from elt_assets.sync.state import registry
from elt_assets_tests.cli.conftest import Command, Process
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

GOOD = """
permission_source_name: Acme directory
api_endpoint: https://directory.acme.example/v1
auth: {type: bearer, token: {env: ACME_TOKEN}}
streams:
  users:
    path: /users
    records: data.items
    pagination: {type: cursor, cursor: data.next, param: cursor}
    fields: {external_id: id, name: profile.displayName, email: profile.email}
"""


def add(
    elt_assets: Command,
    data: str = GOOD,
    *more: str,
    org: str = "org-001",
    provider: str = "rest",
):  # type: ignore[no-untyped-def]
    return elt_assets(
        *("integrations", "add", "--org", org, "--id", "okta-main", "--provider", provider),
        *("--data", "-", *more),
        stdin=data,
    )


def test_an_added_integration_is_listed_shown_and_has_a_partition(
    elt_assets: Command, elt_assets_process: Process
) -> None:
    added = add(elt_assets_process)
    assert added.status == 0, added
    assert "integrations test org-001:okta-main" in added.out

    (listed,) = elt_assets("integrations", "list", "--json").document
    assert listed["partition"] == "org-001:okta-main"
    assert listed["enabled"] is True
    assert listed["removing"] is False

    shown = elt_assets("integrations", "show", "org-001:okta-main", "--json").document
    assert shown["provider_data"]["auth"]["token"] == {"env": "ACME_TOKEN"}
    assert "env: ACME_TOKEN" in elt_assets("integrations", "show", "org-001:okta-main").out

    import dagster as dg

    with dg.DagsterInstance.from_config(str(elt_assets.home / "dagster")) as instance:
        assert list(instance.get_dynamic_partitions("connected_integrations")) == [
            "org-001:okta-main"
        ]


def test_adding_twice_is_refused_unless_asked_for(elt_assets: Command) -> None:
    add(elt_assets)
    assert "org-001:okta-main is registered already" in add(elt_assets).complaint
    again = add(elt_assets, GOOD.replace("Acme", "Other"), "--if-absent")
    assert again.status == 0
    assert "was not changed" in again.out
    shown = elt_assets("integrations", "show", "org-001:okta-main", "--json").document
    assert shown["provider_data"]["permission_source_name"] == "Acme directory"


def test_provider_data_is_corrected_without_disconnecting(elt_assets: Command) -> None:
    add(elt_assets)
    corrected = GOOD.replace("Acme directory", "Corrected")
    update = ("integrations", "update", "org-001:okta-main", "--data", "-")
    assert "its next sync reads everything" in elt_assets(*update, stdin=corrected).out
    assert "already has this provider_data" in elt_assets(*update, stdin=corrected).out
    shown = elt_assets("integrations", "show", "org-001:okta-main", "--json").document
    assert shown["provider_data"]["permission_source_name"] == "Corrected"
    refused = elt_assets(*update, stdin="api_endpoint: not an address")
    assert refused.status != 0
    assert "api_endpoint" in refused.complaint


def test_json_may_be_indented_with_tabs(elt_assets: Command) -> None:
    import yaml

    text = json.dumps(yaml.safe_load(GOOD), indent="\t")
    assert add(elt_assets, text).status == 0


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "provider_data is not an object"),
        ("- a\n- b\n", "provider_data is not an object"),
        ("a: [1, 2", "standard input, line 1, column 9: not YAML or JSON"),
        ("[" * 5000, "nested too deeply"),
        ("a: \x07", "not YAML or JSON"),
        (GOOD.replace("pagination:", "paginaton:"), "paginaton"),
        (GOOD.replace("type: cursor", "type: nope"), "pagination"),
        (GOOD.replace("external_id: id, ", ""), "external_id"),
        (GOOD.replace("https://", "http://"), "allow_plain_http"),
        (GOOD.replace("{env: ACME_TOKEN}", "s3cr3t-value"), "never the secret itself"),
    ],
)
def test_provider_data_that_does_not_fit_is_refused_in_one_line(
    elt_assets: Command, data: str, said: str
) -> None:
    refused = add(elt_assets, data)
    assert said in refused.complaint
    assert "s3cr3t" not in refused.err
    assert not elt_assets.home.exists()


def test_a_file_that_is_not_text_is_refused(elt_assets: Command) -> None:
    (elt_assets.folder / "data.yaml").write_bytes(b"a: \xff\xfe")
    refused = elt_assets(
        *("integrations", "add", "--org", "a", "--id", "b", "--provider", "rest"),
        *("--data", "data.yaml"),
    )
    assert "data.yaml is not UTF-8 text" in refused.complaint


@pytest.mark.parametrize("org", ["a/b", "../x", ".hidden", "a:b", "a...b", "x" * 65, "", "a b"])
def test_a_name_that_could_become_a_path_is_refused_before_anything_is_written(
    elt_assets: Command, org: str
) -> None:
    assert "is not a valid name" in add(elt_assets, org=org).complaint
    assert not elt_assets.home.exists()


def test_an_unknown_provider_is_an_error_that_lists_the_known_ones(elt_assets: Command) -> None:
    complaint = add(elt_assets, provider="okte").complaint
    assert "'okte' is unknown" in complaint
    assert "rest" in complaint


def test_a_disabled_integration_is_listed_as_such_and_can_be_enabled(elt_assets: Command) -> None:
    add(elt_assets)
    for word, enabled in (("disable", False), ("enable", True)):
        assert elt_assets("integrations", word, "org-001:okta-main").status == 0
        (listed,) = elt_assets("integrations", "list", "--json").document
        assert listed["enabled"] is enabled


def test_removing_asks_for_confirmation_and_leaves_nothing(elt_assets: Command) -> None:
    add(elt_assets)
    refused = elt_assets("integrations", "remove", "org-001:okta-main")
    assert refused.status == 2
    assert "add --yes" in refused.err
    removed = elt_assets("integrations", "remove", "org-001:okta-main", "--yes")
    assert removed.status == 0
    assert elt_assets("integrations", "list", "--json").document == []
    gone = elt_assets("integrations", "remove", "org-001:okta-main", "--yes")
    assert "org-001:okta-main is not registered" in gone.complaint


def test_a_removal_that_was_interrupted_is_listed_as_such_and_can_be_ended(
    elt_assets: Command,
) -> None:
    add(elt_assets)
    removal = ("integrations", "remove", "org-001:okta-main", "--yes")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(registry, "remove", killed)
        assert elt_assets(*removal).status != 0
    (listed,) = elt_assets("integrations", "list", "--json").document
    assert listed["removing"] is True
    assert "being removed" in elt_assets("integrations", "list").out
    assert elt_assets(*removal).status == 0
    assert elt_assets("integrations", "list", "--json").document == []


def test_the_schema_is_one_json_document_and_so_is_the_list_of_providers(
    elt_assets: Command,
) -> None:
    assert "rest" in elt_assets("integrations", "providers", "--json").document
    schema = elt_assets("integrations", "schema", "rest").document
    assert "api_endpoint" in schema["properties"]
    assert "is unknown" in elt_assets("integrations", "schema", "nope").complaint


def test_testing_an_integration_whose_secret_is_missing_names_the_reference(
    elt_assets: Command,
) -> None:
    add(elt_assets)
    complaint = elt_assets("integrations", "test", "org-001:okta-main").complaint
    assert "ACME_TOKEN" in complaint


def test_correcting_what_was_never_registered_makes_no_home(elt_assets: Command) -> None:
    refused = elt_assets("integrations", "update", "org-001:okta-main", "--data", "-", stdin=GOOD)
    assert refused.status != 0
    assert not elt_assets.home.exists()


def test_every_stream_is_tested_and_one_that_cannot_be_read_hides_no_other(
    elt_assets: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "t0ken")
    links = {"id": 7, "name": "Ada", "email": "ada@acme.example"}

    def answer(asked: Asked) -> Reply:
        if asked.path == "/v1/groups":
            return as_json({"error": "forbidden"}, 403)
        following = f'<{provider.url}/v1/users?page=2>; rel="next"'
        return as_json([{**links, "id": number} for number in range(12)], link=following)

    with Provider(answer) as provider:
        data = f"""
            api_endpoint: {provider.url}/v1
            auth: {{type: bearer, token: {{env: ACME_TOKEN}}}}
            streams:
              users:
                path: /users
                pagination: {{type: link_header}}
                fields: {{external_id: id, name: name, email: email}}
              groups:
                path: /groups
                pagination: {{type: link_header}}
                fields: {{external_id: id, name: name}}
        """
        add(elt_assets, data)
        tested = elt_assets("integrations", "test", "org-001:okta-main", "--all-streams")
        assert tested.status == 1
        assert "users:" in tested.out
        assert "groups: page 1" in tested.err
        assert "the link to the next page contains a count (page=2)" in tested.err
        assert "email is the same in every record" in tested.err
        assert "missing records cannot be asked for" in tested.err
        found = elt_assets("integrations", "test", "org-001:okta-main", "--all-streams", "--json")
        assert found.status == 1
        streams = json.loads(found.out)["streams"]
        assert streams["users"]["count"] == 12
        assert "answered 403" in streams["groups"]["error"]
