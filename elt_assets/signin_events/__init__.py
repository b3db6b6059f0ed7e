"""Sign-in events: days of them from APIs and export files into one analytics warehouse."""
