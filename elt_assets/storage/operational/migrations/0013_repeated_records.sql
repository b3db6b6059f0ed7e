-- The sync whose records in the warehouse the newest settled sync only repeated.
ALTER TABLE integration_versions ADD COLUMN records_of TEXT;
