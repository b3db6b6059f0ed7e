-- Finds the name that a new one would share its files with where case makes no difference.
CREATE INDEX connected_integrations_in_any_case
    ON connected_integrations (lower(organization_id), lower(id));

-- The sync whose kept records this one maps again instead of fetching; whoever continues it
-- after a crash knows no more of it than what is written here.
ALTER TABLE syncs ADD COLUMN again_of TEXT;
