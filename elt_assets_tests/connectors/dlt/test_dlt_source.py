"""dlt resources as pages: what they yield, what they leave out, and how they fail."""

from __future__ import annotations

import gc
import importlib.util
import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elt_assets.config.egress import Egress
from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors import catalog
from elt_assets.connectors.http.outgoing import Outgoing
from elt_assets.connectors.source import Page
from elt_assets.errors import (
    InvalidInput,
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SecretMissing,
)
from elt_assets_tests.connectors.dlt.conftest import PEOPLE, dlt_data, opened
from elt_assets_tests.connectors.serving import Asked, Provider, Reply, as_json

pytest.importorskip("dlt", reason="dlt is not installed")


def read(data: dict[str, Any], **limits: Any) -> list[Page]:
    return list(opened(data, **limits).pages(None))


def ids(pages: list[Page]) -> list[Any]:
    return [record["id"] for page in pages for record in json.loads(page.body)]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("users", 20),
        ("one_by_one", 5),
        ("parallel", 5),
        ("asynchronous", 5),
        ("tables", 5),
        ("nobody", 0),
        ("changed_ever", 10),
    ],
)
def test_whatever_a_resource_yields_becomes_pages_of_records(function: str, expected: int) -> None:
    pages = read(dlt_data(function, page_size=2))
    assert ids(pages) == list(range(expected))
    assert [page.count for page in pages] == [len(json.loads(page.body)) for page in pages]
    assert all(page.count == 2 for page in pages[:-1])
    assert [page.next for page in pages[:-1]] == [{"pages": n} for n in range(1, len(pages))]
    assert (pages[-1].next, pages[-1].cut_short) == (None, None)


def test_a_source_that_connects_by_itself_is_refused_where_addresses_are_closed() -> None:
    closed = Outgoing(Egress.parse("public"))
    with pytest.raises(PermanentError, match="which ELT_ASSETS_EGRESS cannot hold"):
        opened(dlt_data("users"), outgoing=closed)


def test_arguments_reach_the_function() -> None:
    assert ids(read(dlt_data("users", arguments={"count": 4}))) == [0, 1, 2, 3]


def test_a_resource_of_a_source_is_chosen_by_name_and_the_streams_own_by_default() -> None:
    data = dlt_data("company", "badges", arguments={"token": {"env": "PATH"}})
    assert ids(read(data)) == ["badge-1"]
    data = dlt_data("company", "nobody", arguments={"token": {"env": "PATH"}})
    with pytest.raises(PermanentError, match="no resource 'nobody'; it has badges, people"):
        read(data)
    data = dlt_data("company", arguments={"token": {"env": "PATH"}})
    with pytest.raises(PermanentError, match="no resource 'users'"):
        read(data)


def test_secrets_in_arguments_are_resolved_at_any_depth_and_redacted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("COMPANY_TOKEN", "s3cret-of-the-company")
    (tmp_path / "key").write_text("k3y-of-the-company\n")
    arguments = {
        "token": {"env": "COMPANY_TOKEN"},
        "departments": [{"key": {"file": str(tmp_path / "key")}, "env": "kept", "file": "too"}],
    }
    secrets = Secrets()
    (page,) = opened(dlt_data("company", "people", arguments=arguments), secrets).pages(None)
    (record,) = json.loads(page.body)
    assert record["token"] == "s3cret-of-the-company"
    assert record["departments"] == [{"key": "k3y-of-the-company", "env": "kept", "file": "too"}]
    assert secrets.redact(page.body.decode()).count("[secret]") == 2
    monkeypatch.delenv("COMPANY_TOKEN")
    with pytest.raises(SecretMissing, match="COMPANY_TOKEN is not set"):
        read(dlt_data("company", "people", arguments=arguments))


def test_what_json_cannot_hold_rejects_its_record_alone() -> None:
    (page,) = read(dlt_data("odd_values"))
    when, exact, none, code, surrogate, text = json.loads(page.body)
    assert when == {"id": "when", "at": "2026-01-02T03:04:05+00:00"}
    assert exact == {"id": "exact", "at": 1.5}
    assert text == "not an object"
    for record, name in ((none, "none"), (code, "code"), (surrogate, "surrogate")):
        assert "$unreadable" in record
        assert record["id"] == name, "its key shields its user"


def test_a_decimal_that_is_no_number_rejects_its_record_alone() -> None:
    (page,) = read(dlt_data("no_numbers"))
    infinite, text = json.loads(page.body)
    assert "NaN or Infinity" in infinite["$unreadable"]
    assert infinite["id"] == 1
    assert text == {"id": 2, "at": "NaN and Infinity"}


def test_times_of_arrow_tables_are_texts_that_can_be_mapped() -> None:
    (page,) = read(dlt_data("tables"))
    first = json.loads(page.body)[0]
    assert first == {"id": 0, "seen": "2026-01-02T03:04:05Z", "none": None}


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("limited", "has a limit (add_limit)"),
        ("changed_since", "reads from a moment on (dlt.sources.incremental)"),
    ],
)
def test_a_resource_that_leaves_records_out_is_no_listing_of_everybody(
    function: str, words: str
) -> None:
    assert words in str(read(dlt_data(function))[-1].cut_short)


