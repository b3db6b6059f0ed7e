"""The models of `auth` in provider_data: how requests authenticate."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from elt_assets.config.secret_refs import SecretRef
from elt_assets.connectors.http.signing.hmac_signature import SIGNED_NAMES, VALUE_NAMES
from elt_assets.connectors.mapping.templates import placeholders
from elt_assets.connectors.provider_fields import Secret, Strict
from elt_assets.connectors.rest.configuration.text_types import (
    HEADER_NAME,
    HEADER_VALUE,
    Duration,
    FieldExpression,
    Parameter,
    Scheme,
    Url,
)
from elt_assets.errors import InvalidInput

_SECRET_NAME = re.compile(r"pass|secret|token|api_?key", re.IGNORECASE)


class ClientCertificate(Strict):
    """The certificate by which the platform authenticates in TLS (mutual TLS)."""

    certificate: Secret = Field(
        description="Where the certificate is kept, as PEM, followed by its issuers' certificates."
    )
    key: Secret = Field(description="Where its private key is kept, as PEM without a password.")


class HmacAuth(Strict):
    """Each request carries a signature made with a shared key (HMAC)."""

    type: Literal["hmac"]
    key: Secret = Field(description="Where the shared key is kept.")
    key_encoding: Literal["text", "base64", "hex"] = Field(
        "text", description="How the key is written."
    )
    algorithm: Literal["sha256", "sha512", "sha1"] = Field(
        "sha256", description="The hash function."
    )
    signed: str = Field(
        max_length=1024,
        description="The text that is signed. It may hold {method}, {host}, {path}, {query}, "
        "{sorted_query} (by name), {body}, {body_hash} (hexadecimal) and {timestamp}.",
    )
    encoding: Literal["hex", "base64"] = Field("hex", description="How the signature is written.")
    header: str = Field("Authorization", description="Header that carries the signature.")
    value: str = Field(
        "{signature}",
        max_length=512,
        description="Value of the header; must hold {signature} and may hold {timestamp}.",
    )
    timestamp: Literal["epoch", "epoch_ms", "iso", "mail"] = Field(
        "epoch", description="How {timestamp} is written; mail is the form of RFC 5322."
    )
    timestamp_header: str | None = Field(
        None, description="A further header for the timestamp, e.g. X-Timestamp."
    )
    user: str | SecretRef | None = Field(
        None,
        description="User name, or where it is kept. The header is then HTTP basic authentication "
        "with this name, and with value as the password.",
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
            if header is not None and not HEADER_NAME.fullmatch(header):
                raise ValueError(f"{header!r} is not a header name")
        return self


class BearerAuth(Strict):
    """`Authorization: Bearer <token>`."""

    type: Literal["bearer"]
    token: Secret = Field(description="Where the token is kept.")
    scheme: Scheme = "Bearer"


class ApiKeyAuth(Strict):
    """A key in a header or in the query."""

    type: Literal["api_key"]
    key: Secret = Field(description="Where the key is kept.")
    header: str | None = Field(None, description="Header that carries the key, e.g. X-Api-Key.")
    param: Parameter | None = Field(None, description="Query parameter that carries the key.")
    prefix: str = Field("", max_length=64, description="Text before the key, e.g. 'SSWS '.")

    @model_validator(mode="after")
    def _one_place(self) -> ApiKeyAuth:
        if (self.header is None) == (self.param is None):
            raise ValueError("give the key's place as header or as param, one of the two")
        if self.header is not None and not HEADER_NAME.fullmatch(self.header):
            raise ValueError("header is not a header name")
        if not HEADER_VALUE.fullmatch(self.prefix):
            raise ValueError("prefix has characters that a header cannot carry")
        return self


class BasicAuth(Strict):
    """User name and password."""

    type: Literal["basic"]
    username: str | SecretRef = Field(description="The user name, or where it is kept.")
    password: Secret = Field(description="Where the password is kept.")


class TokenAuth(Strict):
    """The fields of all OAuth 2.0 grants."""

    token_url: Url = Field(description="Address that issues tokens; the secret is sent only there.")
    scope: str | None = Field(None, max_length=2048, description="Scopes, separated by spaces.")
    params: dict[Parameter, str] = Field(
        {}, description="Further form fields of the token request, e.g. audience."
    )
    scheme: Scheme = "Bearer"


class _ClientAuth(TokenAuth):
    """The fields of a client with a secret."""

    client_id: str | SecretRef = Field(description="The client's id, or where it is kept.")
    client_secret: Secret = Field(description="Where the client's secret is kept.")
    client_auth: Literal["basic", "body"] = Field(
        "basic", description="Whether the client's secret is sent in a header or in the form."
    )


class ClientCredentialsAuth(_ClientAuth):
    """OAuth 2.0 client credentials (RFC 6749, section 4.4): the platform acts on its own behalf."""

    type: Literal["oauth2_client_credentials"]


class RefreshTokenAuth(_ClientAuth):
    """OAuth 2.0 refresh token (RFC 6749, section 6): the platform acts for a consenting user."""

    type: Literal["oauth2_refresh_token"]
    refresh_token: Secret = Field(description="Where the refresh token is kept.")


class JwtBearerAuth(TokenAuth):
    """OAuth 2.0 with a signed assertion (RFC 7523), such as a Google service account's."""

    type: Literal["oauth2_jwt_bearer"]
    key: Secret = Field(
        description="Where the private key is kept: PEM, or a Google service account's JSON key."
    )
    issuer: str | None = Field(
        None,
        max_length=512,
        description="Issuer of the assertion (iss); a Google JSON key contains it.",
    )
    subject: str | None = Field(
        None,
        max_length=512,
        description="The user for whom the platform acts (sub), e.g. an administrator.",
    )
    audience: str | None = Field(
        None,
        max_length=2048,
        description="Audience of the assertion (aud); token_url if left out.",
    )
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] = Field(
        "RS256", description="Signature algorithm of the assertion."
    )
    key_id: str | None = Field(None, max_length=512, description="Name of the key (kid).")


