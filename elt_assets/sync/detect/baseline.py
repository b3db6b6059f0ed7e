"""Rows that an earlier release stored in another form than the current one.

An earlier release stored empty texts where null is stored now, and kept the provider's order of an
object's members. Such a row is converted to the current form for the comparison. If it then equals
the record, it is unchanged; it is stored in the current form with its next change.
"""

from __future__ import annotations

from elt_assets.storage.warehouse.warehouse import Warehouse
from elt_assets.sync.streams import ColumnType, Stream


def forget_changes_of_form(warehouse: Warehouse, stream: Stream) -> None:
    """Delete from found_changes the updates whose row, in the current form, equals the record."""
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
"""A cheap condition that is true for every row with an empty text, a nested value or a fraction."""


def _hash(stream: Stream) -> str:
    """SQL for the content hash that the row `image` would have in the current form."""
    content = ", ".join(
        f"(image ->> '/{column.name}')::BOOLEAN::VARCHAR"
        if column.kind is ColumnType.BOOLEAN
        else f"nullif(image ->> '/{column.name}', '')"
        for column in stream.content
    )
    # `json` writes texts as the mapping does, whichever database wrote the image.
    attributes = "json(canonical_members((image -> '/attributes')::VARCHAR))::VARCHAR"
    return f"md5(to_json([{content}, {attributes}])::VARCHAR)"
