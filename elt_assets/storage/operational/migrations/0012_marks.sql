-- Where a source of changes by number, and not by time, reads on: its mark of the last reading.
ALTER TABLE integration_versions ADD COLUMN mark TEXT;
