"""Traces: a run's integrations, their stages and pages hang together; off, nothing is loaded."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from elt_assets.sync.outcome import Stage
from elt_assets.telemetry import tracing
from elt_assets_tests.connectors.serving import Provider, Reply
from elt_assets_tests.testbed.fleet import TOKEN, Fleet, opened_fleet

pytestmark = pytest.mark.slow


@pytest.fixture
def fleet(own_home: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    with opened_fleet(monkeypatch) as opened:
        yield opened


def named(spans: tuple[ReadableSpan, ...], name: str) -> list[ReadableSpan]:
    return [span for span in spans if span.name == name]


def parents(span: ReadableSpan, spans: tuple[ReadableSpan, ...]) -> list[str]:
    """The names from a span's parent up to the root."""
    by_id = {one.context.span_id: one for one in spans if one.context}
    found = []
    while span.parent is not None:
        span = by_id[span.parent.span_id]
        found.append(span.name)
    return found


def test_pages_are_of_stages_of_integrations_of_one_run(fleet: Fleet) -> None:
    keys = fleet.connect(3)
    fleet.directory.failures["dir-01"].extend([404])
    exporter = InMemorySpanExporter()
    tracing.begin(None, exporter)
    try:
        fleet.run(keys)
    finally:
        tracing.end()
    spans = exporter.get_finished_spans()
    assert len({span.context.trace_id for span in spans if span.context}) == 1
    (run,) = named(spans, "run")
    assert parents(run, spans) == []
    integrations = named(spans, "integration")
    assert {
        f"{s.attributes['organization']}:{s.attributes['integration']}" for s in integrations
    } == {*keys}
    assert sorted(str(span.attributes["status"]) for span in integrations) == [
        "applied",
        "applied",
        "failed",
    ]
    assert sum(not span.status.is_ok for span in integrations if span.status.is_unset is False) == 1
    assert all(parents(span, spans) == ["run"] for span in integrations)
    pages = named(spans, "page")
    assert all(parents(span, spans) == ["extract", "integration", "run"] for span in pages)
    assert sum(span.attributes.get("records", 0) for span in pages) == 6
    for stage in ("detect", "apply"):
        assert len(named(spans, stage)) == 2
    told = repr([(span.attributes, span.events, span.status.description) for span in spans])
    assert TOKEN not in told
    assert "example.com" not in told


def test_spans_arrive_at_an_otlp_receiver_before_the_run_ends(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fleet.connect(1)
    with Provider(lambda _: Reply(status=200)) as receiver:
        settings = fleet.settings.model_copy(
            update={"tracing_endpoint": f"{receiver.url}/v1/traces"}
        )
        monkeypatch.setattr(fleet.platform, "settings", settings)
        assert fleet.run(keys, Stage.STAGING, Stage.CDC, Stage.LATEST).success
        sent = b"".join(asked.body for asked in receiver.asked)
    assert {asked.path for asked in receiver.asked} == {"/v1/traces"}
    for name in (b"elt-assets", b"integration", b"dir-00"):
        assert name in sent


def test_a_trace_receiver_that_is_down_fails_no_sync(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = fleet.connect(1)
    with Provider() as gone:
        endpoint = f"{gone.url}/v1/traces"
    settings = fleet.settings.model_copy(update={"tracing_endpoint": endpoint})
    monkeypatch.setattr(fleet.platform, "settings", settings)
    assert fleet.run(keys).success


def test_without_tracing_opentelemetry_is_not_imported() -> None:
    code = (
        "import sys; from elt_assets.telemetry import tracing\n"
        "with tracing.traced(None), tracing.span('run', a=1): tracing.annotate(b=2)\n"
        "assert tracing.span('a') is tracing.span('b')\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
