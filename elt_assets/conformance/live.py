"""The checks of a connector against a server that is not ours to control.

The server is only read, once with wrong credentials. Checks that need a server that misbehaves on
demand are reported as not checked.
"""

from __future__ import annotations

import json
import secrets as random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elt_assets.conformance.verdict import CheckOutcome, Finding
from elt_assets.conformance.workbench import Workbench, kept, keys_of
from elt_assets.connectors.source import Presence
from elt_assets.errors import SyncError
from elt_assets.sync.extract.preview import USUAL_SIZES
from elt_assets.sync.outcome import Status

MOST_RESUMED = 20
"""Pages from which the check resumes; each time it reads all pages that follow."""


@dataclass
class Visit:
    """A connector at a live server, and what its first sync found."""

    provider: str
    data: dict[str, Any]
    bench: Workbench
    keys: list[list[str]]
    cursors: list[Any]

    @property
    def listed(self) -> list[str]:
        """Every key in the order of the listing."""
        return [key for page in self.keys for key in page]


def visit(provider: str, data: Mapping[str, Any], bench: Workbench) -> Visit:
    """Read everything once. Raises `SyncError` if not even the first page can be read.

    If a later page cannot be read, the checks that need it report the error themselves.
    """
    read: list[tuple[list[str], Any]] = []
    with bench.source() as source:
        try:
            read.extend((keys_of(page, source), page.next) for page in source.pages(None))
        except SyncError:
            if not read:
                raise
    return Visit(
        provider, dict(data), bench, [keys for keys, _ in read], [cursor for _, cursor in read]
    )


def pages(at: Visit) -> Finding:
    """A sync is complete and holds each listed key once; a second listing is the same."""
    outcome = at.bench.sync()
    if outcome.error is not None:
        return Finding("pages", CheckOutcome.FAILED, outcome.error)
    faults = []
    if not outcome.certificate.complete:
        faults.append("not complete: " + "; ".join(outcome.certificate.reasons))
    if repeated := [key for key, count in Counter(at.listed).items() if count > 1]:
        faults.append(f"{len(repeated):,} ids are listed more than once")
    if set(at.bench.records()) != set(at.listed):
        faults.append(
            f"{len(set(at.listed)):,} ids are listed and {len(at.bench.records()):,} records stand "
            f"in the table; {outcome.counts.rejected:,} records were rejected"
        )
    if faults:
        return Finding("pages", CheckOutcome.FAILED, "; ".join(faults))
    if not at.listed:
        return Finding("pages", CheckOutcome.WARNED, "the directory is empty")
    if len(at.keys) < 3:
        return Finding(
            "pages",
            CheckOutcome.WARNED,
            f"{len(at.listed):,} records on {len(at.keys)} pages; judging pagination takes three",
        )
    return Finding(
        "pages", CheckOutcome.PASSED, f"{len(at.listed):,} records on {len(at.keys):,} pages"
    )


def resume(at: Visit) -> Finding:
    """Reading from the cursor of each page returns everything that follows."""
    faults, tried = [], at.cursors[:-1][:MOST_RESUMED]
    for place, cursor in enumerate(tried, 1):
        with at.bench.source() as source:
            if not source.resumable:
                return Finding("resume", CheckOutcome.WARNED, "an interrupted listing starts over")
            try:
                rest = [key for page in source.pages(kept(cursor)) for key in keys_of(page, source)]
            except SyncError as error:
                faults.append(f"after page {place}: {error}")
                continue
        wanted = [key for keys in at.keys[place:] for key in keys]
        if Counter(rest) != Counter(wanted):
            faults.append(f"after page {place}: {len(rest):,} records instead of {len(wanted):,}")
    if faults:
        return Finding("resume", CheckOutcome.FAILED, "; ".join(faults[:3]))
    if not tried:
        return Finding("resume", CheckOutcome.NOT_CHECKED, "there is one page")
    return Finding("resume", CheckOutcome.PASSED, f"from {len(tried)} pages")


