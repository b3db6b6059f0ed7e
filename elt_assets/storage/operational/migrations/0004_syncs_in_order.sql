-- The newest sync of an integration's stream without reading all of its past ones.
CREATE INDEX syncs_in_order
    ON syncs (organization_id, connected_integration_id, stream, ordinal);
