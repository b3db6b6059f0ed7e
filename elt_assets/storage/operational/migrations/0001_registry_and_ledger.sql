-- The registry: connected integrations.
CREATE TABLE connected_integrations (
    organization_id TEXT NOT NULL,
    id              TEXT NOT NULL,
    provider        TEXT NOT NULL,
    provider_data   TEXT NOT NULL, -- JSON; secrets by reference only
    enabled         INTEGER NOT NULL DEFAULT 1,
    created_at      TEXT NOT NULL,
    updated_at      TEXT NOT NULL,
    removing        INTEGER NOT NULL DEFAULT 0, -- its removal has begun: nothing starts for it
    PRIMARY KEY (organization_id, id)
);

-- The ledger: one row for every sync of an integration's stream.
CREATE TABLE syncs (
    organization_id          TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream                   TEXT NOT NULL,
    sync_id                  TEXT NOT NULL,
    ordinal                  INTEGER NOT NULL, -- order in which the extractions began
    status                   TEXT NOT NULL,
    mode                     TEXT NOT NULL DEFAULT 'full',
    attempts                 INTEGER NOT NULL,
    run_id                   TEXT,
    fetched                  INTEGER NOT NULL DEFAULT 0,
    staged                   INTEGER NOT NULL DEFAULT 0,
    rejected                 INTEGER NOT NULL DEFAULT 0,
    duplicates               INTEGER NOT NULL DEFAULT 0,
    "unique"                 INTEGER NOT NULL DEFAULT 0,
    inserts                  INTEGER NOT NULL DEFAULT 0,
    updates                  INTEGER NOT NULL DEFAULT 0,
    deletes                  INTEGER NOT NULL DEFAULT 0,
    withheld_deletes         INTEGER NOT NULL DEFAULT 0,
    shielded_deletes         INTEGER NOT NULL DEFAULT 0,
    pending_deletes          INTEGER NOT NULL DEFAULT 0,
    tombstones               INTEGER NOT NULL DEFAULT 0,
    unchanged                INTEGER NOT NULL DEFAULT 0,
    latest_before            INTEGER NOT NULL DEFAULT 0,
    latest                   INTEGER NOT NULL DEFAULT 0,
    certificate              TEXT,             -- JSON
    reasons                  TEXT,             -- JSON, why deletes were withheld
    resumed_batches          INTEGER NOT NULL DEFAULT 0,
    batches                  INTEGER NOT NULL DEFAULT 0,
    version                  INTEGER,          -- of the latest table after this sync
    error                    TEXT,
    retryable                INTEGER NOT NULL DEFAULT 0,
    started_at               TEXT NOT NULL,
    finished_at              TEXT,
    decision                 TEXT,             -- of a person, about withheld deletes
    decided_by               TEXT,
    decided_at               TEXT,
    PRIMARY KEY (organization_id, connected_integration_id, stream, sync_id)
);

-- The error of every failed attempt, kept also when the sync succeeded later.
CREATE TABLE sync_errors (
    organization_id          TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream                   TEXT NOT NULL,
    sync_id                  TEXT NOT NULL,
    attempt                  INTEGER NOT NULL,
    error                    TEXT NOT NULL,
    failed_at                TEXT NOT NULL,
    PRIMARY KEY (organization_id, connected_integration_id, stream, sync_id, attempt)
);

CREATE INDEX syncs_by_time ON syncs (started_at);
CREATE INDEX syncs_unsettled ON syncs (status) WHERE status IN ('extracting', 'failed');

-- The state of one integration's latest table, which an apply compares and sets.
CREATE TABLE integration_versions (
    organization_id          TEXT NOT NULL,
    connected_integration_id TEXT NOT NULL,
    stream                   TEXT NOT NULL,
    version                  INTEGER NOT NULL, -- number of syncs that settled
    ordinal                  INTEGER NOT NULL, -- of the newest extraction that settled
    sync_id                  TEXT NOT NULL,
    settled_at               TEXT NOT NULL,
    watermark                TEXT,             -- newest change seen; incremental syncs begin here
    full_at                  TEXT,             -- when everything was last read completely
    PRIMARY KEY (organization_id, connected_integration_id, stream)
);
