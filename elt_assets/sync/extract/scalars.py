"""SQL that reads one scalar of a provider's record: a key, a boolean or a time.

Each function takes SQL for the value's text and for its JSON type as DuckDB names it, and
returns SQL that is NULL if the value cannot be read.
"""

from __future__ import annotations

SCALAR = "NOT IN ('OBJECT', 'ARRAY', 'BOOLEAN', 'NULL')"
"""The condition that a JSON type is that of a text or a number. It lists the other types, because
DuckDB turns a list of six constants into a join, which takes longer than mapping a thousand
records."""

LONGEST_KEY = 1_024
"""The most characters of a key."""

_EXACT = 2**53
"""Below this, every integer has an exact double; above it, two ids may become one."""

_SPACE = "chr(32) || chr(9) || chr(10) || chr(13) || chr(160)"

_FIRST, _LAST = (
    f"TIMESTAMPTZ '{moment}+00'" for moment in ("0001-01-01 00:00:00", "9999-12-31 23:59:59.999999")
)
"""The range of times that have a year of four digits, as the platform stores them."""

_ISO_PARTS = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone")
_ISO = (
    r"^(\d{4})-?(\d{2})-?(\d{2})(?:[T_ ]|, *)?(\d{2}):?(\d{2})(?::?(\d{2})(?:[.,](\d+))?)?"
    r" *(Z|UTC|GMT|[+-]\d{2}(?::?\d{2})?)?(?:\[[^\]]*\])?$"
)
"""Matches RFC 3339 with its exceptions and ISO 8601's basic format, both in capital letters."""


def key(text: str, form: str) -> str:
    """SQL for the text of a key, unchanged; a whole number has one text however it is written.

    A floating point number of 2^53 or more is not a key: it may be the id of several records.
    """
    number = f"abs(try_cast({text} AS DOUBLE))"
    whole = f"translate({text}, '0123456789', '') IN ('', '-')"
    return (
        f"CASE WHEN {form} {SCALAR} AND {text} <> '' AND NOT contains({text}, chr(0))"
        f" AND length({text}) <= {LONGEST_KEY}"
        f" THEN CASE WHEN {form} <> 'DOUBLE' OR {whole} THEN {text}"
        # A number that SQL's double cannot hold is infinite here.
        f" WHEN {number} < {_EXACT} AND ends_with({text}, '.0') THEN {text}[:-3]"
        f" WHEN {number} < {_EXACT} THEN {text} END END"
    )


def truth(text: str, form: str) -> str:
    """SQL for a boolean in the spellings that providers use; spaces around it are ignored."""
    spelled = f"lower(trim({text}, {_SPACE}))"
    return (
        f"CASE WHEN {form} NOT IN ('OBJECT', 'ARRAY', 'NULL')"
        f" THEN coalesce(try_cast({text} AS BOOLEAN), CASE"
        f" WHEN {spelled} = 'on' OR {spelled} = '1.0' THEN true"
        f" WHEN {spelled} = 'off' OR {spelled} = '0.0' THEN false"
        f" ELSE try_cast({spelled} AS BOOLEAN) END) END"
    )


def blank(text: str, form: str) -> str:
    """SQL for whether the value is missing, null, or a text of only spaces."""
    return (
        f"(coalesce({form}, 'NULL') = 'NULL'"
        f" OR ({form} = 'VARCHAR' AND trim({text}, {_SPACE}) = ''))"
    )


def zoned(text: str, form: str) -> str:
    """SQL for a time that DuckDB itself can read. A cast to TIMESTAMP would drop the offset."""
    return f"CASE WHEN {form} = 'VARCHAR' THEN try_cast({text} AS TIMESTAMPTZ) END"


def spelled(text: str, form: str, zoned: str) -> str:
    """SQL for a time in a format that DuckDB cannot read, rewritten in one that it can.

    The parameter `zoned` is a column with the result of the function `zoned`.
    """
    names = ", ".join(f"'{name}'" for name in _ISO_PARTS)
    parts = f"regexp_extract(upper(trim({text}, {_SPACE})), '{_ISO}', [{names}])"
    return (
        f"CASE WHEN {form} = 'VARCHAR' AND {zoned} IS NULL AND NOT {_of_digits(text)}"
        f" THEN list_transform([{parts}], lambda p: {_composed('p')})[1] END"
    )


