"""How a provider's pages differ from what the configuration describes."""

from __future__ import annotations

from elt_assets.connectors.mapping.expressions import Expression


class PageDialect:
    """No difference. A subclass brings pages, and the expressions that read them, to one form."""

    def body(self, body: bytes) -> bytes:
        """The body of an answer, in the form that the configuration describes."""
        return body

    def expression(self, expression: Expression) -> Expression:
        """An expression of the configuration, for bodies in that form."""
        return expression


AS_DESCRIBED = PageDialect()
