-- Finds the syncs that ended since a moment; the report queries them every half minute.
CREATE INDEX syncs_by_end ON syncs (finished_at);
CREATE INDEX syncs_by_decision ON syncs (decided_at) WHERE decided_at IS NOT NULL;
