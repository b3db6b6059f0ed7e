"""The checks of a preset against its provider's emulator, each from an empty installation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from elt_assets.conformance.emulators.description import EmulatedAnswer, Restriction
from elt_assets.conformance.trial import Trial, trial
from elt_assets.conformance.verdict import CheckOutcome, Finding
from elt_assets.conformance.workbench import kept, keys_of
from elt_assets.connectors.presets.preset import presets
from elt_assets.connectors.source import Presence
from elt_assets.errors import SyncError
from elt_assets.sync.outcome import Outcome, Status

SLOW = 10.0
"""Requests a second. A provider that allows fewer needs a rate in its preset."""
_FAILED = (Status.FAILED, Status.QUARANTINED)


def pages(at: Trial) -> Finding:
    """Every record is listed exactly once."""
    outcome = at.bench.sync()
    wanted = at.wanted()
    found = set(at.bench.records())
    faults = []
    if outcome.error is not None:
        faults.append(outcome.error)
    elif not outcome.certificate.complete:
        faults.append("the listing is not complete: " + "; ".join(outcome.certificate.reasons))
    if found != wanted:
        faults.append(
            f"{len(wanted - found):,} missing, {len(found - wanted):,} that should not be listed"
        )
    if outcome.counts.duplicates:
        faults.append(f"{outcome.counts.duplicates:,} listed twice")
    return _finding(
        "pages", faults, f"{len(found):,} records in {outcome.certificate.pages:,} pages"
    )


def resume(at: Trial) -> Finding:
    """Reading from the cursor of each page returns everything that follows."""
    faults = []
    with at.bench.source() as source:
        whole = [(keys_of(page, source), page.next) for page in source.pages(None)]
    for place, (_, cursor) in enumerate(whole[:-1], 1):
        if cursor is None:
            faults.append(f"page {place} has no cursor although another follows")
            continue
        with at.bench.source() as source:
            rest = [key for page in source.pages(kept(cursor)) for key in keys_of(page, source)]
        wanted = [key for keys, _ in whole[place:] for key in keys]
        if rest != wanted:
            faults.append(f"after page {place}: {len(rest):,} records instead of {len(wanted):,}")
    return _finding("resume", faults, f"from {len(whole) - 1} pages")


def credentials(at: Trial) -> Finding:
    """Wrong credentials are an error."""
    at.secret_file.write_text("wr0ng-secret-of-the-kit")
    outcome = at.bench.sync()
    faults = [] if outcome.status is Status.FAILED else [f"the sync is {outcome.status}"]
    if "wr0ng-secret-of-the-kit" in (outcome.error or ""):
        faults.append("the error shows the secret")
    return _finding("credentials", faults, "refused, and the sync fails")


def permissions(at: Trial) -> Finding:
    """Under each documented restriction nothing is deleted or emptied; a first sync reports it."""
    faults, details = [], []
    if not at.listing.restrictions:
        return Finding(
            "permissions", CheckOutcome.NOT_APPLICABLE, "no documented restriction changes answers"
        )
    for restriction in at.listing.restrictions:
        faults += _harm_under(at, restriction)
        silent = _silence_under(at, restriction)
        if silent and not restriction.undetectable:
            faults.append(f"{restriction.name}: a first sync does not report it")
        elif silent:
            details.append(f"{restriction.name}: {restriction.undetectable}")
    told = f"{len(at.listing.restrictions)} restrictions"
    if details and not faults:
        return Finding("permissions", CheckOutcome.WARNED, "; ".join(details))
    return _finding("permissions", faults, told)


def _harm_under(of: Trial, restriction: Restriction) -> list[str]:
    with trial(of.emulation, of.emulator.stream) as at:
        at.bench.sync()
        before = at.bench.records()
        if not before:
            return ["the first sync found nothing"]
        at.emulator.restriction = restriction
        at.bench.sync()
        at.bench.sync()
        after = at.bench.records()
    faults = []
    if missing := before.keys() - after.keys():
        faults.append(f"{restriction.name}: {len(missing):,} of {len(before):,} were deleted")
    for name in of.listing.guarded:
        emptied = sum(
            before[key].get(name) is not None and after[key].get(name) is None
            for key in before.keys() & after.keys()
        )
        if emptied:
            faults.append(f"{restriction.name}: {name} was emptied in {emptied:,} records")
    return faults


def _silence_under(of: Trial, restriction: Restriction) -> bool:
    """Whether neither a first sync nor a preview of one page reports a problem."""
    with trial(of.emulation, of.emulator.stream) as at:
        at.emulator.restriction = restriction
        outcome = at.bench.sync()
        if outcome.status in _FAILED or not outcome.certificate.complete:
            return False
        restricted = at.bench.preview().warnings
        at.emulator.restriction = None
        return set(restricted) <= set(at.bench.preview().warnings)


def caps(at: Trial) -> Finding:
    """Page sizes are within bounds, and a listing that is cut off is not complete."""
    paging = at.listing.paging
    outcome = at.bench.sync()
    faults = []
    if paging.size_param is not None:
        asked = {
            int(one.query[paging.size_param])
            for one in at.emulator.asked
            if paging.size_param in one.query
        }
        if asked and max(asked) > paging.most:
            faults.append(f"{max(asked):,} a page are requested, {paging.most:,} are allowed")
    if paging.reach is None:
        return _finding(
            "caps", faults, f"{paging.most:,} a page; no cap on a listing is documented"
        )
    stream = at.emulator.stream
    for total_ends in (True, False):
        cut_off = replace(at.listing, paging=replace(paging, total_ends_at_reach=total_ends))
        capped = replace(at.emulation, listings={**at.emulation.listings, stream: cut_off})
        for count in (paging.reach, paging.reach + 50):
            with trial(capped, stream) as at_cap:
                at_cap.emulator.populate(count)
                for _ in range(2):
                    outcome = at_cap.bench.sync()
                    if outcome.error is None and outcome.certificate.complete:
                        faults.append(f"{count:,} records are reported as complete")
                at_cap.emulator.rows = at_cap.emulator.rows[5:]
                before = set(at_cap.bench.records())
                outcome = at_cap.bench.sync()
                if lost := (before & at_cap.wanted()) - set(at_cap.bench.records()):
                    faults.append(f"{len(lost):,} of {count:,} records were deleted")
    return _finding("caps", faults, f"{paging.reach:,} records and more are reported as incomplete")


def budget(at: Trial) -> Finding:
    """The preset's rate is within the documented budget, and a sync waits when it is used up."""
    documented = at.emulation.budget
    allowed = (
        SLOW + 1
        if documented.requests is None
        else documented.requests / documented.seconds * documented.share
    )
    rate = presets()[at.emulation.provider].rest.get("rate_limit", {}).get("requests_per_second")
    faults = []
    if allowed <= SLOW and documented.seconds <= 60 and (rate is None or rate > allowed * 1.01):
        faults.append(f"{rate or 'any number of'} requests a second; {allowed:.2g} are allowed")
    at.emulator.allowance = 1
    outcome = at.bench.sync()
    wanted = at.wanted()
    if outcome.error is not None or set(at.bench.records()) != wanted:
        faults.append(f"after a refusal the listing is short: {outcome.error or 'no error'}")
    if at.emulator.hasty:
        faults.append(f"{at.emulator.hasty} requests came before the time that the answer named")
    said = f"{rate:g} requests a second" if rate else "no rate needed"
    return _finding("budget", faults, f"{said}; the sync waits after a refusal")


