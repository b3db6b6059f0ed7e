"""The data that describe an emulator: one `Emulation` for each provider.

Texts in records, documents and headers hold `{n}`, the record's number, and `{url}`, the
server's address; `#` before digits or `{n}` makes a whole number. A description is a YAML file.
Its `error` is the form of the provider's errors, with places `{0}`, `{1}` and so on; the `error`
of an answer lists the texts for these places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
import yaml

Json = Any


@dataclass(frozen=True, slots=True)
class EmulatedAnswer:
    """An answer; `body` is JSON, or text that is sent as it is with a content type of its own.

    In headers `{reset}` is the epoch second and `{wait}` the seconds until a budget is refilled.
    """

    status: int = 200
    body: Json = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gate:
    """Where credentials are sent; `value` holds `{secret}`, or `{token}` of the token endpoint.

    With `basic`, `value` is a user name and a password for HTTP basic authentication. With
    `begins`, more text may follow `value`, such as a signature, which is not checked.
    """

    header: str
    value: str
    refused: EmulatedAnswer
    basic: bool = False
    begins: bool = False


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """Where tokens are issued: the fields that its form must have, `{secret}` among them.

    With `basic` the client's id and secret come by HTTP basic authentication. `answer`, which
    holds `{token}`, replaces the answer of OAuth 2.0.
    """

    path: str
    form: Mapping[str, str]
    refused: EmulatedAnswer
    basic: bool = False
    answer: Json = None


@dataclass(frozen=True, slots=True)
class Paging:
    """How a listing continues from page to page.

    `position` is the parameter that names a page and `counts` what it holds: the key of the
    last record, the number of the page or the number of the record. `lead` is where an answer
    names the next page: `link` (the Link header), `header NAME`, `body PATH`, `url PATH` (a
    whole address) or `path PATH` (one without the server), or `none`. On the last page a body has
    `last` at that path. `more` is the path of the value that says whether another page follows.
    Parameters of a JSON body are named by their paths. `total` may be a `header NAME`.
    """

    position: str
    counts: Literal["key", "page", "record"]
    lead: str
    size_param: str | None
    default: int
    most: int
    too_many: EmulatedAnswer | None = None
    """The answer to a larger page size; None: the size is reduced to `most`."""
    first: int = 0
    last: Json = None
    total: str | None = None
    more: str | None = None
    reach: int | None = None
    """How many records of a listing can be read in all."""
    beyond: EmulatedAnswer | None = None
    """The answer to a page beyond `reach`; None: an empty page."""
    total_ends_at_reach: bool = False


@dataclass(frozen=True, slots=True)
class Mask:
    """A parameter that chooses the fields of a record; without it, `default` fields are sent.

    `whole` masks (Google's) choose from the whole answer, as in `next,users(id,name)`.
    """

    param: str
    default: frozenset[str] | None = None
    always: frozenset[str] = frozenset()
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Single:
    """How one record is requested: `{key}` in the path or, with `param`, in the query."""

    path: str
    missing: EmulatedAnswer
    param: str | None = None
    within: str | None = None
    """Path of the record in the answer."""


@dataclass(frozen=True, slots=True)
class Filter:
    """A parameter of the listing that names records; the pattern `each` finds their keys in it."""

    param: str
    each: str
    most: int
    too_many: EmulatedAnswer


@dataclass(frozen=True, slots=True)
class State:
    """A state that a record can be in: its changes and, for an account, whether it is active."""

    name: str
    changes: Mapping[str, Json] = field(default_factory=dict)
    active: bool | None = True
    listed: bool = True
    expects: Mapping[str, Json] = field(default_factory=dict)
    """Fields of the mapped record that differ in this state."""


@dataclass(frozen=True, slots=True)
class Restriction:
    """A permission that the credentials lack, and what the provider then silently leaves out.

    `hides` are paths in a record, `every` keeps only each so-many-th record, `empties` leaves no
    record, `refuses` answers the listing, and `documents` and `headers` replace those of the
    emulation.
    """

    name: str
    hides: tuple[str, ...] = ()
    every: int = 1
    empties: bool = False
    refuses: EmulatedAnswer | None = None
    documents: Mapping[str, EmulatedAnswer] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    undetectable: str = ""
    """Why a first sync cannot detect it. Records that are known already must still be kept."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How many requests in how many seconds the documentation allows, and the answer beyond them.

    `requests` is None where no number is documented. `share` is what one client may use by
    default. Without `says_when` the answer does not say when to try again.
    """

    requests: float | None
    seconds: float
    refused: EmulatedAnswer
    share: float = 1.0
    says_when: bool = True


@dataclass(frozen=True, slots=True)
class EmulatedListing:
    """One listing: users, groups, or the members of one group.

    If `parent` is set, there is a list for each group: `{parent}` in `path`, or in a parameter at
    its end, is the value at the path `parent` of the group's record.
    """

    path: str
    key: str
    record: Mapping[str, Json]
    expects: Mapping[str, Json]
    paging: Paging
    parent: str | None = None
    states: tuple[State, ...] = (State("as usual"),)
    records: str = ""
    """Path of the list in a page; empty: the page is the list."""
    keyed: bool = False
    """Whether an object with each record under its key stands in the list's place."""
    posted: bool = False
    """Whether it is requested by POST."""
    shows: tuple[str, str, str] | None = None
    """A parameter, its default, and the path in a record that must have its value."""
    envelope: Mapping[str, Json] = field(default_factory=dict)
    omits_empty: bool = False
    """Whether a page without records has no list."""
    enveloped_by: tuple[str, str] | None = None
    """Parameter and value without which a page is the bare list."""
    single: Single | None = None
    filter: Filter | None = None
    mask: Mask | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    """Query parameters that the listing must have; `lacks` is the answer to a request without."""
    lacks: EmulatedAnswer = EmulatedAnswer(400, {"error": "a parameter is missing"})
    restrictions: tuple[Restriction, ...] = ()
    guarded: tuple[str, ...] = ("email", "name")
    """Fields that a sync under a restriction must not empty."""


@dataclass(frozen=True, slots=True)
class Emulation:
    """A provider as its documentation (`sources`, read on `read_on`) describes it."""

    provider: str
    read_on: str
    sources: tuple[str, ...]
    data: Mapping[str, Json]
    """provider_data that connects to it, with `{url}` and, for secrets, `{secret}`."""
    gate: Gate
    budget: Budget
    listings: Mapping[str, EmulatedListing]
    """By the name of the stream that reads it, users first."""
    token: TokenEndpoint | None = None
    required: Mapping[str, str] = field(default_factory=dict)
    """Headers that every request must have."""
    documents: Mapping[str, EmulatedAnswer] = field(default_factory=dict)
    """Answers at further addresses, by path."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every answer."""
    not_found: EmulatedAnswer = EmulatedAnswer(404, {"error": "not found"})


def described(provider: str, text: str) -> Emulation:
    """The emulation of a provider that a YAML file describes."""
    document = yaml.safe_load(text)
    form = document.pop("error", None)
    return msgspec.convert({"provider": provider, **_with_bodies(document, form)}, Emulation)


def _with_bodies(part: Json, form: Json) -> Json:
    """A copy in which each answer has a body instead of the texts of its error."""
    match part:
        case {"error": list(texts), **rest}:
            places = {str(place): text for place, text in enumerate(texts)}
            places["status"] = str(rest.get("status", 200))
            return {**rest, "body": _formed(form, places)}
        case dict():
            return {name: _with_bodies(inner, form) for name, inner in part.items()}
        case list():
            return [_with_bodies(inner, form) for inner in part]
    return part


def _formed(form: Json, places: Mapping[str, str]) -> Json:
    match form:
        case dict():
            return {name: _formed(inner, places) for name, inner in form.items()}
        case list():
            return [_formed(inner, places) for inner in form]
        case "#{status}":
            return int(places["status"])
        case str():
            for name, text in places.items():
                form = form.replace("{" + name + "}", text)
    return form
