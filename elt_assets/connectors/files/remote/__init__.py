"""Files on another machine: listed, fetched, and then read like files of a local folder."""
