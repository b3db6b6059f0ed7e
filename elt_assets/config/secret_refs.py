"""References to secrets, {env: NAME} or {file: PATH}, resolved when a request needs them.

Resolved values are redacted in text that leaves the process. No secret is ever stored.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from elt_assets.errors import SecretMissing

_SHORTEST_REDACTED = 4
_SHORTEST_TOLD_APART = 8
_LONGEST = 2**16
REDACTED = "[secret]"


class SecretRef(BaseModel):
    """A reference to a secret: where it is kept, never the secret itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = Field(None, description="Name of an environment variable.")
    file: str | None = Field(None, description="Path of a file whose content is the secret.")

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("give a secret as {env: NAME} or {file: PATH}, one of the two")
        return self


@dataclass(frozen=True, slots=True)
class AllowedSecret:
    """An entry of the operator's list; `name` may end with `*`, `organization` None means any."""

    organization: str | None
    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `[ORG=]env:NAME` or `[ORG=]file:PATH`. Raises `ValueError`."""
        before, equals, after = text.partition("=")
        organization, reference = (before, after) if equals else (None, before)
        kind, _, name = reference.partition(":")
        absolute = kind == "file" and name.startswith("/")
        if not name or organization == "" or not (kind == "env" or absolute):
            raise ValueError(
                f"{text!r} is not a secret: write env:NAME or file:/PATH. A * at the end stands "
                "for any rest, and acme= in front limits the entry to one organization"
            )
        return cls(organization, kind, name)

    def covers(self, organization_id: str, kind: str, name: str) -> bool:
        if self.kind != kind or self.organization not in (None, organization_id):
            return False
        wanted = self.name
        if kind == "file":
            # Links of both paths are resolved: a link in a listed folder may lead out of it.
            wanted = str(Path(wanted).parent.resolve() / Path(wanted).name)
            name = str(Path(name).resolve())
        if wanted.endswith("*"):
            return name.startswith(wanted[:-1])
        return name == wanted


class Secrets:
    """Resolves the references of one sync, and redacts the resolved values in text."""

    def __init__(self) -> None:
        self._values: set[str] = set()
        self._guard: Callable[[SecretRef], None] | None = None

    def guard(self, check: Callable[[SecretRef], None]) -> None:
        """From now on, call `check` before each reference is resolved; it raises to forbid it."""
        self._guard = check

    def resolve(self, ref: SecretRef) -> str:
        """The secret itself. Raises `SecretMissing` naming the reference, never a value."""
        if self._guard is not None:
            self._guard(ref)
        if ref.env is not None:
            value = os.environ.get(ref.env, "")
            if not value:
                raise SecretMissing(f"environment variable {ref.env} is not set; set it and retry")
        else:
            try:
                value = _content(Path(str(ref.file)).expanduser()).decode().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SecretMissing(
                    f"secret file {ref.file} cannot be read ({type(error).__name__}); "
                    "create it or correct the path"
                ) from None
            except ValueError as error:
                raise SecretMissing(f"secret file {ref.file} {error}; correct the path") from None
            if not value:
                raise SecretMissing(f"secret file {ref.file} is empty; put the secret into it")
        self.remember(value)
        return value

    def remember(self, value: str) -> None:
        """Redact `value` from now on; for secrets that no reference names, such as OAuth tokens."""
        if len(value) >= _SHORTEST_REDACTED:
            self._values.add(value)

    def stands_in(self, text: str) -> bool:
        """Whether `text` contains a resolved secret, as it is or percent-encoded.

        Secrets of less than eight characters do not count: they may occur by chance.
        """
        plain = unquote(text)
        long = (value for value in self._values if len(value) >= _SHORTEST_TOLD_APART)
        return any(value in text or value in plain for value in long)

    def redact(self, text: str) -> str:
        """`text` with every secret resolved so far replaced."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, REDACTED)
        return text


def revealed(given: SecretRef | SecretStr) -> str:
    """The value of a setting that is a secret or a reference to one. Raises `SecretMissing`."""
    return given.get_secret_value() if isinstance(given, SecretStr) else Secrets().resolve(given)


def _content(path: Path) -> bytes:
    # O_NONBLOCK: opening a named pipe would otherwise wait until another process opens it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("is not a file that holds text")
        found = os.read(descriptor, _LONGEST + 1)
    finally:
        os.close(descriptor)
    if len(found) > _LONGEST:
        raise ValueError(f"is larger than {_LONGEST:,} bytes, the most that a secret may have")
    return found
