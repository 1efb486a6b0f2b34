-- min-binary: 1
-- What the background audit found of a day (of the view's zone) of a version, the newest look. An older binary
-- neither writes nor shows it.
CREATE TABLE audits (
  version     INTEGER NOT NULL REFERENCES view_versions (id),
  day         TEXT NOT NULL,
  at          INTEGER NOT NULL,
  result      TEXT NOT NULL,
  n_rows      INTEGER NOT NULL,
  differences INTEGER NOT NULL,
  first       BLOB NOT NULL,
  PRIMARY KEY (version, day)
) STRICT;
