"""The HTTP side of the embedded provider."""
