"""Keep a copy of the users in SQLite, each change exactly once: `python pull.py URL TOKEN FILE`.

The position is stored in the transaction that stores the changes.
"""

import json
import sqlite3
import sys
import urllib.request


def pull(url: str, token: str, file: str, wait: int = 30) -> str:
    """Apply the next entries to the copy in `file`, and return the position that it is at."""
    copy = sqlite3.connect(file, isolation_level=None)
    copy.execute(
        "CREATE TABLE IF NOT EXISTS users"
        " (org, integration, id, row, PRIMARY KEY (org, integration, id))"
    )
    copy.execute("CREATE TABLE IF NOT EXISTS position (feed)")
    after = (copy.execute("SELECT feed FROM position").fetchone() or ["0"])[0]
    request = urllib.request.Request(f"{url}/feed?after={after}&stream=users&wait={wait}")
    request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request) as answer:
        page = json.load(answer)
    copy.execute("BEGIN IMMEDIATE")
    for entry in page["entries"]:
        key = (entry["organization_id"], entry["connected_integration_id"])
        if entry["type"] == "integration.removed":
            copy.execute("DELETE FROM users WHERE org = ? AND integration = ?", key)
        elif entry["type"] == "users.deleted":
            copy.execute(
                "DELETE FROM users WHERE org = ? AND integration = ? AND id = ?",
                (*key, entry["id"]),
            )
        else:
            copy.execute(
                "REPLACE INTO users VALUES (?, ?, ?, ?)",
                (*key, entry["id"], json.dumps(entry["after"])),
            )
    copy.execute("DELETE FROM position")
    copy.execute("INSERT INTO position VALUES (?)", (page["next"],))
    copy.execute("COMMIT")
    copy.close()
    return page["next"]


if __name__ == "__main__":
    while True:
        print("at", pull(*sys.argv[1:4]), flush=True)
