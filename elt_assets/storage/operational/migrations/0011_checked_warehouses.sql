-- When the check of an integration's warehouse last held, and what it was then: one that has not
-- changed since need not be read again each day. A check that does not hold leaves no row.
CREATE TABLE checked_warehouses (
    organization_id          TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream                   TEXT NOT NULL,
    version                  INTEGER NOT NULL, -- of the latest table
    ordinal                  INTEGER NOT NULL, -- of the newest extraction that had settled
    written                  TEXT NOT NULL,    -- what shows that the file was written to since
    held_at                  TEXT NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id, stream)
);
