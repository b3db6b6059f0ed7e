"""Where the time of a fleet's syncs goes."""
