"""Keep a copy of the users in SQLite and apply each change exactly once.

Run it with: `python pull.py URL TOKEN FILE`. It begins with a snapshot, and takes another one when
the feed answers that it needs one. The position is stored in the transaction that stores the rows.
"""

import json
import sqlite3
import sys
import urllib.error
import urllib.request

ANOTHER_FEED, NO_LONGER_KEPT = 409, 410


def pull(url: str, token: str, file: str, wait: int = 30) -> str:
    """Update the copy in `file` by one answer of the feed, and return its new position.

    The feed answers after `wait` seconds at the latest.
    """
    copy = sqlite3.connect(file, isolation_level=None)
    copy.execute(
        "CREATE TABLE IF NOT EXISTS users"
        " (org, integration, id, row, PRIMARY KEY (org, integration, id))"
    )
    copy.execute("CREATE TABLE IF NOT EXISTS position (feed)")
    position = copy.execute("SELECT feed FROM position").fetchone()
    page = None
    if position:
        try:
            page = ask(url, token, f"/feed?stream=users&after={position[0]}&wait={wait}")
        except urllib.error.HTTPError as error:
            if error.code not in (ANOTHER_FEED, NO_LONGER_KEPT):
                raise
    copy.execute("BEGIN IMMEDIATE")
    if page is None:
        at = take_snapshot(copy, url, token)
    else:
        for entry in page["entries"]:
            apply(copy, entry)
        at = page["next"]
    copy.execute("DELETE FROM position")
    copy.execute("INSERT INTO position VALUES (?)", (at,))
    copy.execute("COMMIT")
    copy.close()
    return at


def take_snapshot(copy: sqlite3.Connection, url: str, token: str) -> str:
    """Replace the copy by the current rows; return the position from which to read the feed."""
    copy.execute("DELETE FROM users")
    page, query = None, ""
    while page is None or page["next_page"]:
        page = ask(url, token, f"/snapshot?stream=users&limit=5000{query}")
        for row in page["rows"]:
            store(copy, row, row["row"])
        query = f"&page={page['next_page']}"
    return page["position"]


def apply(copy: sqlite3.Connection, entry: dict) -> None:
    """Apply one entry to the copy."""
    owner = (entry["organization_id"], entry["connected_integration_id"])
    if entry["type"] == "integration.removed":
        copy.execute("DELETE FROM users WHERE org = ? AND integration = ?", owner)
    elif entry["type"] == "users.deleted":
        copy.execute(
            "DELETE FROM users WHERE org = ? AND integration = ? AND id = ?", (*owner, entry["id"])
        )
    else:
        store(copy, entry, entry["after"])


def store(copy: sqlite3.Connection, of: dict, row: dict) -> None:
    """Insert or replace one user."""
    key = (of["organization_id"], of["connected_integration_id"], of["id"])
    copy.execute("REPLACE INTO users VALUES (?, ?, ?, ?)", (*key, json.dumps(row)))


def ask(url: str, token: str, path: str) -> dict:
    """Send a request to the feed, and return its answer."""
    request = urllib.request.Request(url + path, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


if __name__ == "__main__":
    while True:
        print("at", pull(*sys.argv[1:4]), flush=True)
