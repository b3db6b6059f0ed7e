"""Records of sign-ins from providers' APIs and from export files."""
