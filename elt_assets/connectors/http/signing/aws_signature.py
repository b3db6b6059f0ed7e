"""AWS Signature Version 4: each request is signed for a region and a service.

Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qsl, quote

from urllib3.util import parse_url

from elt_assets.config.secret_refs import SecretRef, Secrets
from elt_assets.connectors.http.auth import Credentials, UnsignedRequest, named, sendable

_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class AwsSignature:
    """Signs each request with an access key and the current time."""

    access_key: str | SecretRef
    secret_key: SecretRef
    session_token: SecretRef | None
    region: str
    service: str
    query_parameters: frozenset[str] = frozenset()

    @property
    def advice(self) -> str:
        """Name where the secret key is kept, and the other inputs of the signature."""
        return (
            f"check the secret key in {named(self.secret_key)}, region, service, and this "
            "machine's clock"
        )

    def credentials(self, secrets: Secrets) -> Credentials:
        """A signing function with the keys, read from their references now."""
        access = self.access_key
        if isinstance(access, SecretRef):
            access = sendable(access, secrets)
        key = secrets.resolve(self.secret_key)
        headers = {}
        if self.session_token is not None:
            headers["X-Amz-Security-Token"] = sendable(self.session_token, secrets)
        return Credentials(headers, {}, partial(self._headers, access, key))

    def renew(self, refused: Credentials) -> bool:
        """False: the same key would sign again."""
        return False

    def _headers(self, access: str, key: str, request: UnsignedRequest) -> dict[str, str]:
        now = datetime.now(UTC)
        moment, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        content = hashlib.sha256(request.body.encode()).hexdigest()
        added = {"X-Amz-Date": moment, "X-Amz-Content-Sha256": content}
        canonical, names = self._canonical(request, added, content)
        scope = f"{day}/{self.region}/{self.service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        signing = f"AWS4{key}".encode()
        for part in (day, self.region, self.service, "aws4_request"):
            signing = hmac.digest(signing, part.encode(), "sha256")
        text = f"{_ALGORITHM}\n{moment}\n{scope}\n{hashed}"
        signature = hmac.digest(signing, text.encode(), "sha256").hex()
        return {
            **added,
            "Authorization": f"{_ALGORITHM} Credential={access}/{scope}, "
            f"SignedHeaders={names}, Signature={signature}",
        }

    def _canonical(
        self, request: UnsignedRequest, added: dict[str, str], content: str
    ) -> tuple[str, str]:
        """The canonical request, and the names of the headers in it."""
        parts = parse_url(request.url)
        headers = {
            name.lower(): " ".join(value.split())
            for name, value in {**request.headers, **added}.items()
            if name.lower() == "content-type" or name.lower().startswith("x-amz-")
        }
        headers["host"] = parts.netloc or ""
        names = sorted(headers)
        path = parts.path or "/"
        query = sorted(
            (_encoded(name), _encoded(value))
            for name, value in parse_qsl(parts.query or "", keep_blank_values=True)
        )
        lines = [
            request.method,
            # Only S3 signs the path as it is sent; the other services encode it once more.
            path if self.service == "s3" else quote(path, safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            content,
        ]
        return "\n".join(lines), ";".join(names)


def _encoded(text: str) -> str:
    return quote(text, safe="-_.~")
