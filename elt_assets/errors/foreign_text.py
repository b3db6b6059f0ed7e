"""Make text from outside harmless for the place where it is shown.

Names, keys and error messages come from providers. Each must appear as plain text: no link to
click, no image to fetch, no mention, no colour. The module limits length and neutralizes links,
mentions, Markdown, and characters that control a terminal or reverse the reading order. Secrets and
personal data are redacted in `telemetry.logs`.
"""

from __future__ import annotations

import re

LONGEST = 8_000
"""The most characters of one error message; a database may send 200,000."""

SHOWN = 500
"""The most characters of a text in a list, an alert or a table."""

# C0 without newline, DEL and C1; soft hyphen, Arabic letter mark, Mongolian separator; zero width,
# marks and embeddings of direction, line separators, invisible operators, isolates; byte order
# mark, annotations, halves of surrogate pairs, tags. The joiners U+200C and U+200D are left out:
# some languages need them to spell names.
_ACTIVE = (
    "\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f"
)
_ACTIVE_CHARACTER = re.compile(f"[{_ACTIVE}]")
_SCHEME = re.compile(r"\b([a-zA-Z][a-zA-Z0-9+.-]{0,30}):(?=//)")
_BARE_SCHEME = re.compile(r"\b(javascript|vbscript|data|mailto|tel|file|sms):(?=\S)", re.IGNORECASE)
_WWW = re.compile(r"\bwww\.", re.IGNORECASE)
_HOST_AND_PATH = re.compile(r"(?<![\w/])((?:[\w-]+\.)+)([a-zA-Z]{2,24})(?=/)")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>()#!|~$&])")
_BLOCK = re.compile(r"^(\d{0,9})([-+=.])")
"""The characters that begin a list or a heading at the start of a line."""


def visible(text: str, most: int = LONGEST) -> str:
    """The text cut after `most` characters, with control and formatting characters escaped."""
    if len(text) > most:
        text = f"{text[:most]}… ({len(text) - most:,} more characters)"
    return _ACTIVE_CHARACTER.sub(_escaped, text)


def inert(text: str, most: int = SHOWN) -> str:
    """The text on one line, in which nothing is a link or a mention."""
    # Cut before it is split, because the text may have any length.
    whole = f"{text[:most]}… ({len(text) - most:,} more characters)" if len(text) > most else text
    line = visible(" ".join(whole.split()))
    line = _SCHEME.sub(r"\1[:]", line)
    line = _BARE_SCHEME.sub(r"\1[:]", line)
    line = _WWW.sub("www[.]", line)
    line = _HOST_AND_PATH.sub(lambda found: f"{found[1][:-1]}[.]{found[2]}", line)
    return line.replace("@", "[at]")


def markdown(text: str, most: int = SHOWN) -> str:
    """The text escaped for Markdown, so that it is shown as plain text."""
    return _BLOCK.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\1", inert(text, most)))


def json_text(document: str) -> str:
    """An equivalent JSON document in which control and formatting characters are escaped."""
    return _ACTIVE_CHARACTER.sub(_json_escaped, document)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", errors="surrogatepass").decode()


def _json_escaped(found: re.Match[str]) -> str:
    units = found[0].encode("utf-16-be", errors="surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
