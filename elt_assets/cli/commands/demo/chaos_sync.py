"""`elt-assets demo --chaos`: sync in child processes that fail on purpose, and count the faults.

`sync.fault_injection` causes the faults.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import click
import msgspec

from elt_assets.cli.console.output import note, print_json
from elt_assets.cli.foreground import run_syncs
from elt_assets.client.sync_command import SyncCommand
from elt_assets.config.settings import load_settings
from elt_assets.errors import EltAssetsError
from elt_assets.identifiers import IntegrationRef
from elt_assets.sync.fault_injection import FaultDice

_FAULT = re.compile(r"simulated fault: (\w+)")
_MOST_ATTEMPTS = 200


def sync_through_faults(refs: Sequence[IntegrationRef], sync_id: str) -> Counter[str]:
    """Sync `refs` under `sync_id` until everything is applied; return the number of each fault.

    The fault `crash` ends a process; the next process continues from what was committed.
    Raises `EltAssetsError` after too many attempts.
    """
    survived: Counter[str] = Counter()
    for number in range(1, _MOST_ATTEMPTS + 1):
        done = _attempt(refs, sync_id)
        faults = Counter(_FAULT.findall(done.stderr))
        survived += faults
        died = f", killed by signal {-done.returncode}" if done.returncode < 0 else ""
        note(f"attempt {number}: {faults.total()} faults{died}")
        if done.returncode >= 0 and _settled(done.stdout, len(refs)):
            return survived
    raise EltAssetsError(
        f"sync {sync_id} was not done after {_MOST_ATTEMPTS} attempts; "
        "`elt-assets syncs` shows the errors of each integration"
    )


@click.command("attempt", hidden=True, epilog="Example: elt-assets demo attempt monday acme:okta")
@click.argument("sync_id")
@click.argument("integrations", nargs=-1)
def attempt(sync_id: str, integrations: tuple[str, ...]) -> None:
    """Sync once and fail on purpose; `demo --chaos` starts a process for each attempt."""
    refs = [IntegrationRef.parse(key) for key in integrations]
    outcomes = run_syncs(refs, load_settings(), SyncCommand(sync_id, faults=FaultDice()))
    print_json({"sync": [outcome.as_json() for outcome in outcomes]})


def describe(survived: Counter[str]) -> str:
    """The survived faults in words."""
    words = {
        "page": "failures of the provider",
        "after_commit": "failures after a committed write",
        "crash": "crashed processes",
    }
    parts = [f"{survived[name]:,} {text}" for name, text in words.items() if survived[name]]
    return "Survived " + (", ".join(parts) or "nothing: no fault fired") + "."


def _attempt(refs: Sequence[IntegrationRef], sync_id: str) -> subprocess.CompletedProcess[str]:
    context = click.get_current_context()
    debug = ["--debug"] if getattr(context.obj, "debug", False) else []
    command = ["demo", "attempt", sync_id, *map(str, refs)]
    return subprocess.run(
        [sys.executable, "-m", "elt_assets", *debug, *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _settled(document: str, expected: int) -> bool:
    try:
        outcomes = msgspec.json.decode(document)["sync"]
    except msgspec.DecodeError:
        return False
    return len(outcomes) == expected and all(
        outcome["status"] in ("applied", "unchanged", "quarantined") for outcome in outcomes
    )
