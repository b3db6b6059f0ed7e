-- Finds the newest sync of a stream without reading all past ones.
CREATE INDEX syncs_in_order
    ON syncs (organization_id, connected_integration_id, stream, ordinal);
