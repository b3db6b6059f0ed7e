"""A dlt source or resource by import path, page by page.

The module finds the resource, iterates it and reports its errors. It creates no pipeline, so dlt
writes and sends nothing: no state, no schema, no staged files, no telemetry.

A resource is a generator and cannot be resumed: an interrupted extraction starts from the
beginning. dlt's incremental cursors are not available, because they are kept in a pipeline's state.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.dlt.dlt_data import DltData, with_secrets
from elt_assets.connectors.limits import FetchLimits, page_limit_reached
from elt_assets.connectors.mapping.field_map import parsed
from elt_assets.connectors.source import Cursor, ListsOnly, Page
from elt_assets.errors import (
    PageUnreadable,
    PermanentError,
    ProviderRefused,
    ProviderUnavailable,
    SyncError,
)
from elt_assets.identifiers import IntegrationRef

if TYPE_CHECKING:
    from dlt.common.exceptions import DltException
    from dlt.extract.resource import DltResource

_PASSING = frozenset({408, 425, 429})
_OF_THIS_MACHINE = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)


class DltSource(ListsOnly):
    """One stream of one dlt integration."""

    records: tuple[str, ...] = ()
    resumable = False
    """A generator can only be read from its beginning."""

    def __init__(
        self,
        config: DltData,
        stream: str,
        *,
        ref: IntegrationRef | None,
        secrets: Secrets,
        limits: FetchLimits,
    ) -> None:
        if not limits.outgoing.egress.anything:
            raise PermanentError(
                "provider dlt opens connections of its own, which ELT_ASSETS_EGRESS cannot hold to "
                "the addresses that are open; describe the provider as rest instead"
            )
        self._config = config
        self._stream = config.streams[stream]
        self._name = self._stream.resource or stream
        self._what = f"resource {self._name!r} of {config.source}"
        self._secrets = secrets
        self._limits = limits
        self.snapshot = self._stream.snapshot
        self.fields = parsed(self._stream.fields, self._stream.unordered)

    def pages(self, cursor: Cursor | None, since: str | None = None) -> Iterator[Page]:
        if cursor is not None:
            raise PermanentError(f"{self._what} can only be read from its beginning")
        resource = self._resource()
        number = 0
        held: tuple[bytes, int] | None = None
        for body, count in self._lists(resource):
            if held is not None:
                number += 1
                cut_short = None
                if number >= self._limits.max_pages:
                    cut_short = page_limit_reached(self._limits.max_pages)
                yield Page(*held, next={"pages": number}, cut_short=cut_short)
                if cut_short is not None:
                    return
            held = body, count
        # One page is held back: that it is the last one is known only when the resource ends.
        yield Page(*(held or (b"[]", 0)), next=None, cut_short=_left_out(resource))

    def close(self) -> None:
        """Do nothing: no connection outlives the iteration over `pages`."""

    def _lists(self, resource: DltResource) -> Iterator[tuple[bytes, int]]:
        from dlt.common.exceptions import DltException

        from elt_assets.connectors.dlt.dlt_records import each, encoded

        found = each(iter(resource))
        while True:
            try:
                records = list(islice(found, self._stream.page_size))
            except DltException as error:
                raise self._failure(error) from None
            if not records:
                return
            body = encoded(records)
            if len(body) > self._limits.page_bytes:
                raise PageUnreadable(
                    f"a page of {self._what} has {len(body):,} bytes, more than the "
                    f"{self._limits.page_bytes:,} allowed; lower page_size"
                )
            yield body, len(records)

    def _resource(self) -> DltResource:
        if importlib.util.find_spec("dlt") is None:
            raise PermanentError(
                "provider dlt needs the package dlt, which is not installed; "
                "install elt-assets with its extra dlt: pip install 'elt-assets[dlt]'"
            )
        # dlt reads this when it starts up. With telemetry, it would write an id of this machine to
        # a file.
        os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
        from dlt.extract.resource import DltResource
        from dlt.extract.source import DltSource as Resources

        found = self._called(self._named(), (Resources, DltResource))
        if isinstance(found, DltResource):
            return found
        if not isinstance(found, Resources):
            raise PermanentError(
                f"{self._config.source} gives {type(found).__name__}, neither a dlt source nor a "
                "dlt resource; put @dlt.source or @dlt.resource on it"
            )
        if self._name not in found.resources:
            raise PermanentError(
                f"{self._config.source} has no resource {self._name!r}; it has "
                f"{', '.join(sorted(found.resources))}"
            )
        resource: DltResource = found.resources[self._name]
        return resource

    def _named(self) -> Any:
        module, _, way = self._config.source.partition(":")
        try:
            found: Any = importlib.import_module(module)
        except ImportError as error:
            raise PermanentError(
                f"{module} cannot be imported ({error}); install it in the platform's Python "
                "environment or put its folder on PYTHONPATH"
            ) from None
        for name in way.split("."):
            if not hasattr(found, name):
                raise PermanentError(f"{module} has no {way}; correct source in provider_data")
            found = getattr(found, name)
        return found

    def _called(self, named: Any, made: tuple[type, ...]) -> Any:
        from dlt.common.exceptions import DltException

        if isinstance(named, made) and not self._config.arguments:
            return named
        if not callable(named):
            raise PermanentError(f"{self._config.source} takes no arguments")
        arguments = with_secrets(self._config.arguments, self._secrets)
        try:
            inspect.signature(named).bind(**arguments)
        except TypeError as error:
            raise PermanentError(
                f"{self._config.source} {error}; correct arguments in provider_data"
            ) from None
        try:
            return named(**arguments)
        except DltException as error:
            raise self._failure(error) from None

    def _failure(self, error: DltException) -> SyncError:
        """Translate dlt's error without quoting it: its message may hold a person's data."""
        from dlt.common.configuration.exceptions import ConfigFieldMissingException

        cause = _innermost(error)
        if isinstance(cause, ConfigFieldMissingException):
            return PermanentError(
                f"{self._what} needs {', '.join(cause.fields)}; give them in arguments"
            )
        said = f"{self._what} failed with {type(cause).__name__}"
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            said = f"{said}: its provider answered {status}"
            if status in _PASSING or status >= 500:
                return ProviderUnavailable(said)
            return ProviderRefused(f"{said}; check arguments in provider_data")
        if isinstance(cause, OSError) and not isinstance(cause, _OF_THIS_MACHINE):
            return ProviderUnavailable(f"{said}: its provider cannot be reached")
        return PermanentError(f"{said}{_place(cause.__traceback__)}; correct it there")


def _left_out(resource: DltResource) -> str | None:
    """Why the records read may not be all records, as far as the resource shows it."""
    if resource.limit is not None:
        return f"resource {resource.name!r} has a limit (add_limit), so it does not list everybody"
    cursor = resource.incremental
    # A cursor that is an argument of the resource's function is wrapped here; the wrapper has the
    # actual cursor once the function has run.
    cursor = getattr(cursor, "_incremental", cursor)
    if cursor is not None and (
        cursor.initial_value is not None or cursor.on_cursor_value_missing == "exclude"
    ):
        return (
            f"resource {resource.name!r} reads from a moment on (dlt.sources.incremental), "
            "so it does not list everybody"
        )
    return None


def _innermost(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _place(trace: TracebackType | None) -> str:
    if trace is None:
        return ""
    while trace.tb_next is not None:
        trace = trace.tb_next
    return f" at {Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