def unstable(at: Trial) -> Finding:
    """If a record leaves the first page while the second is read, no other record is deleted."""
    first = at.bench.sync()
    if first.error is not None:
        return Finding("unstable", CheckOutcome.FAILED, first.error)
    left = at.emulator.listed()[1]

    def leave() -> None:
        if left in at.emulator.rows:
            at.emulator.rows.remove(left)

    at.emulator.turned = leave
    at.bench.sync()
    wanted = at.wanted()
    lost = wanted - set(at.bench.records())
    faults = [f"{len(lost):,} records that still exist were deleted"] if lost else []
    return _finding("unstable", faults, "records that move to a page already read are kept")


def probe(at: Trial) -> Finding:
    """A probe tells present, gone and unknown records apart."""
    emulator = at.emulator
    faults = []
    with at.bench.source() as source:
        if not source.probes:
            return Finding(
                "probe",
                CheckOutcome.NOT_APPLICABLE,
                "single records cannot be requested; a second listing confirms deletes",
            )
        listed = emulator.listed()
        here = [emulator.key(one) for one in listed[:3]]
        hidden = [emulator.key(one) for one in emulator.rows if not one.state.listed]
        away = [emulator.key(replace(listed[0], number=10**6 + n)) for n in range(2)]
        many = [emulator.key(replace(listed[0], number=10**6 + n)) for n in range(30)]
        wanted = dict.fromkeys(here[1:], Presence.PRESENT) | dict.fromkeys(away, Presence.GONE)
        answers = source.probe([*wanted], here[:1])
        faults += [
            f"{answers[key]} instead of {right}"
            for key, right in wanted.items()
            if answers[key] is not right
        ]
        # A record that the listing leaves out may be gone or unknown, but not present.
        if hidden and source.probe(hidden[:1], here[:1])[hidden[0]] is Presence.PRESENT:
            faults.append("a record that is not listed is answered as present")
        answers = source.probe(many, here[:1])
        if set(answers.values()) != {Presence.GONE}:
            faults.append("of many records that left, not all are answered as gone")
        for status in (403, 404) if emulator.listing.single is not None else ():
            emulator.singles = EmulatedAnswer(status, "<html>a proxy</html>")
            answer = _probed(source, away[0], here[0])
            if answer is Presence.GONE:
                faults.append(f"the {status} of a proxy is taken for the provider's answer")
    return _finding("probe", faults, "present, gone and unknown are told apart")


