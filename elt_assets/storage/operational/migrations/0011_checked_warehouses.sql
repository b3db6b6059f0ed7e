-- When an integration's warehouse last passed its audit, and its state then: a warehouse that has
-- not changed since need not be read again each day. A failed audit deletes the row.
CREATE TABLE checked_warehouses (
    organization_id          TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream                   TEXT NOT NULL,
    version                  INTEGER NOT NULL, -- of the latest table
    ordinal                  INTEGER NOT NULL, -- of the newest extraction that had settled
    written                  TEXT NOT NULL,    -- mark of the last write to the file, to detect later ones
    held_at                  TEXT NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id, stream)
);
