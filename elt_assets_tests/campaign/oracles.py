"""Oracles: what may never be true of an installation, whatever happened to it before.

They judge what `state` reads back and what the provider holds. They use no clock, database or
process, so that each can be tested with a planted violation. Only the search for secrets reads
files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import floor
from pathlib import Path
from typing import Any

import msgspec

from elt_assets.sync.state.change_log import BASELINE
from elt_assets_tests.campaign.state import Row, State

SETTLED = ("applied", "unchanged", "quarantined")
Users = Mapping[str, Mapping[str, Any]]

_OF_BATCHES = frozenset({"batch", "seq", "batches", "page_starts"})


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise: which oracle saw it, where, and what."""

    oracle: str
    partition: str
    detail: str


def lost(state: State, truth: Users) -> list[Violation]:
    """Records that the provider holds and the latest table does not."""
    return _each("lost", state, sorted(truth.keys() - state.users().keys()))


def not_in_truth(state: State, truth: Users) -> list[Violation]:
    """Rows of people whom the provider no longer lists, or never did."""
    return _each("should be gone", state, sorted(state.users().keys() - truth.keys()))


def stale(state: State, truth: Users) -> list[Violation]:
    """Rows that hold something else than the newest the provider said."""
    users = state.users()
    wrong = [key for key in users.keys() & truth.keys() if users[key] != truth[key]]
    return _each("stale overwrite", state, sorted(wrong))


def out_of_order(state: State) -> list[Violation]:
    """An extraction that began earlier and was applied later than a newer one."""
    settled = sorted(_settled(state), key=lambda row: row["version"])
    return [
        violation
        for before, after in pairwise(settled)
        if after["ordinal"] < before["ordinal"]
        for violation in _each("stale overwrite", state, [after["sync_id"]])
    ]


def duplicated(state: State) -> list[Violation]:
    """A person with two rows, or one fetched record landed twice."""
    rows = Counter(row["external_id"] for row in state.latest)
    landings = Counter(
        (row["sync_id"], row["batch"], row["seq"]) for row in (*state.staging, *state.rejected)
    )
    twice = [key for counted in (rows, landings) for key, number in counted.items() if number > 1]
    return _each("duplicated", state, twice)


def false_deletes(
    state: State, alive: Mapping[str, Iterable[str]], deciders: Sequence[str] = ("approve-",)
) -> list[Violation]:
    """Deletes of people who were with the provider when the deleting sync ran.

    `alive` maps a sync_id to everybody who was there, also for whatever maps its records
    again. What a person decided (`deciders`, by prefix of the sync_id) is not a mistake of
    ours; an undo only takes back an insert.
    """
    wrong = [
        f"{change['external_id']} by {change['sync_id']}"
        for change in state.applied
        if change["change_type"] == "DELETE"
        and not change["sync_id"].startswith((*deciders, "undo-"))
        and change["external_id"] in set(alive.get(change["sync_id"].partition("-again")[0], ()))
    ]
    return _each("false delete", state, wrong)


def unbalanced(state: State) -> list[Violation]:
    """Settled syncs whose numbers contradict each other, the log or their neighbours."""
    wrong: list[str] = []
    changes = Counter((row["version"], row["change_type"]) for row in state.log)
    counted = {"INSERT": "inserts", "UPDATE": "updates", "DELETE": "deletes"}
    settled = sorted(_settled(state), key=lambda row: row["version"])
    for row in settled:
        sums = {
            "fetched = staged + rejected": row["fetched"] == row["staged"] + row["rejected"],
            "staged - duplicates = unique": row["staged"] - row["duplicates"] == row["unique"],
            "before + inserted - deleted = after": row["latest_before"]
            + row["inserts"]
            - row["deletes"]
            == row["latest"],
        }
        if row["fetched"]:
            sums["unique = inserted + updated + withheld + unchanged + said to be gone"] = (
                row["unique"]
                == row["inserts"]
                + row["updates"]
                + row["withheld_inserts"]
                + row["withheld_updates"]
                + row["unchanged"]
                + row["tombstones"]
            )
        for kind, column in counted.items():
            sums[f"{column} = those in the log"] = changes[row["version"], kind] == row[column]
        wrong += [f"{row['sync_id']}: {name}" for name, holds in sums.items() if not holds]
    wrong += [
        f"{after['sync_id']}: begins with {after['latest_before']}, before it {before['latest']}"
        for before, after in pairwise(settled)
        if after["latest_before"] != before["latest"]
    ]
    numbers = [row["version"] for row in settled]
    if numbers != [*range(1, state.version + 1)]:
        wrong.append(f"versions {numbers} up to {state.version}")
    if settled and settled[-1]["latest"] != len(state.live):
        wrong.append(f"{settled[-1]['sync_id']} left {settled[-1]['latest']}, {len(state.live)}")
    return _each("unbalanced books", state, wrong)


def leaked_across_tenants(
    state: State, belongs: Callable[[Mapping[str, Any]], bool]
) -> list[Violation]:
    """Rows of one tenant in the tables of another, by their columns or by their content.

    `belongs` says whether the attributes of a record are those of this tenant's people.
    """
    tenant = (state.ref.organization_id, state.ref.integration_id)
    wrong = [
        f"{table}: {row['external_id']}"
        for table in ("latest", "staging", "log", "withheld")
        for row in getattr(state, table)
        if (row["organization_id"], row["connected_integration_id"]) != tenant
        or (row["attributes"] is not None and not belongs(msgspec.json.decode(row["attributes"])))
    ]
    return _each("cross-tenant leak", state, wrong)


