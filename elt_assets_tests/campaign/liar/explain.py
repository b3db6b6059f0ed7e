"""Could an honest provider have said all this? The judge of what an observer can know.

Independent of the product: a listing shows a world, the people on its pages. It is asked whether
an honest provider of exactly these people, none of whom comes or goes, could have answered so.
"""

from __future__ import annotations

from elt_assets_tests.campaign.liar.provider import Paging
from elt_assets_tests.campaign.liar.reader import Reading


def fits(reading: Reading) -> bool:
    """Whether every answer is what an honest provider of the shown people could have sent.

    It lists each of them once, counts them right, sends no empty page before the last, and says
    that there is no more. Pages may be of any length: some providers filter what they have cut.
    """
    shown = reading.people
    if reading.failed or not reading.ended or len(set(shown)) != len(shown):
        return False
    pages = [asked.answer for asked in reading.asked]
    totals = [page.total for page in pages if page.total is not None]
    if any(total != len(shown) for total in totals):
        return False
    if not all(page.people for page in pages[:-1]):
        return False
    last = reading.asked[-1]
    # A count proves nothing on a full page: it may be that of the page, and there was one to ask.
    full = len(last.answer.people) >= max(len(page.people) for page in pages)
    # Numbers beyond the last page lead to it again at some, which two pages before it show.
    clamped = len(pages) > 2 and pages[-1].people == pages[-2].people != pages[0].people
    nothing_more = not last.answer.people or (bool(totals) and (clamped or not full))
    if reading.paging is Paging.CURSORS:
        following = last.answer.following
        # A last page may name its own place: some say so that there is nothing new yet.
        return following is None or (following == last.place and (nothing_more or bool(totals)))
    return nothing_more
