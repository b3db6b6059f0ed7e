-- How long the stages of a sync took, all attempts together: what the next one is expected to take.
ALTER TABLE syncs ADD COLUMN seconds_extract REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_stage REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_detect REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_apply REAL NOT NULL DEFAULT 0;
