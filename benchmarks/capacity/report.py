"""The capacity that fleets need, as a Markdown table."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.capacity.costs import CATALOG_PROCESSORS, EVENTS_OF_AN_INTEGRATION, Costs, Fleet
from benchmarks.capacity.simulation import enough, night
from benchmarks.results import markdown_table

_WHAT = """\
A simulation from measured costs: {changed:.0f} ms of a worker's processor for a changed
integration and {unchanged:.0f} ms for an unchanged one; for a changed one {reading:.0f} ms of the
catalog's server, {reading_more:.0f} ms more for every 1,000 integrations in the lake, and two
commits of {commit:.0f} ms; {event:.1f} ms of Dagster's event log for one of {events} events.
Workers have one processor and {slots} slots, the catalog's server has {processors} processors.
{share:.0%} of the integrations have changed, and a provider takes {waiting:.1f} s for each.
"""


def table(
    sizes: Sequence[int], costs: Costs, *, hours: float, changed: float, waiting: float, slots: int
) -> str:
    """For each size, the fewest workers that are enough, and how busy each part is."""
    rows = []
    for size in sizes:
        fleet = Fleet(size, changed, waiting)
        found = enough(fleet, costs, hours * 3600, slots)
        if found is None:
            most = night(fleet, costs, 64, slots)
            workers, what = "none is enough", most
        else:
            workers, what = f"{found[0]}", found[1]
        rows.append(
            (
                f"{size:,}",
                workers,
                f"{what.seconds / 3600:.2f} h",
                *(
                    f"{share:.0%}"
                    for share in (what.workers, what.server, what.commits, what.instance)
                ),
                what.bottleneck,
            )
        )
    head = (
        "integrations in one lake",
        "workers",
        "takes",
        "workers busy",
        "catalog's server",
        "commits",
        "Dagster's log",
        "bottleneck",
    )
    said = _WHAT.format(
        changed=costs.changed * 1000,
        unchanged=costs.unchanged * 1000,
        commit=costs.commit * 1000,
        reading=costs.reading * 1000,
        reading_more=costs.reading_each * 1_000_000,
        processors=CATALOG_PROCESSORS,
        event=costs.event * 1000,
        events=EVENTS_OF_AN_INTEGRATION,
        slots=slots,
        share=changed,
        waiting=waiting,
    )
    return (
        f"# Workers for a night of {hours:g} hours\n\n{said}\n{markdown_table(head, rows)}\n"
        "Made by `python -m benchmarks capacity` from `lake.json`.\n"
    )