def credentials(at: Visit) -> Finding:
    """Wrong credentials are an error."""
    wrong = at.bench.folder / "wrong-secret"
    wrong.write_text(secret := f"wr0ng-{random.token_hex(12)}")
    wrong.chmod(0o600)
    data, replaced = _with_secret(at.data, wrong)
    if not replaced:
        return Finding("credentials", CheckOutcome.NOT_APPLICABLE, "no credentials are sent")
    with Workbench(at.provider, data, at.bench.stream.name) as bench:
        outcome = bench.sync()
        if outcome.status is not Status.FAILED:
            return Finding(
                "credentials",
                CheckOutcome.FAILED,
                f"the sync is {outcome.status} with {len(bench.records()):,} records",
            )
    if secret in (outcome.error or ""):
        return Finding("credentials", CheckOutcome.FAILED, "the error shows the secret")
    return Finding("credentials", CheckOutcome.PASSED, "refused, and the sync fails")


def permissions(at: Visit) -> Finding:
    """Warn of empty columns, which are the sign of a missing permission."""
    if warnings := [text for text in at.bench.preview().warnings if " is empty in " in text]:
        return Finding("permissions", CheckOutcome.WARNED, "; ".join(warnings))
    return Finding(
        "permissions", CheckOutcome.NOT_CHECKED, "no column is empty; the rest needs an emulator"
    )


def caps(at: Visit) -> Finding:
    """A listing that ends on a full last page, or at a round number, may have been cut off."""
    count = len(at.listed)
    with at.bench.source() as source:
        total = next(source.pages(None)).total
    if total is not None and total > count:
        return Finding("caps", CheckOutcome.FAILED, f"{count:,} of {total:,} declared are listed")
    sizes = [len(keys) for keys in at.keys]
    # A page that is not full, or an empty one, is the provider's own sign of the end.
    full = bool(sizes) and sizes[-1] > 0 and sizes[-1] == max(sizes)
    if total is None and full and (len(sizes) > 1 or count in USUAL_SIZES):
        return Finding(
            "caps",
            CheckOutcome.WARNED,
            f"{count:,} records, the last page full and nothing after it; is that all of them?",
        )
    said = "and nothing follows" if total is None else "and the provider says that they are all"
    return Finding("caps", CheckOutcome.PASSED, f"{count:,} records, {said}")


def budget(at: Visit) -> Finding:
    """Report the configured rate; a real check would use up the provider's budget."""
    rate = (at.data.get("rate_limit") or {}).get("requests_per_second")
    told = "no rate is set" if rate is None else f"{rate:g} requests a second"
    return Finding("budget", CheckOutcome.NOT_CHECKED, f"{told}; refusals need an emulator")


def unstable(at: Visit) -> Finding:
    """Two listings in a row have the same order."""
    with at.bench.source() as source:
        again = [key for page in source.pages(None) for key in keys_of(page, source)]
    if again == at.listed:
        return Finding("unstable", CheckOutcome.PASSED, "a second listing is the same")
    if Counter(again) == Counter(at.listed):
        return Finding(
            "unstable",
            CheckOutcome.WARNED,
            "a second listing has another order; sort it if you can",
        )
    missing = len(set(at.listed) - set(again))
    return Finding(
        "unstable",
        CheckOutcome.FAILED,
        f"a second listing lacks {missing:,} of {len(at.listed):,} ids",
    )


def probe(at: Visit) -> Finding:
    """A listed record is present, and an invented one is gone."""
    with at.bench.source() as source:
        if not source.probes:
            return Finding(
                "probe",
                CheckOutcome.WARNED,
                "single records cannot be requested; configure `single` if the provider has it",
            )
        if len(at.listed) < 2:
            return Finding("probe", CheckOutcome.NOT_CHECKED, "fewer than two records are listed")
        control, known = at.listed[0], at.listed[-1]
        never = _invented(at, known)
        try:
            answers = source.probe([known, never], [control])
        except SyncError as error:
            return Finding("probe", CheckOutcome.FAILED, str(error))
    if answers[known] is not Presence.PRESENT:
        return Finding(
            "probe", CheckOutcome.FAILED, f"a listed record is answered as {answers[known]}"
        )
    if answers[never] is Presence.PRESENT:
        return Finding(
            "probe", CheckOutcome.FAILED, "an id that is not listed is answered as present"
        )
    if answers[never] is Presence.UNKNOWN:
        return Finding(
            "probe",
            CheckOutcome.WARNED,
            "an id that is not listed is answered as unknown, so no record is ever gone",
        )
    return Finding("probe", CheckOutcome.PASSED, "a listed record is present, an invented one gone")


