-- The newest fencing token of each integration: a number that rises with every holder of its lease.
-- A write with a smaller token comes from a worker that lost its lease, and is refused. Only
-- integrations whose lock can be lost by a process that keeps running have a row.
CREATE TABLE integration_fences (
    organization_id TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id)
);
