-- Further harmful changes that a sync withheld or applied, and its requests to the provider.
ALTER TABLE syncs ADD COLUMN withheld_updates INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN withheld_inserts INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN kept_rows INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN deactivations INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN losses INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN requests INTEGER NOT NULL DEFAULT 0;
ALTER TABLE syncs ADD COLUMN future_times INTEGER NOT NULL DEFAULT 0;
-- Changes of single rows that a person has rejected: neither applied nor withheld again until the
-- rejection ends.
CREATE TABLE rejected_changes (
    organization_id TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    id TEXT NOT NULL,
    change_type TEXT NOT NULL,
    sync_id TEXT NOT NULL,
    decided_by TEXT NOT NULL,
    decided_at TEXT NOT NULL,
    until TEXT NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id, stream, id, change_type)
);
