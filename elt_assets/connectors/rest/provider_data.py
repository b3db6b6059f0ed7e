"""The models of a REST integration's provider_data, with their limits and error messages.

Every description appears in the JSON Schema and in the documentation, so it is written for the
person who writes provider_data.
"""

from __future__ import annotations

import re

from pydantic import (
    Field,
    ValidationError,
    model_validator,
)

from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.mapping.field_map import (
    check_streams,
    key_fields,
)
from elt_assets.connectors.mapping.templates import PERIOD_NAMES
from elt_assets.connectors.provider_fields import OwnSafeguards, Priority, SourceName, Strict
from elt_assets.connectors.rest.configuration.auth_data import (
    Auth,
    ClientCertificate,
    SessionAuth,
    SeveralAuth,
    TokenAuth,
)
from elt_assets.connectors.rest.configuration.stream_data import RestStream
from elt_assets.connectors.rest.configuration.text_types import (
    HEADER_NAME,
    HEADER_VALUE,
    Url,
)

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})
_OWN_HEADERS = frozenset(
    {"host", "content-length", "transfer-encoding", "connection", "accept-encoding"}
)


PERIODICAL = ("signin_events",)
"""Streams of events that are read a period at a time."""


class RateLimit(Strict):
    """The rate at which requests may be sent to the provider."""

    requests_per_second: float | None = Field(
        None,
        gt=0,
        le=10_000,
        description="Requests a second; the platform sets no limit if left out.",
    )
    concurrency: int = Field(1, ge=1, le=64, description="Requests in flight at once.")