def moment(text: str, form: str, zoned: str, spelled: str) -> str:
    """SQL for a time as TIMESTAMP in UTC; the session's time zone must be UTC.

    The value may be RFC 3339 or ISO 8601 (extended or basic, any offset, second 60), a date, or
    time since 1970 in seconds, milli-, micro- or nanoseconds, each as text or as a number. A time
    without an offset is UTC. `zoned` and `spelled` are columns with the results of those functions.
    """
    return (
        f"CASE WHEN {zoned} IS NOT NULL THEN CASE"
        f" WHEN {zoned} BETWEEN {_FIRST} AND {_LAST} THEN make_timestamp(epoch_us({zoned})) END"
        f" WHEN {form} = 'VARCHAR' AND NOT {_of_digits(text)}"
        f" THEN CASE WHEN {spelled} BETWEEN {_FIRST} AND {_LAST} THEN {spelled} END"
        f" WHEN {form} {SCALAR} THEN {_counted(text)} END"
    )


def _of_digits(text: str) -> str:
    # Not a regular expression, because DuckDB compiles each one for every batch, used or not.
    return f"translate(trim({text}, {_SPACE}), '0123456789.', '') = ''"


def _counted(text: str) -> str:
    """SQL for a time in digits: a date, a date with a time, or time since 1970 by its size."""
    digits = f"trim({text}, {_SPACE})"
    number = f"try_cast({text} AS DOUBLE)"
    return (
        # Numbers in these two ranges are not times since 1970: as seconds, the first would be in
        # August 1970; as milliseconds, the second would be after the year 2500.
        f"CASE WHEN length({digits}) = 8 AND {number} BETWEEN 19000000 AND 21999999"
        f" AND try_strptime({digits}, '%Y%m%d') IS NOT NULL THEN strptime({digits}, '%Y%m%d')"
        f" WHEN length({digits}) = 14 AND {number} BETWEEN 19e12 AND 22e12"
        f" AND try_strptime({digits}, '%Y%m%d%H%M%S') IS NOT NULL"
        f" THEN strptime({digits}, '%Y%m%d%H%M%S')"
        f" WHEN {number} BETWEEN 0 AND 1e11 THEN make_timestamp(({number} * 1e6)::BIGINT)"
        f" WHEN {number} BETWEEN 1e11 AND 1e14 THEN make_timestamp(({number} * 1e3)::BIGINT)"
        f" WHEN {number} BETWEEN 1e14 AND 1e17 THEN make_timestamp({number}::BIGINT)"
        f" WHEN {number} BETWEEN 1e17 AND 1e20 THEN make_timestamp(({number} / 1e3)::BIGINT)"
        f" END"
    )


def _composed(p: str) -> str:
    zone = (
        f"CASE WHEN length({p}.zone) = 5 THEN {p}.zone[1:3] || ':' || {p}.zone[4:5]"
        f" WHEN {p}.zone[1:1] IN ('+', '-') THEN {p}.zone ELSE 'Z' END"
    )
    # Second 60 is read as the first second of the next minute.
    seconds = (
        f"CASE {p}.second WHEN '' THEN '00' WHEN '60' THEN '59'"
        f" ELSE {p}.second || '.' || {p}.fraction[1:6] || '0' END"
    )
    written = (
        f"{p}.year || '-' || {p}.month || '-' || {p}.day || ' '"
        f" || {p}.hour || ':' || {p}.minute || ':' || {seconds} || {zone}"
    )
    return (
        f"CASE WHEN {p}.year <> '' THEN make_timestamp(epoch_us(try_cast({written} AS TIMESTAMPTZ))"
        f" + CASE {p}.second WHEN '60' THEN 1000000 ELSE 0 END) END"
    )
