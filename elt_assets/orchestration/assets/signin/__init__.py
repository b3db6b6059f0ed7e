"""The assets of sign-in events."""
