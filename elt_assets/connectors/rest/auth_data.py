"""Ways to prove who asks that sign each request, or that need two things at once.

The common ones are in `provider_data`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from elt_assets.config.secret_refs import SecretRef
from elt_assets.connectors.http.hmac_signature import SIGNED_NAMES, VALUE_NAMES
from elt_assets.connectors.mapping.templates import placeholders
from elt_assets.errors import InvalidInput

_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


def _reference(value: Any) -> Any:
    if isinstance(value, str):
        raise ValueError("give a secret as {env: NAME} or {file: PATH}, never the secret itself")
    return value


_Secret = Annotated[SecretRef, BeforeValidator(_reference)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ClientCertificate(_Part):
    """The certificate by which the platform proves itself in TLS (mutual TLS)."""

    certificate: _Secret = Field(
        description="Where the certificate is kept, as PEM, with those that signed it behind it."
    )
    key: _Secret = Field(description="Where its private key is kept, as PEM without a password.")


class HmacAuth(_Part):
    """Each request carries a signature made with a shared key (HMAC)."""

    type: Literal["hmac"]
    key: _Secret = Field(description="Where the shared key is kept.")
    key_encoding: Literal["text", "base64", "hex"] = Field(
        "text", description="How the key is written."
    )
    algorithm: Literal["sha256", "sha512", "sha1"] = Field("sha256", description="The hash.")
    signed: str = Field(
        max_length=1024,
        description="The text that is signed, of {method}, {host}, {path}, {query}, {body}, "
        "{body_hash} (hexadecimal) and {timestamp}.",
    )
    encoding: Literal["hex", "base64"] = Field("hex", description="How the signature is written.")
    header: str = Field("Authorization", description="Header that carries the signature.")
    value: str = Field(
        "{signature}",
        max_length=512,
        description="What the header holds: {signature}, and {timestamp} where it stands there.",
    )
    timestamp: Literal["epoch", "epoch_ms", "iso"] = Field(
        "epoch", description="How {timestamp} is written."
    )
    timestamp_header: str | None = Field(
        None, description="Header that carries the timestamp by itself, e.g. X-Timestamp."
    )

    @model_validator(mode="after")
    def _consistent(self) -> HmacAuth:
        for name, text, known in (
            ("signed", self.signed, SIGNED_NAMES),
            ("value", self.value, VALUE_NAMES),
        ):
            try:
                placeholders(text, known)
            except InvalidInput as error:
                raise ValueError(f"{name}: {error}") from None
        if "{signature}" not in self.value:
            raise ValueError("value has no {signature}, where the signature is to stand")
        for header in (self.header, self.timestamp_header):
            if header is not None and not _HEADER_NAME.fullmatch(header):
                raise ValueError(f"{header!r} is not a header name")
        return self
