"""The interface for pages that differ from the form that the configuration describes."""

from __future__ import annotations

from elt_assets.connectors.mapping.expressions import Expression


class PageDialect:
    """Changes nothing. A subclass converts pages, and the expressions for them, to one form."""

    def body(self, body: bytes) -> bytes:
        """The body of an answer, in the form that the configuration describes."""
        return body

    def expression(self, expression: Expression) -> Expression:
        """An expression of the configuration, converted for such bodies."""
        return expression


AS_DESCRIBED = PageDialect()
