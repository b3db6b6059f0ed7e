"""Who may read the latest tables on PostgreSQL: store, apply and compare that access.

Row security also covers the tables that no role but the owner reads, in case a right on them is
granted by hand.

The wanted access is a row of the database. Only `secure` changes that row. Opening the installation
applies it to new tables, and a setting that is absent changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from elt_assets.errors import DatabaseRefused
from elt_assets.storage.operational.database import Parameters, Row, TenantTables, Transaction

Query = Callable[[str, Parameters], list[Row]]

_WANTED = "reader_access"
_POLICY = "own_organization"
_OWN_ROWS = "organization_id = current_setting('elt_assets.organization_id', true)"
# The same condition in PostgreSQL's own notation.
_AS_STORED = "(organization_id = current_setting('elt_assets.organization_id'::text, true))"


class ReaderAccess(msgspec.Struct, frozen=True):
    """The role that reads the latest tables, and whether it sees one organization at a time."""

    reader: str | None = None
    row_security: bool = False

    def __str__(self) -> str:
        """The access in words."""
        if self.reader is None:
            return "no role reads the latest tables"
        seen = "one organization at a time" if self.row_security else "all organizations"
        return f"{self.reader} reads the latest tables, {seen}"


def prepare(transaction: Transaction) -> None:
    """Create the table that holds the wanted access."""
    transaction.execute(
        f'CREATE TABLE IF NOT EXISTS {_WANTED} (reader TEXT COLLATE "C",'
        " row_security BOOLEAN NOT NULL)"
    )


def wanted(query: Query) -> ReaderAccess | None:
    """The access that was last secured; None if it never was."""
    # An installation of an earlier release has no such table until this release migrates it.
    if not query("SELECT 1 AS found WHERE to_regclass(?) IS NOT NULL", (_WANTED,)):
        return None
    rows = query(f"SELECT reader, row_security FROM {_WANTED}", ())
    return ReaderAccess(rows[0]["reader"], rows[0]["row_security"]) if rows else None


def secure(transaction: Transaction, tables: TenantTables, access: ReaderAccess) -> list[str]:
    """Store `access` and apply it; return the roles that lost the right to read.

    Raises `DatabaseRefused` if the database cannot enforce that access: the role does not exist,
    row security does not bind it, or another owner granted rights that remain.
    """
    _refuse_unfit(transaction.rows, tables.readable, access)
    transaction.execute(f"DELETE FROM {_WANTED}")
    transaction.execute(
        f"INSERT INTO {_WANTED} (reader, row_security) VALUES (?, ?)",
        (access.reader, access.row_security),
    )
    revoked = apply(transaction, tables, access)
    for left in differences(transaction.rows, tables, access):
        raise DatabaseRefused(f"{left}; nothing was changed")
    return revoked


def apply(transaction: Transaction, tables: TenantTables, access: ReaderAccess) -> list[str]:
    """Set the rights on the tables to exactly `access`; return the roles that lost theirs."""
    schema = transaction.value("SELECT quote_ident(current_schema()) AS name")
    revoked = _grantees(transaction.rows, tables.readable) - {access.reader}
    for role in sorted(revoked, key=str):
        name = "PUBLIC" if role is None else quoted(role)
        for table in tables.readable:
            transaction.execute(f"REVOKE ALL ON {table} FROM {name}")
        if role is not None:
            transaction.execute(f"REVOKE USAGE ON SCHEMA {schema} FROM {name}")
    for table in (*tables.readable, *tables.internal):
        for policy in _policies(transaction.rows, table):
            transaction.execute(f"DROP POLICY {quoted(policy['name'])} ON {table}")
        action = "ENABLE" if access.row_security else "DISABLE"
        transaction.execute(f"ALTER TABLE {table} {action} ROW LEVEL SECURITY")
        if access.row_security:
            # The policy does not bind the owner of the tables, which is the account that syncs.
            transaction.execute(
                f"CREATE POLICY {_POLICY} ON {table} FOR SELECT USING ({_OWN_ROWS})"
            )
    if access.reader is not None:
        reader = quoted(access.reader)
        transaction.execute(f"GRANT USAGE ON SCHEMA {schema} TO {reader}")
        for table in tables.readable:
            transaction.execute(f"REVOKE ALL ON {table} FROM {reader}")
            transaction.execute(f"GRANT SELECT ON {table} TO {reader}")
    return ["PUBLIC" if role is None else role for role in sorted(revoked, key=str)]


def differences(query: Query, tables: TenantTables, access: ReaderAccess) -> list[str]:
    """How the rights in the database differ from `access`; a sentence for each difference."""
    found = []
    for table in (*tables.readable, *tables.internal):
        (row,) = query(
            "SELECT relrowsecurity AS secured FROM pg_class WHERE oid = to_regclass(?)", (table,)
        )
        if row["secured"] != access.row_security:
            found.append(f"row security of {table} is {'on' if row['secured'] else 'off'}")
        expected = [(_POLICY, _AS_STORED)] if access.row_security else []
        if [(each["name"], each["condition"]) for each in _policies(query, table)] != expected:
            found.append(f"the row policies of {table} are not those of the platform")
    for role in sorted(_grantees(query, tables.readable) - {access.reader}, key=str):
        found.append(f"{role or 'PUBLIC'} has rights on the latest tables")
    return found + _unfit(query, tables.readable, access)


def _refuse_unfit(query: Query, tables: Sequence[str], access: ReaderAccess) -> None:
    for reason in _unfit(query, tables, access):
        raise DatabaseRefused(f"{reason}; nothing was changed")


def _unfit(query: Query, tables: Sequence[str], access: ReaderAccess) -> list[str]:
    """Why the database cannot restrict the reader to `access`."""
    if access.reader is None:
        return []
    rows = query(
        """
        SELECT
            EXISTS (
                -- A session may become any role that its own is a member of.
                SELECT FROM pg_roles AS m
                WHERE pg_has_role(r.oid, m.oid, 'MEMBER') AND (
                    m.rolsuper OR m.rolbypassrls OR m.rolcreaterole
                    OR m.rolname IN ('pg_read_all_data', 'pg_write_all_data')
                )
            ) AS unbound,
            pg_has_role(r.oid, c.relowner, 'MEMBER') AS owner
        FROM pg_roles AS r
        CROSS JOIN pg_class AS c
        WHERE r.rolname = ? AND c.oid = to_regclass(?)
        """,
        (access.reader, tables[0]),
    )
    if not rows:
        return [
            f"there is no role {access.reader} to read the tables (ELT_ASSETS_OPERATIONAL_READER);"
            f" create it: CREATE ROLE {access.reader} LOGIN"
        ]
    if rows[0]["owner"] or rows[0]["unbound"]:
        return [
            f"{access.reader} is a superuser, bypasses row security or owns the tables, reads or "
            "writes all data, makes roles, or is a member of a role that does, so that no right "
            "binds it; name a role of its own (ELT_ASSETS_OPERATIONAL_READER)"
        ]
    return []


def _grantees(query: Query, tables: Sequence[str]) -> set[str | None]:
    """Roles other than the owner with a right on a table or a column; None is PUBLIC."""
    found: set[str | None] = set()
    for table in tables:
        rows = query(
            """
            SELECT r.rolname::text AS role
            FROM pg_class AS c
            CROSS JOIN LATERAL (
                SELECT (aclexplode(c.relacl)).grantee
                UNION
                SELECT (aclexplode(a.attacl)).grantee
                FROM pg_attribute AS a
                WHERE a.attrelid = c.oid
            ) AS granted
            LEFT JOIN pg_roles AS r ON r.oid = granted.grantee
            WHERE c.oid = to_regclass(?) AND granted.grantee <> c.relowner
            """,
            (table,),
        )
        found |= {row["role"] for row in rows}
    return found


def _policies(query: Query, table: str) -> list[Row]:
    return query(
        """
        SELECT polname::text AS name, pg_get_expr(polqual, polrelid) AS condition
        FROM pg_policy
        WHERE polrelid = to_regclass(?)
        ORDER BY polname
        """,
        (table,),
    )


def quoted(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
