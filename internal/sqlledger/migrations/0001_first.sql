-- min-binary: 1
-- Types are SQLite's; the PostgreSQL dialect translates INTEGER, BLOB, the AUTOINCREMENT key and STRICT.
-- Times are microseconds since the epoch. Text that may hold U+0000 is a BLOB.

CREATE TABLE streams (
  name       TEXT PRIMARY KEY,
  created_at INTEGER NOT NULL
) STRICT;

-- One row a stream: the number that every sealing transaction compares.
CREATE TABLE catalogue (
  stream TEXT PRIMARY KEY REFERENCES streams (name),
  epoch  INTEGER NOT NULL
) STRICT;

CREATE TABLE schema_versions (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  stream     TEXT NOT NULL REFERENCES streams (name),
  version    INTEGER NOT NULL,
  definition BLOB NOT NULL,
  created_at INTEGER NOT NULL,
  UNIQUE (stream, version)
) STRICT;

CREATE TABLE logs (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  kind       TEXT NOT NULL,
  stream     TEXT NOT NULL REFERENCES streams (name),
  dead       INTEGER NOT NULL,
  cluster_id TEXT NOT NULL,
  topic_id   TEXT NOT NULL,
  topic      TEXT NOT NULL,
  schema_v   INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  closed_at  INTEGER,
  UNIQUE (kind, cluster_id, topic_id)
) STRICT;

CREATE TABLE partitions (
  log_id        INTEGER NOT NULL REFERENCES logs (id),
  part          INTEGER NOT NULL,
  start_offset  INTEGER,
  closing_live  INTEGER,
  closing_batch INTEGER,
  PRIMARY KEY (log_id, part)
) STRICT;

-- Event ids before next_offset are unknown to both units.
CREATE TABLE horizons (
  log_id      INTEGER NOT NULL,
  part        INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  set_at      INTEGER NOT NULL,
  PRIMARY KEY (log_id, part)
) STRICT;

CREATE TABLE views (
  name     TEXT PRIMARY KEY,
  stream   TEXT NOT NULL REFERENCES streams (name),
  metadata BLOB NOT NULL
) STRICT;

