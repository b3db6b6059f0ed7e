"""End DuckDB's search for pandas where it is not installed.

DuckDB's client looks for pandas whenever it binds a parameter, to recognize its null values, and
does not cache that there is none: some twenty searches of the whole module path for one small sync,
under a lock that all threads share.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def remember_absent_pandas() -> None:
    """Let further imports of pandas fail at once, as they would, if it is not installed."""
    if "pandas" not in sys.modules and find_spec("pandas") is None:
        # What the import system itself takes for "looked for, not there".
        sys.modules["pandas"] = None  # type: ignore[assignment]
