CREATE TABLE state_machines (
  arn        TEXT PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  definition TEXT NOT NULL,
  created_at INTEGER NOT NULL           -- milliseconds since the Unix epoch, as all times here
) STRICT;
CREATE TABLE executions (
  id                INTEGER PRIMARY KEY,
  arn               TEXT NOT NULL UNIQUE,
  name              TEXT NOT NULL,
  state_machine_arn TEXT NOT NULL,
  processor         TEXT,               -- of a child: where its processor is in the definition
  map_run           INTEGER,            -- of a child
  item_index        INTEGER,            -- of a child, from 0
  input             TEXT NOT NULL,      -- JSON, as output and annotations
  annotations       TEXT NOT NULL,
  payload_bytes_max INTEGER,            -- NULL: no limit
  status            TEXT NOT NULL,
  output            TEXT,
  error             TEXT,
  cause             TEXT,
  started_at        INTEGER NOT NULL,
  stopped_at        INTEGER
) STRICT;
CREATE INDEX executions_by_map_run ON executions (map_run, item_index) WHERE map_run IS NOT NULL;
CREATE INDEX executions_by_name ON executions (name);
CREATE TABLE events (                   -- what happened; replayed after a crash
  execution INTEGER NOT NULL,
  sequence  INTEGER NOT NULL,
  at        INTEGER NOT NULL,
  event     TEXT NOT NULL,
  PRIMARY KEY (execution, sequence)
) STRICT, WITHOUT ROWID;
CREATE TABLE history (                  -- what people see; follows from the events
  execution   INTEGER NOT NULL,
  id          INTEGER NOT NULL,
  previous_id INTEGER NOT NULL,
  at          INTEGER NOT NULL,
  name        TEXT NOT NULL,
  details     TEXT NOT NULL,
  PRIMARY KEY (execution, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE map_runs (
  row        INTEGER PRIMARY KEY,
  arn        TEXT NOT NULL UNIQUE,
  execution  INTEGER NOT NULL,
  number     INTEGER NOT NULL,          -- which map run of that execution
  state      TEXT NOT NULL,
  item_count INTEGER NOT NULL,
  status     TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  stopped_at INTEGER
) STRICT;
CREATE INDEX map_runs_by_execution ON map_runs (execution);
CREATE TABLE invocations (              -- finished attempts, with the figures of their REPORT lines
  execution           INTEGER NOT NULL,
  task                INTEGER NOT NULL,
  function            TEXT NOT NULL,
  request_id          TEXT NOT NULL,
  log_stream          TEXT NOT NULL,
  duration_ms         REAL NOT NULL,
  billed_ms           INTEGER NOT NULL,
  memory_mib          INTEGER NOT NULL,
  max_memory_used_mib INTEGER NOT NULL,
  init_ms             REAL,
  error               TEXT,
  at                  INTEGER NOT NULL
) STRICT;
CREATE INDEX invocations_by_execution ON invocations (execution);
PRAGMA application_id = 0x73746172;
PRAGMA user_version = 1;
INSERT INTO state_machines VALUES
  ('arn:aws:states:us-east-1:000000000000:stateMachine:sky', 'sky',
   '{"StartAt": "Pause", "States": {"Pause": {"Type": "Wait", "Seconds": 5, "Next": "Done"}, "Done": {"Type": "Pass", "End": true}}}',
   1700000000000),
  ('arn:aws:states:us-east-1:000000000000:stateMachine:other', 'other',
   '{"StartAt": "P", "States": {"P": {"Type": "Pass", "End": true}}}', 1700000000001);
INSERT INTO executions (id, arn, name, state_machine_arn, input, annotations, status, output, started_at, stopped_at) VALUES
  (1, 'arn:aws:states:us-east-1:000000000000:execution:other:done', 'done',
   'arn:aws:states:us-east-1:000000000000:stateMachine:other', '{"z":1}', 'null', 'SUCCEEDED', '{"z":1}', 1700000001000, 1700000001001),
  (2, 'arn:aws:states:us-east-1:000000000000:execution:sky:interrupted', 'interrupted',
   'arn:aws:states:us-east-1:000000000000:stateMachine:sky', '{"z":2}', '{"concurrency":2}', 'RUNNING', NULL, 1700000002000, NULL);
INSERT INTO events VALUES
  (1, 0, 1700000001000, '{"type":"started"}'),
  (2, 0, 1700000002000, '{"type":"started"}');
INSERT INTO history VALUES
  (2, 1, 0, 1700000002000, 'ExecutionStarted', '{"input":{"z":2},"role_arn":"arn:aws:iam::000000000000:role/starmap"}'),
  (2, 2, 0, 1700000002000, 'WaitStateEntered', '{"name":"Pause","input":{"z":2}}');
