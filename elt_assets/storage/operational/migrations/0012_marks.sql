-- For a source that numbers changes instead of timing them: the mark at which the next sync begins.
ALTER TABLE integration_versions ADD COLUMN mark TEXT;
