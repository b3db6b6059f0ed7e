-- Seconds that the stages of a sync took in all attempts: the estimate for the next sync.
ALTER TABLE syncs ADD COLUMN seconds_extract REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_stage REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_detect REAL NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN seconds_apply REAL NOT NULL DEFAULT 0;
