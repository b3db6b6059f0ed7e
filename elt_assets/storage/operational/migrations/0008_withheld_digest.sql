-- Which changes a sync withheld, as one value: equal for the same rows and types of change.
ALTER TABLE syncs ADD COLUMN withheld_digest TEXT NOT NULL DEFAULT '';
