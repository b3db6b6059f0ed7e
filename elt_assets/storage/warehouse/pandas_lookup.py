"""Stop DuckDB from searching for pandas if it is not installed.

DuckDB's client looks for pandas whenever it binds a parameter, to recognize pandas' null values,
and does not cache that it is missing: one small sync would search the whole module path some twenty
times, under a lock that all threads share.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec


def remember_absent_pandas() -> None:
    """If pandas is not installed, make further imports of it fail at once, without a search."""
    if "pandas" not in sys.modules and find_spec("pandas") is None:
        # None makes the import system raise ModuleNotFoundError without a search.
        sys.modules["pandas"] = None  # type: ignore[assignment]
