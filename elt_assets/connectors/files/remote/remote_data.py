"""How provider_data names files on an SFTP server or in object storage."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from elt_assets.config.secret_refs import SecretRef
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.provider_fields import Secret, Strict


def _host_key(value: str) -> str:
    parts = value.split()
    try:
        if len(parts) < 2 or not base64.b64decode(parts[1], validate=True):
            raise ValueError
    except (binascii.Error, ValueError):
        raise ValueError(
            "write the server's public key as ssh-keyscan prints it, without the server's name: "
            "ssh-ed25519 AAAA…"
        ) from None
    return f"{parts[0]} {parts[1]}"


def _place(value: str, scheme: str, example: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme == scheme and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or re.search(r"[\x00-\x20\x7f\\?#@]", value) or ".." in value.split("/"):
        raise ValueError(f"write it as {example}")
    return value.rstrip("/")


def _sftp(value: str) -> str:
    return _place(value, "sftp", "sftp://drops.acme.example:22/outgoing, with the user in user")


def _s3(value: str) -> str:
    return _place(value, "s3", "s3://bucket/prefix")


def _endpoint(value: str) -> str:
    try:
        origin = Origin.of(value)
    except ValueError as error:
        raise ValueError(f"the URL {error}") from None
    if not origin.is_private:
        raise ValueError("plain http sends the files' contents unencrypted; use https")
    return value.rstrip("/")


class SftpRemote(Strict):
    """A folder of an SFTP server, read by a user with a key or a password."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_sftp)] = Field(
        description="Server and folder, e.g. sftp://drops.acme.example/outgoing."
    )
    user: str = Field(
        min_length=1, max_length=256, description="The user to log in as; needs read access only."
    )
    password: Secret | None = Field(None, description="Where the password is kept.")
    key: Secret | None = Field(
        None,
        description="Or where the private key is kept, in PEM or OpenSSH format, without a "
        "passphrase.",
    )
    host_keys: list[Annotated[str, AfterValidator(_host_key)]] = Field(
        min_length=1,
        max_length=16,
        description="The server's public keys, as ssh-keyscan prints them; the connection to a "
        "server that shows another one is refused.",
    )

    @model_validator(mode="after")
    def _one_proof(self) -> SftpRemote:
        if (self.password is None) == (self.key is None):
            raise ValueError("give password or key, one of the two")
        return self


class S3Remote(Strict):
    """Objects of a bucket of S3, or of storage that speaks its protocol."""

    url: Annotated[str, Field(max_length=2048), AfterValidator(_s3)] = Field(
        description="Bucket and prefix, e.g. s3://acme-drops/outgoing."
    )
    region: str = Field(
        "us-east-1", pattern=r"^[a-z0-9-]{1,64}$", description="Region of the bucket."
    )
    endpoint: Annotated[str, Field(max_length=2048), AfterValidator(_endpoint)] | None = Field(
        None,
        description="Address of storage that is not Amazon's. The bucket is then in the path of "
        "requests.",
    )
    access_key: str | SecretRef = Field(description="The access key's id, or where it is kept.")
    secret_key: Secret = Field(description="Where the secret access key is kept.")
    session_token: Secret | None = Field(
        None, description="Where the token of temporary credentials is kept."
    )

    @property
    def endpoint_used(self) -> str:
        return self.endpoint or f"https://s3.{self.region}.amazonaws.com"


def _scheme(value: Any) -> str:
    url = value.get("url", "") if isinstance(value, dict) else getattr(value, "url", "")
    return "s3" if str(url).startswith("s3://") else "sftp"


Remote = Annotated[
    Annotated[SftpRemote, Tag("sftp")] | Annotated[S3Remote, Tag("s3")], Discriminator(_scheme)
]
