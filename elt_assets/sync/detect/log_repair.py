"""Log repair: add the rows that the change log lacks when the latest table is ahead of it.

The table is ahead in three cases: a process died between applying and marking the log, so that only
the mark is missing; the warehouse file was lost or created again; a power failure truncated it. A
rebuild from a log without these rows would delete people. The missing rows are logged as a
baseline. `change_log.drop_unapplied` repairs a log that is ahead of the table.
"""

from __future__ import annotations

from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.state import change_log
from elt_assets.sync.streams import Stream


def repair_log(warehouse: Warehouse, stream: Stream, applied: int, now: str) -> None:
    """Make the log replay to `latest_rows` at version `applied`, and mark that version as applied.

    Call inside a transaction, when the log lacks the mark of `applied`.
    """
    names = [column.name for column in stream.columns]
    members = ", ".join(f"'{name}', {name}" for name in names)
    image = change_log.columns_of_image(stream.columns, "coalesce(latest.image, logged.image)")
    lacking = change_log.NewChanges(
        change_log.BASELINE,
        applied,
        select=f"""
            SELECT
                coalesce(latest.id, logged.id) AS id,
                {image},
                coalesce(latest.content_hash, logged.content_hash) AS content_hash,
                CASE
                    WHEN logged.id IS NULL THEN 'INSERT'
                    WHEN latest.id IS NULL THEN 'DELETE'
                    ELSE 'UPDATE'
                END AS change_type,
                logged.image AS "before"
            FROM latest_rows AS latest
            FULL JOIN (
                SELECT
                    id, content_hash,
                    json_object({members}, 'attributes', attributes) AS image
                FROM ({change_log.replayed(stream)})
            ) AS logged ON logged.id = latest.id
            WHERE latest.content_hash IS DISTINCT FROM logged.content_hash
        """,
        parameters={"applied": applied, "moment": change_log.EVER},
    )
    change_log.append(warehouse, stream, lacking, now)
    change_log.mark_applied(warehouse, stream, applied, change_log.BASELINE, now)
