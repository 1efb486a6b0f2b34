-- min-binary: 1
-- kept_n is the commit of the lake's table logs that brings a closed log, from which on no other table has to keep it.

ALTER TABLE logs ADD COLUMN kept_n INTEGER;
CREATE INDEX logs_kept ON logs (kept_n);
CREATE INDEX cuts_log ON cuts (log_id, kind);
