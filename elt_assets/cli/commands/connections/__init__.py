"""Commands about what is connected, and by what."""