class PrivateKeyJwtAuth(TokenAuth):
    """OAuth 2.0 client credentials with a signature in place of a secret (RFC 7523)."""

    type: Literal["oauth2_private_key_jwt"]
    client_id: str = Field(max_length=512, description="The client's id.")
    key: Secret = Field(description="Where the private key is kept, as PEM.")
    audience: str | None = Field(
        None,
        max_length=2048,
        description="Audience of the assertion (aud); token_url if left out.",
    )
    algorithm: Literal["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"] = Field(
        "RS256", description="Signature algorithm of the assertion."
    )
    key_id: str | None = Field(None, max_length=512, description="Name of the key (kid).")


class AwsSignatureAuth(Strict):
    """Each request is signed for Amazon Web Services (Signature Version 4)."""

    type: Literal["aws_signature"]
    access_key: str | SecretRef = Field(description="The access key's id, or where it is kept.")
    secret_key: Secret = Field(description="Where the secret access key is kept.")
    session_token: Secret | None = Field(
        None, description="Where the token of temporary credentials is kept."
    )
    region: str = Field(
        pattern=r"^[a-z0-9-]{1,64}$", description="The service's region, e.g. eu-central-1."
    )
    service: str = Field(
        pattern=r"^[a-z0-9-]{1,64}$", description="The service's signing name, e.g. identitystore."
    )


class SessionAuth(Strict):
    """One request logs in, and the other requests carry the session that it returned."""

    type: Literal["session"]
    login_url: Url = Field(
        description="Address that opens a session; the secrets are sent only there."
    )
    content: dict[Parameter, str | SecretRef] = Field(
        description="Fields that are sent there by POST, e.g. username: svc, password: {env: "
        "PASSWORD}."
    )
    form: Literal["json", "form"] = Field("json", description="How content is encoded.")
    token: FieldExpression | None = Field(
        None, description="Where the answer's body has the session, e.g. data.token."
    )
    cookie: str | None = Field(
        None, description="Or the answer's cookie with the session, e.g. JSESSIONID."
    )
    answer_header: str | None = Field(None, description="Or the answer's header with the session.")
    header: str = Field(
        "Authorization",
        description="Header of requests that carries the session; a cookie is sent in Cookie.",
    )
    prefix: str = Field("", max_length=64, description="Text before the session, e.g. 'Bearer '.")
    lifetime: Duration = Field(
        "30m", description="How long a session is used before another one is opened."
    )

    @model_validator(mode="after")
    def _consistent(self) -> SessionAuth:
        places = [self.token, self.cookie, self.answer_header]
        if len([one for one in places if one is not None]) != 1:
            raise ValueError("give the session's place as token, cookie or answer_header, one only")
        for name in (self.header, self.cookie, self.answer_header):
            if name is not None and not HEADER_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not the name of a header or a cookie")
        for name, value in self.content.items():
            if isinstance(value, str) and _SECRET_NAME.search(name):
                raise ValueError(
                    f"content.{name}: give a secret as {{env: NAME}} or {{file: PATH}}"
                )
        if not any(isinstance(value, SecretRef) for value in self.content.values()):
            raise ValueError("content has no secret, by reference: {env: NAME} or {file: PATH}")
        if not HEADER_VALUE.fullmatch(self.prefix):
            raise ValueError("prefix has characters that a header cannot carry")
        return self

    @property
    def sent_in(self) -> str:
        """The header that carries the session."""
        return self.header if self.cookie is None else "Cookie"


_OneAuth = (
    BearerAuth
    | ApiKeyAuth
    | BasicAuth
    | ClientCredentialsAuth
    | RefreshTokenAuth
    | JwtBearerAuth
    | PrivateKeyJwtAuth
    | HmacAuth
    | AwsSignatureAuth
    | SessionAuth
)


class SeveralAuth(Strict):
    """Several credentials in each request, e.g. a key of the app and one of the user."""

    type: Literal["several"]
    parts: list[Annotated[_OneAuth, Field(discriminator="type")]] = Field(
        min_length=2, max_length=4, description="The credentials, each written like auth."
    )

    @model_validator(mode="after")
    def _different(self) -> SeveralAuth:
        places = [_place_of(part) for part in self.parts]
        for place in places:
            if places.count(place) > 1:
                raise ValueError(f"parts: two of them are sent in {place}")
        return self


def _place_of(auth: _OneAuth) -> str:
    match auth:
        case ApiKeyAuth(param=str() as param):
            return f"the parameter {param}"
        case ApiKeyAuth(header=str() as header) | HmacAuth(header=header):
            return f"the header {header.lower()}"
        case SessionAuth():
            return f"the header {auth.sent_in.lower()}"
    return "the header authorization"


Auth = Annotated[_OneAuth | SeveralAuth, Field(discriminator="type")]