class Connection(Strict):
    """The part common to all integrations over HTTP: address, authentication, rate limit."""

    permission_source_name: SourceName = None
    api_endpoint: Url = Field(description="Address that all paths start with.")
    auth: Auth | None = Field(None, description="How requests authenticate.")
    client_certificate: ClientCertificate | None = Field(
        None, description="The certificate that is shown to the provider (mutual TLS)."
    )
    headers: dict[str, str] = Field(
        {},
        description="Headers of every request; never secrets. They may hold {organization_id} and "
        "{integration_id}.",
    )
    rate_limit: RateLimit = Field(
        RateLimit(), description="The rate at which requests may be sent to the provider."
    )
    safeguards: OwnSafeguards = None
    priority: Priority = 0
    allow_plain_http: bool = Field(
        False, description="Send credentials unencrypted to a host that is not this machine."
    )
    allowed_hosts: list[str] = Field(
        [], description="Other hosts that links may lead to; they get no credentials."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Connection:
        if not (Origin.of(self.api_endpoint).is_private or self.allow_plain_http):
            raise ValueError(
                "api_endpoint is plain http, which anybody on the way can read; "
                "use https or set allow_plain_http: true"
            )
        if self.client_certificate and Origin.of(self.api_endpoint).scheme != "https":
            raise ValueError("client_certificate is shown in TLS; api_endpoint is not https")
        for auth in self.auth.parts if isinstance(self.auth, SeveralAuth) else [self.auth]:
            match auth:
                case TokenAuth(token_url=url):
                    place = "token_url"
                case SessionAuth(login_url=url):
                    place = "login_url"
                case _:
                    continue
            if not (Origin.of(url).is_private or self.allow_plain_http):
                raise ValueError(
                    f"auth.{place} is plain http, which anybody on the way can read; "
                    "use https or set allow_plain_http: true"
                )
        for name, value in self.headers.items():
            lower = name.lower()
            if lower in _SECRET_HEADERS:
                raise ValueError(f"headers has {name}; credentials go to auth, by reference")
            if lower in _OWN_HEADERS:
                raise ValueError(f"headers has {name}, which is set for every request")
            if not HEADER_NAME.fullmatch(name) or not HEADER_VALUE.fullmatch(value):
                raise ValueError(f"headers has {name!r}, which cannot be sent as it is")
        for host in self.allowed_hosts:
            if not re.fullmatch(r"[a-z0-9.\-]+(:\d+)?|\[[0-9a-f:.]+\](:\d+)?", host):
                raise ValueError(f"allowed_hosts has {host!r}; write host or host:port, lower case")
        return self


class RestData(Connection):
    """provider_data of a REST integration."""

    streams: dict[str, RestStream] = Field(min_length=1, description="Streams by name: users.")

    @property
    def has_snapshot(self) -> bool:
        """Whether some stream promises that one listing is one consistent state."""
        return any(stream.snapshot for stream in self.streams.values())

    @model_validator(mode="after")
    def _named(self) -> RestData:
        check_streams({name: stream.fields for name, stream in self.streams.items()})
        for name, stream in self.streams.items():
            if stream.single is not None and len(key_fields(name)) > 1:
                raise ValueError(f"streams.{name}: single cannot be used with a key of two parts")
            if stream.parent is not None and stream.parent.among is None:
                self._check_parent(name, stream.parent.stream)
            self._check_members(name, stream)
            self._check_period(name, stream)
        return self

    def _check_members(self, name: str, stream: RestStream) -> None:
        described = stream.only_members_of
        if described is None:
            return
        members = self.streams.get(described.stream)
        if name != "users" or members is None or "member_external_id" not in members.fields:
            raise ValueError(
                f"streams.{name}.only_members_of: it is for users, and stream "
                f"{described.stream!r} must list members with member_external_id"
            )
        if members.parent is None:
            raise ValueError(f"streams.{described.stream}: its path has no {{parent}}, the group")

    def _check_period(self, name: str, stream: RestStream) -> None:
        found = [end for end in PERIOD_NAMES if stream.has_place(end)]
        if name not in PERIODICAL:
            if found:
                raise ValueError(
                    f"streams.{name}: {{{found[0]}}} is known only in streams that are read a day "
                    f"at a time: {', '.join(PERIODICAL)}"
                )
        elif len(found) < len(PERIOD_NAMES):
            raise ValueError(
                f"streams.{name}.params: {{from}} and {{to}}, for the day's beginning and end, "
                "must both be there"
            )
        elif stream.parent is not None or stream.incremental is not None:
            raise ValueError(f"streams.{name}: parent and incremental cannot be used with a period")

    def _check_parent(self, name: str, parent: str) -> None:
        described = self.streams.get(parent)
        if described is None:
            raise ValueError(f"streams.{name}.parent: there is no stream {parent!r}")
        if described.parent is not None or len(key_fields(parent)) > 1:
            raise ValueError(f"streams.{name}.parent: {parent} cannot be a parent itself")


def mistakes(error: ValidationError) -> str:
    """Every mistake as `field: what is wrong`, on one line, without the values given."""
    return "; ".join(
        f"{_place(issue['loc'])}: {_words(issue['msg'])}" if issue["loc"] else _words(issue["msg"])
        for issue in error.errors(include_url=False, include_context=False, include_input=False)
    )


_TAGS = frozenset(
    {
        *("bearer", "api_key", "basic", "oauth2_client_credentials", "oauth2_refresh_token"),
        "oauth2_jwt_bearer",
        *("oauth2_private_key_jwt", "hmac", "aws_signature", "session", "several"),
        *("cursor", "next_url", "link_header", "page", "offset", "keyset", "scim", "none"),
        *("json", "form", "graphql", "xml"),
        "place",
        *("sftp", "s3"),
    }
)


def _place(location: tuple[str | int, ...]) -> str:
    # Pydantic adds the tag of a union to the location, but the tag is not in the author's text.
    steps = [
        step
        for before, step in zip((None, *location), location, strict=False)
        if not (before in ("auth", "pagination", "total", "body", "remote") and step in _TAGS)
        and step not in ("[key]", "SecretRef", "str")
    ]
    return ".".join(str(step) for step in steps)


def _words(message: str) -> str:
    message = message.removeprefix("Value error, ")
    return message.replace("Field required", "is missing").replace(
        "Extra inputs are not permitted", "is not a known field"
    )
