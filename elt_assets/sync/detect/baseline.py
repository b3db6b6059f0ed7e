"""Rows that were stored while values had another form than today.

An empty text was kept where null stands now, and the members of an object had the provider's
order. Such a row is compared under the form of today: it is unchanged if it then equals the
record, and takes the new form with its next change.
"""

from __future__ import annotations

from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.streams import ColumnType, Stream


def forget_changes_of_form(warehouse: Warehouse, stream: Stream) -> None:
    """Take the updates out of found_changes whose row equals the record under today's form."""
    warehouse.execute(
        f"""
        DELETE FROM found_changes
        WHERE change_type = 'UPDATE' AND id IN (
            SELECT images.id
            FROM latest_images AS images
            JOIN current_records AS current ON current.id = images.id
            WHERE {_MAY_HAVE_ANOTHER_FORM} AND {_hash(stream)} = current.content_hash
        )
        """
    )


_MAY_HAVE_ANOTHER_FORM = """(
    contains(image::VARCHAR, '""')
    OR regexp_matches((image -> '/attributes')::VARCHAR, '.[{[]|[0-9][.eE]')
)"""
"""Cheap, and true of every row that has an empty text, something nested or a fraction."""


def _hash(stream: Stream) -> str:
    """SQL for the content hash that the row `image` would have if it were mapped today."""
    content = ", ".join(
        f"(image ->> '/{column.name}')::BOOLEAN::VARCHAR"
        if column.kind is ColumnType.BOOLEAN
        else f"nullif(image ->> '/{column.name}', '')"
        for column in stream.content
    )
    # `json` writes texts as the mapping does, whatever wrote the image.
    attributes = "json(canonical_members((image -> '/attributes')::VARCHAR))::VARCHAR"
    return f"md5(to_json([{content}, {attributes}])::VARCHAR)"
