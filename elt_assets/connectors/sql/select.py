"""Check that a query is one SELECT that only reads.

An SQL parser refuses everything else before the query is stored. The session is read-only too, and
the grants of the database decide in the end.
"""

from __future__ import annotations

_DIALECTS = {"postgresql": "postgres", "mysql": "mysql", "sqlite": "sqlite"}


def check_select(query: str, database: str) -> None:
    """Raise `ValueError` unless `query` is one SELECT that only reads.

    The message continues a sentence that begins with "query".
    """
    # Imported when a query is checked: the parser is large, and few commands need it.
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    if database == "mysql" and ("/*!" in query or "/*M!" in query):
        # Only the server executes it; for any other parser it is a comment.
        raise ValueError("has a comment that MySQL executes; write it without")
    dialect = _DIALECTS[database]
    try:
        statements = [each for each in sqlglot.parse(plain(query), dialect=dialect) if each]
        if len(statements) == 1:
            # Parsed as it will run: an unclosed comment would swallow the text after the query.
            sqlglot.parse_one(f"SELECT * FROM (\n{plain(query)}\n) AS q", dialect=dialect)
    except (SqlglotError, RecursionError):
        raise ValueError("cannot be parsed as one SELECT; check its syntax") from None
    if len(statements) != 1:
        raise ValueError(f"has {len(statements)} statements; write one SELECT")
    statement = statements[0]
    if not isinstance(statement, exp.Query):
        raise ValueError("is not a SELECT; only reading is allowed")
    writing = (
        exp.DML,
        exp.DDL,
        exp.Command,
        exp.Into,
        exp.Lock,
        exp.Drop,
        exp.Alter,
        exp.Set,
    )
    for found in statement.walk():
        if isinstance(found, writing) and not isinstance(found, exp.Query):
            raise ValueError(f"contains {found.key.upper()}; only reading is allowed")


def plain(query: str) -> str:
    """The query without the semicolon that may end it."""
    return query.strip().rstrip(";").rstrip()
