"""Extract records of sign-ins from providers' APIs and from export files."""
