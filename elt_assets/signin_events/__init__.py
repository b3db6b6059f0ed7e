"""Sign-in events: load them by day, from APIs and export files, into one analytics warehouse."""
