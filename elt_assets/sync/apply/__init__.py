"""Apply logged changes to the latest table; undo a sync; rebuild the table from the log."""
