-- Whoever works on an integration has a number that rises with every holder; what comes with a
-- smaller one is from a worker that was cut off and is back. Rows are there only where a lock can
-- be lost by a process that goes on.
CREATE TABLE integration_fences (
    organization_id TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    token INTEGER NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id)
);
