"""Files that lie on another machine: listed, fetched, and read here as those of a folder are."""
