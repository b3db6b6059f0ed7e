"""Logs: structured events, as lines for people or as JSON for machines.

All records pass through `redacted`. It removes secrets that the running sync has resolved, fields
with personal data, and mail addresses and credentials inside any text, including the exceptions of
libraries.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TextIO

import structlog

from elt_assets.config.secret_refs import REDACTED, Secrets
from elt_assets.errors.foreign_text import visible
from elt_assets.identifiers import IntegrationRef

Format = Literal["console", "json"]

PACKAGE = "elt_assets"
PERSONAL = frozenset(
    {"name", "email", "emails", "display_name", "user_name", "raw", "before", "after", "attributes"}
)
"""Fields of a record with personal data; their values are never logged."""

_TRACES = frozenset({"exception", "stack"})
_SECRET = re.compile(r"pass(word|wd)?$|secret|token$|authorization|api_?key|credential", re.I)
_MAIL = re.compile(r"[^\s@<>\"'(),;:]+@[^\s@<>\"'(),;:]+\.[A-Za-z]{2,}")
_CREDENTIALS = re.compile(r"(?i)\b(bearer|basic|token)(\s+|=)[A-Za-z0-9._~+/=-]{8,}")
_URL_LOGIN = re.compile(r"(?<=://)[^/\s:@]+:[^/\s@]+(?=@)")

_secrets: ContextVar[Secrets | None] = ContextVar("secrets_of_the_sync", default=None)

logger: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    logging.getLogger(PACKAGE),
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.filter_by_level,
        structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
    cache_logger_on_first_use=False,
)
"""The package's logger for events; `logging` of its modules uses the same handler."""


@contextmanager
def bound(ref: IntegrationRef, sync_id: str, stream: str, secrets: Secrets) -> Iterator[None]:
    """Add the sync to every record of the block, and redact these secrets."""
    token = _secrets.set(secrets)
    try:
        with structlog.contextvars.bound_contextvars(
            sync_id=sync_id,
            organization=ref.organization_id,
            integration=ref.integration_id,
            stream=stream,
        ):
            yield
    finally:
        _secrets.reset(token)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Add the stage of a sync to every record of the block."""
    with structlog.contextvars.bound_contextvars(stage=name):
        yield


def configure(
    form: Format,
    level: str,
    *,
    to: TextIO | None = None,
    packages: Sequence[str] = (PACKAGE,),
) -> None:
    """Write the records of `packages` to standard error, in place of an earlier configuration."""
    for name in packages:
        package = logging.getLogger(name)
        for handler in package.handlers[:]:
            if isinstance(handler, _Written):
                package.removeHandler(handler)
        package.addHandler(_Written(form, to))
        package.setLevel(level.upper())


def redacted(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that removes secrets and personal data."""
    secrets = _secrets.get()
    return {key: _clean(key, value, secrets) for key, value in event.items()}


def _clean(key: str, value: Any, secrets: Secrets | None) -> Any:
    if key in PERSONAL:
        return "[personal]"
    if _SECRET.search(key):
        return REDACTED
    if isinstance(value, str):
        text = secrets.redact(value) if secrets else value
        # Only a traceback may have several lines; in other text, a line could imitate a record.
        text = visible(text if key in _TRACES else text.replace("\n", "\\n"))
        text = _CREDENTIALS.sub(rf"\1\2{REDACTED}", text)
        return _MAIL.sub("[mail]", _URL_LOGIN.sub(REDACTED, text))
    if isinstance(value, dict):
        return {inner: _clean(str(inner), one, secrets) for inner, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", one, secrets) for one in value]
    return value


class _Written(logging.StreamHandler[TextIO]):
    """The log handler of this package."""

    def __init__(self, form: Format, to: TextIO | None) -> None:
        super().__init__(to or sys.stderr)
        last: Any = (
            structlog.processors.JSONRenderer(sort_keys=False, ensure_ascii=False)
            if form == "json"
            else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0)
        )
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                # Records of `logging` are processed like events of structlog.
                foreign_pre_chain=[structlog.contextvars.merge_contextvars],
                processors=[
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    structlog.stdlib.add_log_level,
                    structlog.processors.TimeStamper(fmt="iso", utc=True),
                    structlog.processors.format_exc_info,
                    redacted,
                    last,
                ],
            )
        )
