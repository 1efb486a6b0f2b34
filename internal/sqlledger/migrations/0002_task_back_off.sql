-- min-binary: 1
-- A day that failed is left alone until not_before, later after each try. An older binary tries it at once.
ALTER TABLE backfill_tasks ADD COLUMN failed_at INTEGER;
ALTER TABLE backfill_tasks ADD COLUMN not_before INTEGER;