def _probed(source: Any, missing: str, listed: str) -> Presence:
    try:
        return Presence(source.probe([missing], [listed])[missing])
    except SyncError:
        return Presence.UNKNOWN


def fields(at: Trial) -> Finding:
    """Each state of a record is mapped as the provider documents it."""
    at.bench.sync()
    records, faults = at.bench.records(), []
    for row in at.emulator.listed()[: 2 * len(at.listing.states)]:
        found = records.get(at.emulator.key(row), {})
        faults += [
            f"{row.state.name}: {name} is {found.get(name)!r} and not {value!r}"
            for name, value in at.emulator.expected(row).items()
            if found.get(name) != value
        ]
    return _finding("fields", list(dict.fromkeys(faults)), f"{len(at.listing.states)} states")


def secrets(at: Trial) -> Finding:
    """After good and bad syncs no secret or token is in a file, a cursor or an error."""
    texts = []
    outcomes: list[Outcome] = [at.bench.sync()]
    with at.bench.source() as source:
        texts += [repr(page.next) for page in source.pages(None)]
    for restriction in at.listing.restrictions:
        at.emulator.restriction = restriction
        outcomes.append(at.bench.sync())
    at.emulator.restriction = None
    texts += [outcome.error or "" for outcome in outcomes]
    faults = []
    for name, secret in (("the secret", at.emulator.secret), ("a token", at.emulator.token)):
        faults += [f"{name} is stored in {file}" for file in at.bench.stored(secret)]
        faults += [f"{name} is shown" for text in texts if secret in text]
    return _finding("secrets", faults, "in no file, cursor or error")


EMULATED: dict[str, Callable[[Trial], Finding]] = {
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


def _finding(check: str, faults: list[str], good: str) -> Finding:
    if faults:
        return Finding(check, CheckOutcome.FAILED, "; ".join(dict.fromkeys(faults)))
    return Finding(check, CheckOutcome.PASSED, good)
