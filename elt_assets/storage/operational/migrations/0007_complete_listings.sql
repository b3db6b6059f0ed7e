-- Whether a sync's listing was complete, as its certificate says.
ALTER TABLE syncs ADD COLUMN complete INTEGER NOT NULL DEFAULT 0;
UPDATE syncs SET complete = 1 WHERE certificate LIKE '{"complete":true%';
