-- Finds a name that differs from a new one only in case: some file systems would keep both in one file.
CREATE INDEX connected_integrations_in_any_case
    ON connected_integrations (lower(organization_id), lower(id));

-- The sync whose kept records this one maps again instead of fetching. A process that continues it
-- after a crash has no other source for this.
ALTER TABLE syncs ADD COLUMN again_of TEXT;
