"""Where pandas is not installed, looking for it costs nothing after the first time."""

from __future__ import annotations

import subprocess
import sys

# Counts the searches of the whole module path that binding ten parameters leads to.
SEARCHES = """
import sys
import duckdb
from elt_assets.storage.warehouse.pandas_lookup import remember_absent_pandas

class Counting:
    searches = 0
    def find_spec(self, name, path=None, target=None):
        Counting.searches += name == "pandas"
        return None

if "--remembered" in sys.argv:
    remember_absent_pandas()
sys.meta_path.insert(0, Counting())
for number in range(10):
    duckdb.execute("SELECT ?", [number])
print(Counting.searches)
"""


def searches(*arguments: str) -> int:
    """How often pandas is looked for, in a process of its own."""
    command = [sys.executable, "-c", SEARCHES, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_pandas_is_not_looked_for_again_and_again() -> None:
    assert searches() >= 10
    assert searches("--remembered") == 0
