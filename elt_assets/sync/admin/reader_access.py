"""Who may read the operational database: the configured access, compared with the granted one.

If the database is a file, the file's permissions decide. The SQL is in
`storage.operational.postgres_access`.
"""

from __future__ import annotations

from elt_assets.config.settings import Settings
from elt_assets.errors import InvalidInput
from elt_assets.storage.operational.database import OperationalDatabase
from elt_assets.storage.operational.postgres_access import ReaderAccess, secure
from elt_assets.storage.operational.postgres_database import PostgresDatabase
from elt_assets.sync.state.audit_log import AuditLog
from elt_assets.sync.state.store_tables import operational_tables


def wished(settings: Settings, stored: ReaderAccess | None) -> ReaderAccess:
    """The stored access, overridden by the settings where these are given."""
    stored = stored or ReaderAccess()
    return ReaderAccess(
        settings.operational_reader or stored.reader,
        stored.row_security
        if settings.operational_row_security is None
        else settings.operational_row_security,
    )


def secure_readers(
    database: OperationalDatabase, audit_log: AuditLog, access: ReaderAccess
) -> list[str]:
    """Store and apply `access`; return the roles that lost the right to read.

    Raises `InvalidInput` if the database is a file, which has no roles.
    """
    if not isinstance(database, PostgresDatabase):
        raise InvalidInput(
            f"{database} is a file, which no role reads; unset ELT_ASSETS_OPERATIONAL_READER and "
            "ELT_ASSETS_OPERATIONAL_ROW_SECURITY, or set ELT_ASSETS_OPERATIONAL_URL"
        )
    tables = operational_tables(database.dialect)["tenants"]
    with audit_log.recording() as (transaction, audited):
        revoked = secure(transaction, tables, access)
        detail = {"reader": access.reader, "row_security": access.row_security, "revoked": revoked}
        audited("secure", None, detail)
        return revoked


def look_at_readers(database: PostgresDatabase, settings: Settings) -> tuple[bool, str]:
    """Whether settings, stored access and granted rights agree, with a text: what to do if not."""
    if not database.exists:
        return True, "no tables yet"
    stored = database.access()
    now = stored or ReaderAccess()
    wish = wished(settings, stored)
    found = []
    if wish != now:
        found.append(f"the settings say that {wish}, the database that {now}")
    tables = operational_tables(database.dialect)["tenants"]
    found += database.access_differences(tables, now)
    if found:
        return False, f"{'; '.join(found)}. Correct the settings, or run: elt-assets config secure"
    return True, str(now)
