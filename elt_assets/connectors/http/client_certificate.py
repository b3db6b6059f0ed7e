"""The certificate by which the platform proves itself to one provider (mutual TLS)."""

from __future__ import annotations

import os
import ssl
import tempfile
from dataclasses import dataclass
from typing import IO

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import named
from elt_assets.errors import SecretMissing


@dataclass(frozen=True, slots=True)
class Identity:
    """Where a certificate and its key are kept."""

    certificate: SecretRef
    key: SecretRef

    def context(self, secrets: Secrets) -> ssl.SSLContext:
        """A TLS context that presents the certificate. Raises `SecretMissing`."""
        context = ssl.create_default_context()
        pem = f"{secrets.resolve(self.certificate)}\n{secrets.resolve(self.key)}\n".encode()
        # `load_cert_chain` reads files only. This one has no name and ends with its descriptor.
        with _nameless() as file:
            file.write(pem)
            os.lseek(file.fileno(), 0, os.SEEK_SET)
            try:
                context.load_cert_chain(f"/dev/fd/{file.fileno()}", password=_refused)
            except (ssl.SSLError, ValueError, OSError):
                raise SecretMissing(
                    f"{named(self.certificate)} and {named(self.key)} are no certificate and its "
                    "private key in PEM, without a password"
                ) from None
        return context


def _nameless() -> IO[bytes]:
    """A file without a name, in memory where the system supports that."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("identity"), "wb", buffering=0)
    return tempfile.TemporaryFile(buffering=0)


def _refused() -> str:
    # Without this callback, OpenSSL would prompt for the password at the terminal.
    raise ValueError("the key has a password")