def _invented(at: Visit, like: str) -> str:
    """Return a key that is not listed; for a member, a key in the same group."""
    if len(at.bench.stream.key) == 1:
        return _never(like, set(at.listed))
    group, member = json.loads(like)
    return json.dumps([group, _never(member, {json.loads(key)[1] for key in at.listed})])


def _never(like: str, listed: set[str]) -> str:
    """Return an id that is not listed, of the same form as `like`."""
    other = like
    while other in listed:
        other = "".join(random.choice("123456789") if sign.isdigit() else sign for sign in other)
        if other in listed and not any(sign.isdigit() for sign in other):
            other += random.choice("abcdefgh")
    return other


def fields(at: Visit) -> Finding:
    """Every record is usable, and no column is empty or the same throughout."""
    preview = at.bench.preview()
    if preview.rejected:
        reason = preview.rejected[0]["reason"]
        return Finding(
            "fields",
            CheckOutcome.FAILED,
            f"{len(preview.rejected):,} of {preview.count:,} records are rejected: {reason}",
        )
    records = list(at.bench.records().values())
    with at.bench.source() as source:
        mapped = sorted(source.fields)
    odd = []
    for name in mapped:
        values = {str(record.get(name)) for record in records}
        if len(records) >= 10 and len(values) == 1:
            odd.append(f"{name} is {'empty' if values == {'None'} else 'the same'} in all")
    if odd:
        return Finding("fields", CheckOutcome.WARNED, "; ".join(odd))
    return Finding(
        "fields", CheckOutcome.PASSED, f"{len(mapped)} fields of {len(records):,} records"
    )


def secrets(at: Visit) -> Finding:
    """No secret that the connector was given is in a file or a cursor."""
    known = [secret for secret in _secrets_of(at.data) if len(secret) >= 4]
    if not known:
        nothing = "no secret of four characters or more is sent"
        return Finding("secrets", CheckOutcome.NOT_APPLICABLE, nothing)
    faults = [f"stored in {file}" for secret in known for file in at.bench.stored(secret)]
    faults += ["in a cursor" for secret in known if secret in repr(at.cursors)]
    if faults:
        return Finding("secrets", CheckOutcome.FAILED, "; ".join(dict.fromkeys(faults)))
    return Finding("secrets", CheckOutcome.PASSED, "in no file or cursor")


LIVE: dict[str, Callable[[Visit], Finding]] = {
    "pages": pages,
    "resume": resume,
    "credentials": credentials,
    "permissions": permissions,
    "caps": caps,
    "budget": budget,
    "unstable": unstable,
    "probe": probe,
    "fields": fields,
    "secrets": secrets,
}


def _with_secret(value: Any, file: Path) -> tuple[Any, int]:
    """Return `value` with each secret reference replaced by `file`, and how many there are."""
    if isinstance(value, dict):
        if len(value) == 1 and value.keys() <= {"env", "file"}:
            return {"file": str(file)}, 1
        made = {name: _with_secret(inner, file) for name, inner in value.items()}
        return {name: one for name, (one, _) in made.items()}, sum(n for _, n in made.values())
    if isinstance(value, list):
        parts = [_with_secret(inner, file) for inner in value]
        return [one for one, _ in parts], sum(n for _, n in parts)
    return value, 0


def _secrets_of(value: Any) -> list[str]:
    """The values of all references to secrets."""
    import os

    if isinstance(value, dict):
        if value.keys() == {"env"}:
            return [os.environ.get(str(value["env"]), "")]
        if value.keys() == {"file"} and Path(str(value["file"])).is_file():
            return [Path(str(value["file"])).read_text("utf-8", "replace").strip()]
        return [one for inner in value.values() for one in _secrets_of(inner)]
    if isinstance(value, list):
        return [one for inner in value for one in _secrets_of(inner)]
    return []
