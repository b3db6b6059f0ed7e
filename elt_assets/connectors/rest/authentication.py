"""Make the authenticator that provider_data describes, and the throttle that apps share."""

from __future__ import annotations

from functools import partial

from elt_assets.config.durations import duration
from elt_assets.config.secret_refs import SecretRef
from elt_assets.connectors.http.auth import (
    Anonymous,
    ApiKey,
    Authenticator,
    Basic,
    Bearer,
    Several,
)
from elt_assets.connectors.http.client_certificate import Identity
from elt_assets.connectors.http.jwt_assertion import (
    CLIENT_LIFETIME,
    AssertionGrant,
    ClientAssertionGrant,
    SignedAssertion,
)
from elt_assets.connectors.http.oauth import ClientGrant, OAuth2
from elt_assets.connectors.http.origin import Origin
from elt_assets.connectors.http.session_login import Login, LoginSession
from elt_assets.connectors.http.signing.aws_signature import AwsSignature
from elt_assets.connectors.http.signing.hmac_signature import Hmac
from elt_assets.connectors.http.throttle import Throttle, budget
from elt_assets.connectors.limits import FetchLimits
from elt_assets.connectors.mapping.expression_parser import parse
from elt_assets.connectors.rest.configuration.auth_data import (
    ApiKeyAuth,
    Auth,
    AwsSignatureAuth,
    BasicAuth,
    BearerAuth,
    ClientCredentialsAuth,
    HmacAuth,
    JwtBearerAuth,
    PrivateKeyJwtAuth,
    RefreshTokenAuth,
    SessionAuth,
    SeveralAuth,
    TokenAuth,
)
from elt_assets.connectors.rest.provider_data import Connection


def authenticator(auth: Auth | None, limits: FetchLimits) -> Authenticator:
    """The authenticator that provider_data describes."""
    match auth:
        case None:
            return Anonymous()
        case BearerAuth(token=token, scheme=scheme):
            return Bearer(token, scheme)
        case ApiKeyAuth(key=key, header=header, param=param, prefix=prefix):
            return ApiKey(key, header or str(param), header is None, prefix)
        case BasicAuth(username=username, password=password):
            return Basic(username, password)
        case HmacAuth():
            return Hmac(
                auth.key,
                auth.key_encoding,
                auth.algorithm,
                auth.signed,
                auth.encoding,
                auth.header,
                auth.value,
                auth.timestamp,
                auth.timestamp_header,
                auth.user,
            )
        case AwsSignatureAuth(session_token=token, region=region, service=service):
            return AwsSignature(auth.access_key, auth.secret_key, token, region, service)
        case SessionAuth():
            return _session(auth, limits)
        case SeveralAuth(parts=parts):
            return Several(tuple(authenticator(part, limits) for part in parts))
        case ClientCredentialsAuth() | RefreshTokenAuth():
            grant = ClientGrant(
                auth.token_url,
                auth.client_id,
                auth.client_secret,
                _form(auth),
                auth.refresh_token if isinstance(auth, RefreshTokenAuth) else None,
                auth.client_auth == "body",
            )
            return OAuth2(grant, limits, auth.scheme)
        case PrivateKeyJwtAuth() | JwtBearerAuth():
            return OAuth2(_assertion_grant(auth), limits, auth.scheme)


def _form(auth: TokenAuth) -> dict[str, str]:
    return {**auth.params, **({} if auth.scope is None else {"scope": auth.scope})}


def _assertion_grant(auth: PrivateKeyJwtAuth | JwtBearerAuth) -> AssertionGrant:
    assertion = partial(
        SignedAssertion,
        auth.key,
        auth.audience or auth.token_url,
        auth.algorithm,
        auth.key_id,
    )
    if isinstance(auth, PrivateKeyJwtAuth):
        of_client = assertion(auth.client_id, auth.client_id, lifetime=CLIENT_LIFETIME)
        return ClientAssertionGrant(auth.token_url, of_client, _form(auth))
    of_issuer = assertion(auth.issuer, auth.subject, scope=auth.scope)
    return AssertionGrant(auth.token_url, of_issuer, _form(auth))


def _session(auth: SessionAuth, limits: FetchLimits) -> LoginSession:
    token = None if auth.token is None else parse(auth.token)
    login = Login(auth.login_url, auth.content, auth.form, token, auth.cookie, auth.answer_header)
    lifetime = duration(auth.lifetime).total_seconds()
    return LoginSession(login, limits, auth.sent_in, auth.prefix, lifetime)


def identity(config: Connection) -> Identity | None:
    """The client certificate that provider_data names, or None."""
    described = config.client_certificate
    return None if described is None else Identity(described.certificate, described.key)


def throttle(config: Connection, limits: FetchLimits) -> Throttle:
    """The throttle that all integrations with the same app and the same rate share."""
    rate = config.rate_limit.requests_per_second
    return Throttle(rate, budget(limits.budgets, *_app(config, rate)))


def _app(config: Connection, rate: float | None) -> tuple[object, ...]:
    """The identity by which a provider counts requests; empty without authentication."""
    if config.auth is None:
        return ()
    who = _who(config.auth)
    named = who.model_dump() if isinstance(who, SecretRef) else who
    return str(Origin.of(config.api_endpoint)), config.auth.type, named, rate


def _who(auth: Auth) -> str | SecretRef:
    match auth:
        case ClientCredentialsAuth(client_id=name) | RefreshTokenAuth(client_id=name):
            return name
        case PrivateKeyJwtAuth(client_id=client):
            return client
        case JwtBearerAuth(issuer=issuer, key=key):
            return issuer or key
        case BearerAuth(token=ref) | ApiKeyAuth(key=ref) | BasicAuth(password=ref):
            return ref
        case HmacAuth(key=ref) | AwsSignatureAuth(secret_key=ref):
            return ref
        case SessionAuth(content=content):
            return next(one for one in content.values() if isinstance(one, SecretRef))
        case SeveralAuth(parts=parts):
            return _who(parts[0])