def test_limits_are_kept() -> None:
    pages = read(dlt_data("users", page_size=5), max_pages=2)
    assert len(pages) == 2
    assert pages[-1].cut_short == "page limit of 2 reached (ELT_ASSETS_MAX_PAGES)"
    with pytest.raises(PageUnreadable, match="lower page_size"):
        read(dlt_data("users"), page_bytes=100)


def test_what_fails_is_named_by_its_place_and_quotes_nothing() -> None:
    with pytest.raises(PermanentError) as caught:
        read(dlt_data("broken"))
    assert "resource 'users'" in str(caught.value)
    assert "failed with KeyError at people_sources.py:" in str(caught.value)
    assert "ada@" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("nowhere.at_all:users", "nowhere.at_all cannot be imported (No module named 'nowhere')"),
        (f"{PEOPLE}:nothing", "people_sources has no nothing"),
        (f"{PEOPLE}:plain", "gives generator, neither a dlt source nor a dlt resource"),
        (f"{PEOPLE}:company", "missing a required argument: 'token'"),
        (f"{PEOPLE}:configured", "needs api_key; give them in arguments"),
    ],
)
def test_a_source_that_cannot_be_used_says_what_to_correct(source: str, words: str) -> None:
    with pytest.raises(PermanentError) as caught:
        read(dlt_data(source))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"source": "people_sources"}, "source: write package.module:function"),
        ({"source": "os;system:x"}, "source: write package.module:function"),
        ({"arguments": {"client": {"auth": {"token": "abc"}}}}, "arguments: token is written out"),
        ({"streams": {}}, "streams: "),
    ],
)
def test_mistakes_are_named_before_anything_is_imported(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        catalog.validate("dlt", dlt_data("nowhere.at_all:users") | wrong)
    assert words in str(caught.value)


def test_without_dlt_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "dlt" else find(name)
    )
    with pytest.raises(PermanentError, match=r"pip install 'elt-assets\[dlt\]'"):
        read(dlt_data("users"))


@pytest.fixture
def left_behind() -> Iterator[None]:
    """dlt leaves its connections to the garbage collector, which must not meet another test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def rest_api(url: str) -> dict[str, Any]:
    """dlt's own rest_api source, reading `/people` by link header with a bearer token."""
    config = {
        "client": {
            "base_url": url,
            "auth": {"type": "bearer", "token": {"env": "DLT_TEST_TOKEN"}},
            "paginator": {"type": "header_link"},
        },
        "resources": [{"name": "people", "endpoint": {"path": "people"}}],
    }
    return dlt_data(
        "dlt.sources.rest_api:rest_api_source", "people", page_size=4, arguments={"config": config}
    )


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("left_behind")
def test_dlts_own_rest_api_source_is_read_through_all_its_pages(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DLT_TEST_TOKEN", "t0ken-for-dlt")

    def answer(asked: Asked) -> Reply:
        if asked.headers.get("authorization") != "Bearer t0ken-for-dlt":
            return Reply(status=401)
        page = int(asked.query.get("page", "1"))
        people = [{"id": 10 * page + number} for number in range(3)]
        if page == 3:
            return as_json(people)
        return as_json(people, link=f'<{provider.url}/people?page={page + 1}>; rel="next"')

    provider.answer = answer
    assert ids(read(rest_api(provider.url))) == [10, 11, 12, 20, 21, 22, 30, 31, 32]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.usefixtures("left_behind")
@pytest.mark.parametrize(("status", "kind"), [(403, ProviderRefused), (408, ProviderUnavailable)])
def test_what_the_provider_answered_decides_whether_another_try_can_help(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[Exception]
) -> None:
    monkeypatch.setenv("DLT_TEST_TOKEN", "t0ken-for-dlt")
    provider.answer = lambda _: Reply(status=status)
    with pytest.raises(kind, match=f"its provider answered {status}"):
        read(rest_api(provider.url))


WATCHED = """
import sys
written = []
def watch(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        written.append(str(arguments[0]))
    elif event in ("os.mkdir", "socket.connect"):
        written.append(f"{event} {arguments[0]}")
sys.addaudithook(watch)
from elt_assets_tests.connectors.dlt.conftest import dlt_data, opened
pages = list(opened(dlt_data("users", page_size=5)).pages(None))
assert len(pages) == 4
import dlt
assert not dlt.current.run_context().runtime_config.dlthub_telemetry
print("\\n".join(path for path in written if "__pycache__" not in path))
"""


def test_dlt_writes_nothing_and_calls_nobody(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-B", "-c", WATCHED],
        cwd=tmp_path,
        env={"HOME": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[3])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == ""
    assert list(tmp_path.iterdir()) == []
