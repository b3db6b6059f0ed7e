"""`connectors verify` as a person uses it: of a preset, of a file, and of servers that are odd."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from elt_assets.cli.main import Invocation, cli
from elt_assets.conformance.emulators import emulations
from elt_assets.conformance.emulators.emulator_server import Emulator
from elt_assets.conformance.verdict import CHECKS, CheckOutcome
from elt_assets.conformance.verify import verify
from elt_assets.connectors.presets.preset import presets
from elt_assets.errors import InvalidInput, SyncError
from elt_assets_tests.connectors.directories import SECRET, directory, directory_data, people
from elt_assets_tests.connectors.provider_behaviour import BEHAVIOURS
from elt_assets_tests.connectors.serving import Answer, Asked, Provider, Reply, as_json

pytestmark = pytest.mark.slow

pytest_plugins = ["pytester"]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as serving:
        yield serving


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", SECRET)


def written(folder: Path, data: dict[str, Any]) -> str:
    path = folder / "acme.yaml"
    path.write_text(yaml.safe_dump(data))
    return str(path)


def file_for(folder: Path, pagination: str = "cursor", **more: Any) -> str:
    """A file that names a server which is not there: --against leads to the one that is."""
    return written(folder, directory_data(pagination, "bearer", "https://acme.example", **more))


def verdicts(path: str, provider: Provider) -> dict[str, str]:
    report = verify(path, against=provider.url)
    return {one.check: str(one.verdict) for one in report.findings}


def run(*arguments: str) -> Any:
    return CliRunner().invoke(
        cli, ["connectors", "verify", *arguments], obj=Invocation(), standalone_mode=False
    )


def with_single(answer: Answer, count: int) -> Answer:
    known = {person["id"]: person for person in people(count)}

    def serve(asked: Asked) -> Reply:
        key = asked.path.removeprefix("/v1/users/")
        if key == asked.path:
            return answer(asked)
        if asked.headers.get("authorization") != f"Bearer {SECRET}":
            return as_json({"error": "unauthorized"}, 401)
        return as_json(known[key]) if key in known else as_json({"error": "not_found"}, 404)

    return serve


def test_a_good_connector_passes(provider: Provider, tmp_path: Path) -> None:
    provider.answer = with_single(directory(people(250), "cursor", "bearer", provider.url), 250)
    path = file_for(tmp_path, single={"path": "/users/{external_id}"})
    found = run(path, "--against", provider.url, "--json")
    assert found.return_value == 0, found.stderr
    document = json.loads(found.stdout)
    assert document["passed"] is True
    assert [one["check"] for one in document["checks"]] == list(CHECKS)
    assert {one["check"]: one["verdict"] for one in document["checks"]} == {
        "pages": "passed",
        "resume": "passed",
        "credentials": "passed",
        "permissions": "not checked",
        "caps": "passed",
        "budget": "not checked",
        "unstable": "passed",
        "probe": "passed",
        "fields": "passed",
        "secrets": "passed",
    }


def test_a_server_that_takes_any_credentials(provider: Provider, tmp_path: Path) -> None:
    serve = directory(people(250), "cursor", "bearer", provider.url)
    with_right = {"authorization": f"Bearer {SECRET}"}

    def open_to_all(asked: Asked) -> Reply:
        headers = {**asked.headers, **with_right}
        return serve(Asked(asked.path, asked.query, headers, asked.number))

    provider.answer = open_to_all
    assert verdicts(file_for(tmp_path), provider)["credentials"] == "failed"


def test_a_server_that_gives_records_twice(provider: Provider, tmp_path: Path) -> None:
    twice = [*people(250), *people(3)]
    provider.answer = directory(twice, "cursor", "bearer", provider.url)
    assert verdicts(file_for(tmp_path), provider)["pages"] == "failed"


def test_a_server_whose_listing_differs_each_time(provider: Provider, tmp_path: Path) -> None:
    everybody = people(250)

    def fewer(asked: Asked) -> Reply:
        listed = everybody if provider.asked[-1].number < 10 else everybody[9:]
        return directory(listed, "cursor", "bearer", provider.url)(asked)

    provider.answer = fewer
    found = verdicts(file_for(tmp_path), provider)
    assert found["unstable"] == "failed"


def test_a_server_that_answers_for_everybody(provider: Provider, tmp_path: Path) -> None:
    listing = directory(people(250), "cursor", "bearer", provider.url)

    def serve(asked: Asked) -> Reply:
        if asked.path.startswith("/v1/users/"):
            return as_json({"id": asked.path.rpartition("/")[2], "name": "Somebody"})
        return listing(asked)

    provider.answer = serve
    path = file_for(tmp_path, single={"path": "/users/{external_id}"})
    assert verdicts(path, provider)["probe"] == "failed"


def test_a_server_that_fails_on_a_later_page(provider: Provider, tmp_path: Path) -> None:
    serve = directory(people(250), "cursor", "bearer", provider.url)

    def answer(asked: Asked) -> Reply:
        return as_json({"error": "broken"}, 500) if asked.query.get("cursor") else serve(asked)

    provider.answer = answer
    found = run(file_for(tmp_path), "--against", provider.url, "--json")
    assert found.return_value == 1
    stood = {one["check"]: one for one in json.loads(found.stdout)["checks"]}
    assert stood["pages"]["verdict"] == "failed"
    assert "answered 500" in stood["pages"]["detail"]


def test_a_listing_that_ends_on_a_full_page(provider: Provider, tmp_path: Path) -> None:
    provider.answer = directory(people(300), "next_url", "bearer", provider.url)
    assert verdicts(file_for(tmp_path, "next_url"), provider)["caps"] == "warned"


def test_empty_columns_and_rejected_records(provider: Provider, tmp_path: Path) -> None:
    nameless = [{**person, "email": None} for person in people(250)]
    provider.answer = directory(nameless, "cursor", "bearer", provider.url)
    found = verdicts(file_for(tmp_path), provider)
    assert (found["permissions"], found["fields"]) == ("warned", "warned")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["okta", "--against", "http://127.0.0.1:9"], "nothing answers at http://127.0.0.1:9"),
        (["okta", "--against", "localhost"], "is not an address such as"),
        (["okta", "--against", "http://[::1"], "--against 'http://[::1' is not an address"),
        (["okta", "--against", "http://127.0.0.1:99999"], ":99999' is not an address such as"),
        (["nowhere"], "'nowhere' is neither a file nor a preset"),
        (["rest"], "give a file with its provider_data"),
    ],
)
def test_what_cannot_be_verified_is_one_error(arguments: list[str], said: str) -> None:
    found = run(*arguments)
    assert isinstance(found.exception, InvalidInput)
    assert said in str(found.exception)
    assert found.stdout == ""


def test_an_address_for_what_has_none_is_refused(tmp_path: Path) -> None:
    stream = {"path": "u.csv", "fields": {"external_id": "id"}}
    path = written(tmp_path, {"directory": str(tmp_path), "streams": {"users": stream}})
    with pytest.raises(InvalidInput, match="files names no api_endpoint for --against"):
        verify(path, provider="files", against="http://127.0.0.1:9")


def test_a_file_without_a_stream_to_verify(tmp_path: Path) -> None:
    stream = {"path": "/log", "params": {"since": "{from}", "until": "{to}"}}
    stream |= {"pagination": {"type": "none"}, "fields": {"event_id": "id", "occurred_at": "at"}}
    data = {"api_endpoint": "http://127.0.0.1:9", "streams": {"signin_events": stream}}
    with pytest.raises(InvalidInput, match="has no stream that can be verified"):
        verify(written(tmp_path, data))


def test_a_second_stream_that_cannot_be_read_is_a_finding(
    provider: Provider, tmp_path: Path
) -> None:
    users = directory(people(30), "cursor", "bearer", provider.url)
    provider.answer = lambda asked: (
        as_json({"error": "none"}, 404) if asked.path == "/v1/groups" else users(asked)
    )
    data = directory_data("cursor", "bearer", "https://acme.example")
    data["streams"]["groups"] = data["streams"]["users"] | {"path": "/groups"}
    data["streams"]["groups"]["fields"] = {"external_id": "id", "name": "name"}
    report = verify(written(tmp_path, data), against=provider.url)
    assert not report.passed
    groups = {one.check: one for one in report.findings if one.stream == "groups"}
    assert list(groups) == list(CHECKS)
    assert groups["pages"].verdict is CheckOutcome.FAILED
    assert "answered 404" in groups["pages"].detail
    assert {one.verdict for one in groups.values()} == {
        CheckOutcome.FAILED,
        CheckOutcome.NOT_CHECKED,
    }


def test_a_wrong_field_is_named(tmp_path: Path) -> None:
    data = directory_data("cursor", "bearer", "http://127.0.0.1:9") | {"colour": "red"}
    with pytest.raises(InvalidInput, match="colour"):
        verify(written(tmp_path, data))


def test_a_server_that_is_another_one(provider: Provider, tmp_path: Path) -> None:
    provider.answer = lambda _: Reply(status=404)
    with pytest.raises(SyncError, match="answered 404"):
        verify(file_for(tmp_path), against=provider.url)


def test_the_installation_at_hand_is_not_touched(
    provider: Provider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("ELT_ASSETS_HOME", str(home))
    monkeypatch.setenv("ELT_ASSETS_OPERATIONAL_URL", "postgresql://nobody@127.0.0.1:9/none")
    provider.answer = directory(people(30), "cursor", "bearer", provider.url)
    verify(file_for(tmp_path), against=provider.url)
    assert not home.exists()


OFTEN = {*BEHAVIOURS, "keycloak", "linear", "personio", "zoom"}
"""Presets that are verified each time: one of each kind of listing and of signing in."""


@pytest.mark.parametrize(
    ("name", "stream"),
    [
        *(
            pytest.param(name, "users", marks=() if name in OFTEN else pytest.mark.campaign)
            for name in emulations()
        ),
        ("okta", "groups"),
        ("entra_id", "group_memberships"),
    ],
)
def test_a_preset_is_verified_against_any_server_of_its_provider(
    tmp_path: Path, name: str, stream: str
) -> None:
    with Emulator(emulations()[name], stream) as emulator:
        emulator.populate(30)
        emulator.secret = SECRET
        # The server's own address stands in the file only where the preset knows none.
        example = presets()[name].example
        data = {
            field: {"env": "TEST_SECRET"} if value == "{secret}" else value
            for field, said in emulations()[name].data.items()
            if (value := example.get(field) if str(said).startswith("{url}") else said)
        } | ({} if stream == "users" else {"streams": [stream]})
        report = verify(written(tmp_path, data), provider=name, against=emulator.url)
        listed = len(emulator.listed())
    assert report.passed, report.document()
    assert report.findings[0].detail.startswith(f"{listed} records")
    assert {one.stream for one in report.findings} == {stream}


def test_a_preset_is_verified_by_its_name_and_example(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator(emulations()["okta"]) as emulator:
        emulator.populate(450)
        monkeypatch.setenv("OKTA_TOKEN", emulator.secret)
        found = run("okta", "--against", emulator.url, "--json")
    assert found.return_value == 0, found.stderr
    assert json.loads(found.stdout)["against"].startswith(emulator.url)


def test_the_checks_are_tests_for_pytest(
    provider: Provider, tmp_path: Path, pytester: pytest.Pytester
) -> None:
    provider.answer = directory([*people(250), *people(3)], "cursor", "bearer", provider.url)
    outcome = pytester.runpytest_inprocess(
        "-p",
        "elt_assets.conformance.pytest_plugin",
        "--connector",
        file_for(tmp_path),
        "--connector-against",
        provider.url,
    )
    counts = outcome.parseoutcomes()
    assert counts["failed"] >= 1
    assert counts["passed"] >= 2
    assert counts["skipped"] >= 2
    assert sum(counts[kind] for kind in ("failed", "passed", "skipped")) == len(CHECKS)
    outcome.stdout.fnmatch_lines(["*3 ids are listed more than once*"])
