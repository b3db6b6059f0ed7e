"""Check the PostgreSQL of Dagster's instance before Dagster uses it.

Dagster itself retries six times and reports the failure in thirty lines.
"""

from __future__ import annotations

from contextlib import closing

from elt_assets.config.addresses import DatabaseAddress
from elt_assets.config.secret_refs import Secrets
from elt_assets.errors import EltAssetsError


class InstanceUnusable(EltAssetsError):
    """The database of Dagster's instance does not answer or refuses the connection."""


def check_instance(address: DatabaseAddress) -> str:
    """Return the version and the account's rights. Raises `InstanceUnusable` with the reason."""
    # Imported here, because it comes with an extra.
    import psycopg2

    secrets = Secrets()
    try:
        with closing(psycopg2.connect(address.complete(secrets))) as connection:
            # A session that waits for a lock would block every process that starts.
            connection.set_session(readonly=True, autocommit=True)
            with connection.cursor() as cursor:
                cursor.execute(_LOOK)
                version, user, schema, may_create, encrypted, tables = cursor.fetchone()
    except psycopg2.Error as error:
        cause = secrets.redact(str(error).strip().partition("\n")[0])
        raise InstanceUnusable(
            f"Dagster's instance at {address} cannot be used: {cause}; check "
            "ELT_ASSETS_DAGSTER_URL and ELT_ASSETS_DAGSTER_PASSWORD"
        ) from None
    if schema is None:
        raise InstanceUnusable(
            f"Dagster's instance at {address} cannot be used: no schema of {user}'s search path "
            "exists; create it, or name another: ?options=-csearch_path%3Ddagster"
        )
    if not may_create and not tables:
        raise InstanceUnusable(
            f"Dagster's instance at {address} cannot be used: {user} may not create tables in "
            f"schema {schema}; GRANT CREATE ON SCHEMA {schema} TO {user}"
        )
    return (
        f"PostgreSQL {version} as {user}, {'' if encrypted else 'not '}encrypted, "
        f"schema {schema}{'' if tables else ' is empty'}"
    )


_LOOK = """
SELECT
    current_setting('server_version'),
    current_user,
    current_schema(),
    has_schema_privilege(current_schema(), 'CREATE'),
    coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false),
    to_regclass('runs') IS NOT NULL
"""
