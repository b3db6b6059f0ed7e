"""Secrets by reference: {env: NAME} or {file: PATH}, resolved when a request needs them.

Belongs here: the reference model, reading what it points to, and removing resolved values
from text that leaves the process. Does not: deciding where a secret may be sent
(connectors) or storing one (nobody does).
"""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from elt_assets.errors import SecretMissing

_SHORTEST_REDACTED = 4
_SHORTEST_TOLD_APART = 8
REDACTED = "[secret]"


class SecretRef(BaseModel):
    """Where a secret is kept; never the secret itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str | None = Field(None, description="Name of an environment variable.")
    file: str | None = Field(None, description="Path of a file whose content is the secret.")

    @model_validator(mode="after")
    def _exactly_one(self) -> SecretRef:
        if (self.env is None) == (self.file is None):
            raise ValueError("give a secret as {env: NAME} or {file: PATH}, one of the two")
        return self


class Secrets:
    """Resolves references of one sync and remembers the values to keep them out of text."""

    def __init__(self) -> None:
        self._values: set[str] = set()

    def resolve(self, ref: SecretRef) -> str:
        """The secret itself. Raises `SecretMissing` naming the reference, never a value."""
        if ref.env is not None:
            value = os.environ.get(ref.env, "")
            if not value:
                raise SecretMissing(f"environment variable {ref.env} is not set; set it and retry")
        else:
            try:
                value = Path(str(ref.file)).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise SecretMissing(
                    f"secret file {ref.file} cannot be read ({type(error).__name__}); "
                    "create it or correct the path"
                ) from None
            if not value:
                raise SecretMissing(f"secret file {ref.file} is empty; put the secret into it")
        self.remember(value)
        return value

    def remember(self, value: str) -> None:
        """Redact `value` from now on, for secrets that arrive later (an OAuth token)."""
        if len(value) >= _SHORTEST_REDACTED:
            self._values.add(value)

    def stands_in(self, text: str) -> bool:
        """Whether `text` holds a secret, as it is or as a URL spells it.

        One so short that it may stand there by chance does not count.
        """
        plain = unquote(text)
        long = (value for value in self._values if len(value) >= _SHORTEST_TOLD_APART)
        return any(value in text or value in plain for value in long)

    def redact(self, text: str) -> str:
        """`text` with every secret resolved so far replaced."""
        for value in sorted(self._values, key=len, reverse=True):
            text = text.replace(value, REDACTED)
        return text
