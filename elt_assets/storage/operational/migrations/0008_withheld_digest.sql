-- A digest of the changes that a sync withheld: equal for the same rows and types of change.
ALTER TABLE syncs ADD COLUMN withheld_digest TEXT NOT NULL DEFAULT '';