def refetched(state: State, committed: int, served: Sequence[int]) -> list[Violation]:
    """Pages fetched again (`served`, from 0) although the first `committed` are safe."""
    return _each("refetched page", state, [page for page in served if page < committed])


def does_not_replay(state: State) -> list[Violation]:
    """Differences between the latest table and what its change log amounts to."""
    replayed: dict[str, Row] = {}
    for change in state.applied:
        if change["change_type"] == "DELETE":
            replayed.pop(str(change["id"]), None)
        else:
            replayed[str(change["id"])] = change
    by_id = {row["id"]: row for row in state.live}
    columns = ("external_id", "name", "email", "content_hash")
    wrong = [
        key
        for key in sorted(replayed.keys() | by_id.keys())
        if key not in replayed
        or key not in by_id
        or any(replayed[key][name] != by_id[key][name] for name in columns)
    ]
    return _each("log replay is not latest", state, wrong)


def changed_twice(state: State) -> list[Violation]:
    """Keys with more than one change in one sync, or one version."""
    changes: Counter[tuple[object, str]] = Counter()
    for row in state.log:
        changes[row["version"], row["external_id"]] += 1
        # A baseline stands for whatever the log lacked, each time it lacked something.
        if row["sync_id"] != BASELINE:
            changes[row["sync_id"], row["external_id"]] += 1
    return _each(
        "more than one change per key and sync",
        state,
        [key for key, number in changes.items() if number > 1],
    )


def leaked_secrets(folder: Path, secrets: Iterable[str]) -> list[Violation]:
    """Files under `folder` that hold a secret, as it is or with JSON's escapes."""
    forms = {secret: {secret.encode(), msgspec.json.encode(secret)[1:-1]} for secret in secrets}
    return [
        Violation("leaked secret", str(path.relative_to(folder)), f"{secret[:3]}…")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for content in [path.read_bytes()]
        for secret, encoded in forms.items()
        if any(form in content for form in encoded)
    ]


def differs(state: State, twin: State, *, batches: bool = True) -> list[Violation]:
    """Tables that are not as they would be had nothing ever been interrupted.

    Without `batches` pages may have been grouped otherwise: a sync that is asked to stop lands
    the pages that it has.
    """
    left, right = state.comparable(), twin.comparable()
    if not batches:
        left, right = _ungrouped(left), _ungrouped(right)
    wrong = []
    for table in left:
        if left[table] != right[table]:
            odd = [row for row in left[table] if row not in right[table]]
            missing = [row for row in right[table] if row not in left[table]]
            wrong.append(f"{table}: has {odd[:2]}, lacks {missing[:2]}")
    return _each("differs from its uninterrupted twin", state, wrong)


def _ungrouped(tables: dict[str, list[Row]]) -> dict[str, list[Row]]:
    """Tables without what tells of batches."""
    return {
        table: sorted(
            ({name: row[name] for name in row if name not in _OF_BATCHES} for row in rows), key=repr
        )
        for table, rows in tables.items()
        if table != "batches"
    }


def seen_unnamed(state: State) -> list[Violation]:
    """Tables of a lake that show other records than those of the writes that its books name."""
    named = {(row["table_name"], row["write_id"]) for row in state.named}
    counted: Counter[str] = Counter()
    for row in state.stored:
        if (row["table_name"], row["write_id"]) in named:
            counted[row["table_name"]] += row["records"]
    return _each(
        "seen without a name",
        state,
        [
            f"{table} shows {shown} records, {counted[table]} are named"
            for table, shown in state.seen.items()
            if shown != counted[table]
        ],
    )


def named_in_vain(state: State) -> list[Violation]:
    """Writes that the books of a lake name and that are not in it."""
    stored = {(row["table_name"], row["write_id"]) for row in state.stored}
    named = [(row["table_name"], row["write_id"]) for row in state.named]
    return _each("named and not there", state, [name for name in named if name not in stored])


def left_behind(state: State) -> list[Violation]:
    """Records in a lake that nothing names although it was looked after."""
    named = {(row["table_name"], row["write_id"]) for row in state.named}
    stored = [(row["table_name"], row["write_id"]) for row in state.stored]
    return _each("left behind", state, [name for name in stored if name not in named])


def always(state: State) -> list[Violation]:
    """All that must hold of any installation at rest, whatever its provider said."""
    return [
        violation
        for oracle in (
            duplicated,
            unbalanced,
            does_not_replay,
            changed_twice,
            out_of_order,
            seen_unnamed,
            named_in_vain,
        )
        for violation in oracle(state)
    ]


def against(state: State, truth: Users) -> list[Violation]:
    """The latest table against what it must hold."""
    return lost(state, truth) + not_in_truth(state, truth) + stale(state, truth)


def _settled(state: State) -> list[Row]:
    return [row for row in state.ledger if row["status"] in SETTLED and row["version"]]


def _each(oracle: str, state: State, details: Iterable[object]) -> list[Violation]:
    return [Violation(oracle, state.ref.partition_key, str(detail)) for detail in details]


def documented_limit(rows: int) -> int:
    """How many of `rows` one sync may change for the worse, by docs/operations.md.

    20%, at most 500; of ten or fewer half of them, at least one.
    """
    return min(500, max(rows // 2, 1) if rows <= 10 else floor(rows * 0.2))