CREATE TABLE view_versions (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  view_name  TEXT NOT NULL REFERENCES views (name),
  hash       TEXT NOT NULL,
  definition BLOB NOT NULL,
  metadata   BLOB NOT NULL,
  state      TEXT NOT NULL,
  schema_v   INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  state_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX view_versions_view ON view_versions (view_name, id);

-- Offset vectors at which something begins to hold. kind: schema, view, day.
CREATE TABLE cuts (
  kind        TEXT NOT NULL,
  version     INTEGER NOT NULL,
  log_id      INTEGER NOT NULL,
  part        INTEGER NOT NULL,
  next_offset INTEGER NOT NULL,
  PRIMARY KEY (kind, version, log_id, part)
) STRICT;

CREATE TABLE positions (
  log_id      INTEGER NOT NULL,
  part        INTEGER NOT NULL,
  unit        TEXT NOT NULL,
  next_offset INTEGER NOT NULL,
  owner       INTEGER NOT NULL,
  owner_name  TEXT NOT NULL,
  PRIMARY KEY (log_id, part, unit),
  FOREIGN KEY (log_id, part) REFERENCES partitions (log_id, part)
) STRICT;

CREATE TABLE counts (
  log_id     INTEGER NOT NULL,
  part       INTEGER NOT NULL,
  unit       TEXT NOT NULL,
  n_rows     INTEGER NOT NULL,
  dead       INTEGER NOT NULL,
  duplicates INTEGER NOT NULL,
  gaps       INTEGER NOT NULL,
  lost       INTEGER NOT NULL,
  PRIMARY KEY (log_id, part, unit)
) STRICT;

-- state: open, sealed, cancelled. seal numbers sealed writes in the order of their transactions.
-- pending is how many lake files of a sealed stage no table holds yet.
CREATE TABLE writes (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  kind      TEXT NOT NULL,
  stream    TEXT NOT NULL,
  epoch     INTEGER NOT NULL,
  owner     TEXT NOT NULL,
  state     TEXT NOT NULL,
  opened_at INTEGER NOT NULL,
  ended_at  INTEGER,
  seal      INTEGER,
  pending   INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX writes_seal ON writes (seal);
CREATE INDEX writes_open ON writes (opened_at) WHERE state = 'open';
CREATE INDEX writes_ended ON writes (ended_at) WHERE state <> 'open';

-- The moves of sealed stages of which some file is not yet in its table.
CREATE TABLE stage_moves (
  write_id    INTEGER NOT NULL,
  log_id      INTEGER NOT NULL,
  part        INTEGER NOT NULL,
  from_offset INTEGER NOT NULL,
  to_offset   INTEGER NOT NULL,
  n_rows      INTEGER NOT NULL,
  dead        INTEGER NOT NULL,
  duplicates  INTEGER NOT NULL,
  gaps        INTEGER NOT NULL,
  lost        INTEGER NOT NULL,
  PRIMARY KEY (write_id, log_id, part)
) STRICT;
CREATE INDEX stage_moves_partition ON stage_moves (log_id, part, from_offset);

CREATE TABLE segments (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  version     INTEGER NOT NULL,
  tier        TEXT NOT NULL,
  from_bucket INTEGER NOT NULL,
  to_bucket   INTEGER NOT NULL,
  n_rows      INTEGER NOT NULL,
  source      TEXT NOT NULL,
  rolled      INTEGER NOT NULL,
  rolled_at   INTEGER,
  write_id    INTEGER NOT NULL REFERENCES writes (id),
  bytes       INTEGER NOT NULL,
  data        BLOB NOT NULL
) STRICT;
CREATE INDEX segments_range ON segments (version, tier, to_bucket, from_bucket);
CREATE INDEX segments_write ON segments (write_id);

-- Below from_bucket, rolled segments of a version's tier were dropped; earliest is the oldest bucket of them.
CREATE TABLE tier_floors (
  version     INTEGER NOT NULL,
  tier        TEXT NOT NULL,
  from_bucket INTEGER NOT NULL,
  earliest    INTEGER,
  PRIMARY KEY (version, tier)
) STRICT;

-- n is the number of the commit that the file belongs to; no number: not in an intent yet.
CREATE TABLE lake_files (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  write_id   INTEGER NOT NULL REFERENCES writes (id),
  table_name TEXT NOT NULL,
  path       TEXT NOT NULL,
  records    INTEGER NOT NULL,
  bytes      INTEGER NOT NULL,
  n          INTEGER,
  committed  INTEGER NOT NULL,
  entry      BLOB NOT NULL,
  UNIQUE (path)
) STRICT;
CREATE INDEX lake_files_table ON lake_files (table_name, committed, n);
CREATE INDEX lake_files_write ON lake_files (write_id);

CREATE TABLE lake_intents (
  table_name TEXT NOT NULL,
  n          INTEGER NOT NULL,
  id         TEXT NOT NULL UNIQUE,
  kind       TEXT NOT NULL,
  state      TEXT NOT NULL,
  snapshot   INTEGER NOT NULL,
  offsets    BLOB NOT NULL,
  opened_at  INTEGER NOT NULL,
  closed_at  INTEGER,
  PRIMARY KEY (table_name, n)
) STRICT;
CREATE UNIQUE INDEX lake_intents_open ON lake_intents (table_name) WHERE state = 'open';

-- keep: the first mark of its minute, kept for 90 days.
CREATE TABLE marks (
  stream TEXT NOT NULL,
  at     INTEGER NOT NULL,
  keep   INTEGER NOT NULL,
  ends   BLOB NOT NULL,
  PRIMARY KEY (stream, at)
) STRICT;
CREATE INDEX marks_thin ON marks (stream, at) WHERE keep = 0;

CREATE TABLE days (
  id        INTEGER PRIMARY KEY AUTOINCREMENT,
  stream    TEXT NOT NULL,
  zone      TEXT NOT NULL,
  day       TEXT NOT NULL,
  cut_at    INTEGER NOT NULL,
  landed_at INTEGER,
  totals    BLOB,
  UNIQUE (stream, zone, day)
) STRICT;

-- state: queued (its days are not listed yet), running, paused, failed, done, cancelled. log_id: of an
-- imported file alone.
CREATE TABLE backfills (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  version     INTEGER NOT NULL REFERENCES view_versions (id),
  engine      TEXT NOT NULL,
  state       TEXT NOT NULL,
  log_id      INTEGER,
  created_at  INTEGER NOT NULL,
  listed_at   INTEGER,
  finished_at INTEGER,
  plan        BLOB NOT NULL
) STRICT;
CREATE INDEX backfills_version ON backfills (version);

-- A day of the lake, UTC. state: queued, running, done, failed, cancelled. number is raised by each lease.
CREATE TABLE backfill_tasks (
  id           INTEGER PRIMARY KEY AUTOINCREMENT,
  backfill_id  INTEGER NOT NULL REFERENCES backfills (id),
  day          TEXT NOT NULL,
  state        TEXT NOT NULL,
  expect_rows  INTEGER NOT NULL,
  expect_bytes INTEGER NOT NULL,
  holder       TEXT NOT NULL,
  number       INTEGER NOT NULL,
  expires      INTEGER,
  tries        INTEGER NOT NULL,
  started_at   INTEGER,
  finished_at  INTEGER,
  n_rows       INTEGER NOT NULL,
  write_id     INTEGER,
  error        BLOB,
  UNIQUE (backfill_id, day)
) STRICT;
CREATE INDEX backfill_tasks_state ON backfill_tasks (state, day);

CREATE TABLE dead_groups (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  stream     TEXT NOT NULL,
  code       TEXT NOT NULL,
  path       BLOB NOT NULL,
  n          INTEGER NOT NULL,
  first_at   INTEGER NOT NULL,
  last_at    INTEGER NOT NULL,
  sample     BLOB NOT NULL,
  UNIQUE (stream, code, path)
) STRICT;

-- Only letters that somebody touched. state: open, replaying, replayed.
CREATE TABLE dead_letters (
  log_id        INTEGER NOT NULL,
  part          INTEGER NOT NULL,
  at_offset     INTEGER NOT NULL,
  state         TEXT NOT NULL,
  replay        INTEGER NOT NULL,
  ends          BLOB,
  target_log    INTEGER,
  target_part   INTEGER,
  target_offset INTEGER,
  changed_at    INTEGER NOT NULL,
  PRIMARY KEY (log_id, part, at_offset)
) STRICT;

CREATE TABLE leases (
  name    TEXT PRIMARY KEY,
  number  INTEGER NOT NULL,
  holder  TEXT NOT NULL,
  expires INTEGER NOT NULL
) STRICT;

CREATE TABLE api_keys (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL,
  hash       BLOB NOT NULL,
  scopes     TEXT NOT NULL,
  streams    TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;

-- Log-ins of the page.
CREATE TABLE sessions (
  id      TEXT PRIMARY KEY,
  key_id  TEXT NOT NULL REFERENCES api_keys (id),
  hash    BLOB NOT NULL,
  expires INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_key ON sessions (key_id);
