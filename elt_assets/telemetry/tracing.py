"""Traces: run → integration → stage → page.

Tracing is off unless `begin` is called with an endpoint; only then is OpenTelemetry imported.
Attributes are names and counts, never secrets, records or personal data. An error that ends a span
is recorded by its class name only, because the messages of libraries quote data.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from elt_assets.errors import InvalidInput

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

Attribute = str | int | float | bool

_OFF: AbstractContextManager[None] = nullcontext()


class _Tracing:
    """The tracer of this process, if any."""

    provider: TracerProvider | None = None
    tracer: Any = None


def span(name: str, **attributes: Attribute) -> AbstractContextManager[None]:
    """A span around the block; its parent is the current span."""
    if _Tracing.tracer is None:
        return _OFF
    return _recorded(name, attributes)


@contextmanager
def _recorded(name: str, attributes: dict[str, Attribute]) -> Iterator[None]:
    from opentelemetry.trace import Status, StatusCode

    with _Tracing.tracer.start_as_current_span(
        name, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield
        except GeneratorExit:
            raise
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise


def annotate(**attributes: Attribute) -> None:
    """Add attributes to the current span."""
    if _Tracing.tracer is None:
        return
    from opentelemetry.trace import get_current_span

    get_current_span().set_attributes(attributes)


def failed(reason: str) -> None:
    """Mark the current span as failed, when no exception ends it."""
    if _Tracing.tracer is None:
        return
    from opentelemetry.trace import Status, StatusCode, get_current_span

    get_current_span().set_status(Status(StatusCode.ERROR, reason))


def begin(endpoint: str | None, exporter: SpanExporter | None = None) -> None:
    """Send spans to the OTLP/HTTP receiver at `endpoint` from now on; None leaves them off.

    Raises `InvalidInput` if the libraries for it are not installed.
    """
    if _Tracing.tracer is not None or (endpoint is None and exporter is None):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise InvalidInput(
            "ELT_ASSETS_TRACING_ENDPOINT is set and OpenTelemetry is not installed: "
            "install elt-assets[tracing], or unset it"
        ) from None
    provider = TracerProvider(
        resource=Resource.create({"service.name": "elt-assets"}), shutdown_on_exit=False
    )
    provider.add_span_processor(
        BatchSpanProcessor(exporter or OTLPSpanExporter(endpoint=endpoint, timeout=5))
    )
    _Tracing.provider, _Tracing.tracer = provider, provider.get_tracer("elt_assets")


@contextmanager
def traced(endpoint: str | None) -> Iterator[None]:
    """Trace the block, and send its spans before it ends; nested blocks join the outer one."""
    if endpoint is None or _Tracing.tracer is not None:
        yield
        return
    begin(endpoint)
    try:
        yield
    finally:
        end()


def end() -> None:
    """Send the remaining spans, and stop tracing."""
    provider, _Tracing.provider, _Tracing.tracer = _Tracing.provider, None, None
    if provider is not None:
        provider.shutdown()
