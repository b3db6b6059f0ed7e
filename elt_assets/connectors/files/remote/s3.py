"""Objects of a bucket: listed by ListObjectsV2 and fetched, over the platform's own HTTP client.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatchcase
from functools import partial
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit

import msgspec

from elt_assets.config.secret_refs import Secrets
from elt_assets.connectors.files.folder import changed
from elt_assets.connectors.files.remote.remote_data import S3Remote
from elt_assets.connectors.files.remote.storage import MOST_NAMES, RemoteFile, too_many
from elt_assets.connectors.http.http_client import Client, NotThere, PageRequest, Response
from elt_assets.connectors.http.signing.aws_signature import AwsSignature
from elt_assets.connectors.http.throttle import Throttle
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.rest.pages.xml_pages import XmlDialect, XmlPages
from elt_assets.errors import PageUnreadable, PermanentError, ProviderUnavailable

_WILD = re.compile(r"[*?\[]")
_AT_ONCE = 1_000
"""Objects of one answer, the most that S3 allows."""
_RESULT = ("ListBucketResult", "Contents")


class S3Storage:
    """The objects below one prefix of one bucket."""

    def __init__(self, remote: S3Remote, *, secrets: Secrets, limits: FetchLimits) -> None:
        self._remote = remote
        parts = urlsplit(remote.url)
        self._prefix = f"{path}/" if (path := unquote(parts.path).strip("/")) else ""
        self._bucket = f"{remote.endpoint_used}/{parts.netloc}"
        self._client = Client(
            limits=limits,
            secrets=secrets,
            auth=AwsSignature(
                remote.access_key,
                remote.secret_key,
                remote.session_token,
                remote.region,
                "s3",
            ),
            headers={"Accept": "*/*"},
            throttle=Throttle(None, None),
            connections=1,
        )
        self._xml = XmlDialect(XmlPages(), _RESULT)

    @property
    def requests(self) -> int:
        """Requests sent so far."""
        return self._client.requests

    def listed(self, pattern: str) -> list[RemoteFile]:
        """The objects whose names below the prefix match, `*` matching within a folder."""
        found = []
        # The part of the pattern before its first wildcard narrows the listing.
        begins = self._prefix + _WILD.split(pattern, maxsplit=1)[0]
        steps = pattern.split("/")
        for seen, one in enumerate(self._contents(begins)):
            if seen >= MOST_NAMES:
                raise too_many(pattern, self._remote.url)
            name = one.name.removeprefix(self._prefix)
            parts = name.split("/")
            if len(parts) == len(steps) and all(map(fnmatchcase, parts, steps)):
                found.append(RemoteFile(name, one.size, one.mtime_ns, one.mark))
        return found

    def fetch(self, file: RemoteFile, into: IO[bytes]) -> None:
        """Write the object's bytes to `into`. Raises as `listed`, and if the object changed."""
        what = file.name
        url = f"{self._bucket}/{quote(self._prefix + file.name, safe='/-_.~')}"
        try:
            headers = self._client.fetch(
                PageRequest(what, url, into=into), lambda response: response.headers
            )
        except NotThere:
            raise changed(file.name, "is gone") from None
        if headers.get("etag", "").strip('"') != file.mark:
            raise changed(file.name, "has changed")
        # The client decodes an object with a Content-Encoding, which changes its length.
        if into.tell() != file.size and "content-encoding" not in headers:
            raise ProviderUnavailable(
                f"{file.name} was cut short: {into.tell():,} of {file.size:,} bytes arrived"
            )

    def close(self) -> None:
        """End requests that are under way."""
        self._client.close()

    def _contents(self, prefix: str) -> Iterator[RemoteFile]:
        params = {
            "list-type": "2",
            "prefix": prefix,
            "encoding-type": "url",
            "max-keys": str(_AT_ONCE),
        }
        number = 0
        while True:
            number += 1
            what = f"the listing of {self._remote.url}"
            try:
                result = self._client.fetch(
                    PageRequest(what, self._bucket, params), partial(self._read, what)
                )
            except NotThere:
                raise PermanentError(
                    f"there is no bucket {urlsplit(self._remote.url).netloc!r}; correct remote.url"
                ) from None
            for one in result.get("Contents") or []:
                yield _found(one)
            token = result.get("NextContinuationToken")
            if result.get("IsTruncated") != "true":
                return
            if not isinstance(token, str) or not token or params.get("continuation-token") == token:
                raise ProviderUnavailable(f"{what} is cut short, without a token to continue")
            params["continuation-token"] = token

    def _read(self, what: str, response: Response) -> dict[str, Any]:
        document = msgspec.json.decode(self._xml.body(response.body))
        result = document.get(_RESULT[0])
        if not isinstance(result, dict):
            raise PageUnreadable(f"{what} is no list of objects")
        return result


def _found(one: dict[str, Any]) -> RemoteFile:
    try:
        modified = datetime.fromisoformat(one["LastModified"])
        mark = str(one["ETag"]).strip('"')
        # For times before 1970 `int` would round up, but no object is that old.
        moment = int(modified.timestamp() * 1000) * 10**6
        return RemoteFile(unquote(one["Key"]), int(one["Size"]), moment, mark)
    except (KeyError, TypeError, ValueError):
        raise PageUnreadable("an object in the listing has no name, size, time or ETag") from None
