PRAGMA application_id = 1937006962;
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE activities (
  arn        TEXT PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  settings   TEXT NOT NULL,             -- JSON
  created_at INTEGER NOT NULL
) STRICT;
CREATE TABLE aliases (
  arn               TEXT PRIMARY KEY,
  name              TEXT NOT NULL,
  state_machine_arn TEXT NOT NULL,
  description       TEXT,
  routes            TEXT NOT NULL,      -- JSON: [[version ARN, weight], …]
  created_at        INTEGER NOT NULL,
  updated_at        INTEGER NOT NULL
) STRICT;
CREATE TABLE executions (
  id                INTEGER PRIMARY KEY,
  arn               TEXT NOT NULL UNIQUE,
  name              TEXT NOT NULL,
  state_machine_arn TEXT NOT NULL,
  revision          INTEGER NOT NULL,   -- what the state machine was then
  version_arn       TEXT,               -- if it was started by one
  alias_arn         TEXT,               -- if it was started by one
  kind              TEXT NOT NULL,      -- STANDARD or EXPRESS
  trace_header      TEXT,
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
  stopped_at        INTEGER,
  redrive_count     INTEGER NOT NULL,
  redriven_at       INTEGER
) STRICT;
INSERT INTO "executions" VALUES(1,'arn:aws:states:us-east-1:000000000000:execution:sky:failed','failed','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,NULL,NULL,NULL,'{"items":[{"n":0},{"n":1},{"n":2}]}','{"inputText":"{\"items\": [{\"n\": 0}, {\"n\": 1}, {\"n\": 2}]}"}',262144,'FAILED',NULL,'States.ExceedToleratedFailureThreshold','The specified tolerated failure threshold was exceeded',1795790692442,1795790692443,0,NULL);
INSERT INTO "executions" VALUES(2,'arn:aws:states:us-east-1:000000000000:execution:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:0d76a126-4a9c-8eea-9afd-affdb1bd47f0','0d76a126-4a9c-8eea-9afd-affdb1bd47f0','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,'/States/Map/ItemProcessor',1,0,'{"n":0}','null',262144,'SUCCEEDED','{"n":0}',NULL,NULL,1795790692442,1795790692442,0,NULL);
INSERT INTO "executions" VALUES(3,'arn:aws:states:us-east-1:000000000000:execution:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:6080c1e2-f687-87d3-86ab-501ffd0aa537','6080c1e2-f687-87d3-86ab-501ffd0aa537','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,'/States/Map/ItemProcessor',1,1,'{"n":1}','null',262144,'FAILED',NULL,'Lambda.ResourceNotFoundException','Function not found: arn:aws:lambda:us-east-1:000000000000:function:f (Service: Lambda, Status Code: 404, Request ID: 84b305d3-64bf-4a53-ad8c-2e4e68ac2cae) (SDK Attempt Count: 1)',1795790692442,1795790692443,0,NULL);
INSERT INTO "executions" VALUES(4,'arn:aws:states:us-east-1:000000000000:execution:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:f9d25433-600b-868d-ae34-b96f0e6115c4','f9d25433-600b-868d-ae34-b96f0e6115c4','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,'/States/Map/ItemProcessor',1,2,'{"n":2}','null',262144,'SUCCEEDED','{"n":2}',NULL,NULL,1795790692442,1795790692442,0,NULL);
INSERT INTO "executions" VALUES(5,'arn:aws:states:us-east-1:000000000000:execution:sky:done','done','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,NULL,NULL,NULL,'{"items":[{"n":5}]}','{"inputText":"{\"items\": [{\"n\": 5}]}"}',262144,'SUCCEEDED','[{"n":5}]',NULL,NULL,1795790692444,1795790692444,0,NULL);
INSERT INTO "executions" VALUES(6,'arn:aws:states:us-east-1:000000000000:execution:sky/0bab565a-2f49-8d63-9cd6-a3d2c9600d82:076355ea-fa95-8bb1-a340-81c60d13af5c','076355ea-fa95-8bb1-a340-81c60d13af5c','arn:aws:states:us-east-1:000000000000:stateMachine:sky',1,NULL,NULL,'STANDARD',NULL,'/States/Map/ItemProcessor',2,0,'{"n":5}','null',262144,'SUCCEEDED','{"n":5}',NULL,NULL,1795790692444,1795790692444,0,NULL);
INSERT INTO "executions" VALUES(7,'arn:aws:states:us-east-1:000000000000:execution:rest:interrupted','interrupted','arn:aws:states:us-east-1:000000000000:stateMachine:rest',2,NULL,NULL,'STANDARD',NULL,NULL,NULL,NULL,'{"z":2}','{"inputText":"{\"z\": 2}"}',262144,'RUNNING',NULL,NULL,NULL,1795790692445,NULL,0,NULL);
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
CREATE TABLE log (                      -- one row per execution and batch; see the views below
  execution   INTEGER NOT NULL,
  chunk       INTEGER NOT NULL,         -- from 0
  sequence    INTEGER NOT NULL,         -- of its first event
  event_count INTEGER NOT NULL,
  events      TEXT NOT NULL,            -- what happened, replayed after a crash: [[at, {...}], ...]
  first_id    INTEGER NOT NULL,         -- of the history; 0 if nothing was added to it
  last_id     INTEGER NOT NULL,
  history     TEXT NOT NULL,            -- what people see, follows from the events: [[id, previous_id, at, name, {...}], ...]
  PRIMARY KEY (execution, chunk)
) STRICT, WITHOUT ROWID;
INSERT INTO "log" VALUES(1,0,0,2,'[[1795790692442,{"type":"started"}],[1795790692442,{"type":"map_run_started","map_run":1,"arn":"arn:aws:states:us-east-1:000000000000:mapRun:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:e5a6df54-d42f-89fc-965f-805697e54456"}]]',1,4,'[[1,0,1795790692442,"ExecutionStarted",{"text":"{\"items\": [{\"n\": 0}, {\"n\": 1}, {\"n\": 2}]}","input":{"items":[{"n":0},{"n":1},{"n":2}]},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692442,"MapStateEntered",{"text":"{\"items\": [{\"n\": 0}, {\"n\": 1}, {\"n\": 2}]}","name":"Map","input":{"items":[{"n":0},{"n":1},{"n":2}]}}],[3,2,1795790692442,"MapStateStarted",{"length":3}],[4,3,1795790692442,"MapRunStarted",{"map_run_arn":"arn:aws:states:us-east-1:000000000000:mapRun:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:e5a6df54-d42f-89fc-965f-805697e54456"}]]');
INSERT INTO "log" VALUES(1,1,2,1,'[[1795790692443,{"type":"map_run_failed","map_run":1,"error":"States.ExceedToleratedFailureThreshold","cause":"The specified tolerated failure threshold was exceeded"}]]',5,7,'[[5,4,1795790692443,"MapRunFailed",{"error":"States.ExceedToleratedFailureThreshold","cause":"The specified tolerated failure threshold was exceeded"}],[6,5,1795790692443,"MapStateFailed",{}],[7,6,1795790692443,"ExecutionFailed",{"error":"States.ExceedToleratedFailureThreshold","cause":"The specified tolerated failure threshold was exceeded"}]]');
INSERT INTO "log" VALUES(2,0,0,1,'[[1795790692442,{"type":"started"}]]',1,6,'[[1,0,1795790692442,"ExecutionStarted",{"input":{"n":0},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692442,"ChoiceStateEntered",{"name":"Is","input":{"n":0}}],[3,2,1795790692442,"ChoiceStateExited",{"name":"Is","output":{"n":0}}],[4,3,1795790692442,"PassStateEntered",{"name":"Good","input":{"n":0}}],[5,4,1795790692442,"PassStateExited",{"name":"Good","output":{"n":0}}],[6,5,1795790692442,"ExecutionSucceeded",{"output":{"n":0}}]]');
INSERT INTO "log" VALUES(3,0,0,1,'[[1795790692442,{"type":"started"}]]',1,5,'[[1,0,1795790692442,"ExecutionStarted",{"input":{"n":1},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692442,"ChoiceStateEntered",{"name":"Is","input":{"n":1}}],[3,2,1795790692442,"ChoiceStateExited",{"name":"Is","output":{"n":1}}],[4,3,1795790692442,"TaskStateEntered",{"name":"Bad","input":{"n":1}}],[5,4,1795790692442,"LambdaFunctionScheduled",{"resource":"arn:aws:lambda:us-east-1:000000000000:function:f","input":{"n":1}}]]');
INSERT INTO "log" VALUES(3,1,1,1,'[[1795790692443,{"type":"task_failed","task":1,"error":"Lambda.ResourceNotFoundException","cause":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:f (Service: Lambda, Status Code: 404, Request ID: 84b305d3-64bf-4a53-ad8c-2e4e68ac2cae) (SDK Attempt Count: 1)"}]]',6,7,'[[6,5,1795790692443,"LambdaFunctionFailed",{"error":"Lambda.ResourceNotFoundException","cause":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:f (Service: Lambda, Status Code: 404, Request ID: 84b305d3-64bf-4a53-ad8c-2e4e68ac2cae) (SDK Attempt Count: 1)"}],[7,6,1795790692443,"ExecutionFailed",{"error":"Lambda.ResourceNotFoundException","cause":"Function not found: arn:aws:lambda:us-east-1:000000000000:function:f (Service: Lambda, Status Code: 404, Request ID: 84b305d3-64bf-4a53-ad8c-2e4e68ac2cae) (SDK Attempt Count: 1)"}]]');
INSERT INTO "log" VALUES(4,0,0,1,'[[1795790692442,{"type":"started"}]]',1,6,'[[1,0,1795790692442,"ExecutionStarted",{"input":{"n":2},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692442,"ChoiceStateEntered",{"name":"Is","input":{"n":2}}],[3,2,1795790692442,"ChoiceStateExited",{"name":"Is","output":{"n":2}}],[4,3,1795790692442,"PassStateEntered",{"name":"Good","input":{"n":2}}],[5,4,1795790692442,"PassStateExited",{"name":"Good","output":{"n":2}}],[6,5,1795790692442,"ExecutionSucceeded",{"output":{"n":2}}]]');
INSERT INTO "log" VALUES(5,0,0,3,'[[1795790692444,{"type":"started"}],[1795790692444,{"type":"map_run_started","map_run":1,"arn":"arn:aws:states:us-east-1:000000000000:mapRun:sky/0bab565a-2f49-8d63-9cd6-a3d2c9600d82:2ed7a30c-1ac0-8abf-878d-adac14f3849f"}],[1795790692444,{"type":"map_run_succeeded","map_run":1,"output":[{"n":5}]}]]',1,8,'[[1,0,1795790692444,"ExecutionStarted",{"text":"{\"items\": [{\"n\": 5}]}","input":{"items":[{"n":5}]},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692444,"MapStateEntered",{"text":"{\"items\": [{\"n\": 5}]}","name":"Map","input":{"items":[{"n":5}]}}],[3,2,1795790692444,"MapStateStarted",{"length":1}],[4,3,1795790692444,"MapRunStarted",{"map_run_arn":"arn:aws:states:us-east-1:000000000000:mapRun:sky/0bab565a-2f49-8d63-9cd6-a3d2c9600d82:2ed7a30c-1ac0-8abf-878d-adac14f3849f"}],[5,4,1795790692444,"MapRunSucceeded",{}],[6,5,1795790692444,"MapStateSucceeded",{}],[7,5,1795790692444,"MapStateExited",{"name":"Map","output":[{"n":5}]}],[8,7,1795790692444,"ExecutionSucceeded",{"output":[{"n":5}]}]]');
INSERT INTO "log" VALUES(6,0,0,1,'[[1795790692444,{"type":"started"}]]',1,6,'[[1,0,1795790692444,"ExecutionStarted",{"input":{"n":5},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692444,"ChoiceStateEntered",{"name":"Is","input":{"n":5}}],[3,2,1795790692444,"ChoiceStateExited",{"name":"Is","output":{"n":5}}],[4,3,1795790692444,"PassStateEntered",{"name":"Good","input":{"n":5}}],[5,4,1795790692444,"PassStateExited",{"name":"Good","output":{"n":5}}],[6,5,1795790692444,"ExecutionSucceeded",{"output":{"n":5}}]]');
INSERT INTO "log" VALUES(7,0,0,1,'[[1795790692445,{"type":"started"}]]',1,2,'[[1,0,1795790692445,"ExecutionStarted",{"text":"{\"z\": 2}","input":{"z":2},"role_arn":"arn:aws:iam::000000000000:role/r"}],[2,0,1795790692445,"WaitStateEntered",{"text":"{\"z\": 2}","name":"W","input":{"z":2}}]]');
CREATE TABLE map_run_details (
  row     INTEGER PRIMARY KEY,
  details TEXT NOT NULL                 -- JSON
) STRICT;
INSERT INTO "map_run_details" VALUES(1,'{"label":"150a17f0-42c2-8f9a-b45b-a600e2ad87e7","max_concurrency":0,"tolerated_failure_count":0,"tolerated_failure_percentage":null,"items":[0,0,2,1,0,0],"children":[0,0,2,1,0,0],"etag":null,"redrive_count":0,"redriven_at":null}');
INSERT INTO "map_run_details" VALUES(2,'{"label":"0bab565a-2f49-8d63-9cd6-a3d2c9600d82","max_concurrency":0,"tolerated_failure_count":0,"tolerated_failure_percentage":null,"items":[0,0,1,0,0,0],"children":[0,0,1,0,0,0],"etag":null,"redrive_count":0,"redriven_at":null}');
CREATE TABLE map_runs (
  row        INTEGER PRIMARY KEY,
  arn        TEXT NOT NULL UNIQUE,
  execution  INTEGER NOT NULL,
  number     INTEGER NOT NULL,          -- which map run of that execution
  state      TEXT NOT NULL,
  item_count INTEGER NOT NULL,          -- known so far
  status     TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  stopped_at INTEGER
) STRICT;
INSERT INTO "map_runs" VALUES(1,'arn:aws:states:us-east-1:000000000000:mapRun:sky/150a17f0-42c2-8f9a-b45b-a600e2ad87e7:e5a6df54-d42f-89fc-965f-805697e54456',1,1,'Map',3,'FAILED',1795790692442,1795790692443);
INSERT INTO "map_runs" VALUES(2,'arn:aws:states:us-east-1:000000000000:mapRun:sky/0bab565a-2f49-8d63-9cd6-a3d2c9600d82:2ed7a30c-1ac0-8abf-878d-adac14f3849f',5,1,'Map',1,'SUCCEEDED',1795790692444,1795790692444);
CREATE TABLE revisions (                -- never changed, never removed: executions refer to them
  row               INTEGER PRIMARY KEY,
  state_machine_arn TEXT NOT NULL,
  name              TEXT NOT NULL,
  kind              TEXT NOT NULL,
  id                TEXT,               -- NULL: the first one
  definition        TEXT NOT NULL,
  role_arn          TEXT NOT NULL,
  settings          TEXT NOT NULL,      -- JSON
  created_at        INTEGER NOT NULL
) STRICT;
INSERT INTO "revisions" VALUES(1,'arn:aws:states:us-east-1:000000000000:stateMachine:sky','sky','STANDARD',NULL,'{"StartAt": "Map", "States": {"Map": {"Type": "Map", "ItemsPath": "$.items", "ItemProcessor": {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Is", "States": {"Is": {"Type": "Choice", "Choices": [{"Variable": "$.n", "NumericEquals": 1, "Next": "Bad"}], "Default": "Good"}, "Good": {"Type": "Pass", "End": true}, "Bad": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:000000000000:function:f", "End": true}}}, "ToleratedFailureCount": 0, "End": true}}}','arn:aws:iam::000000000000:role/r','{}',1795790692440);
INSERT INTO "revisions" VALUES(2,'arn:aws:states:us-east-1:000000000000:stateMachine:rest','rest','STANDARD',NULL,'{"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 300, "Next": "P"}, "P": {"Type": "Pass", "End": true}}}','arn:aws:iam::000000000000:role/r','{}',1795790692441);
CREATE TABLE state_machines (
  arn          TEXT PRIMARY KEY,
  name         TEXT NOT NULL UNIQUE,
  kind         TEXT NOT NULL,           -- STANDARD or EXPRESS
  revision     INTEGER NOT NULL,        -- what executions that start now run
  last_version INTEGER NOT NULL,
  created_at   INTEGER NOT NULL,
  updated_at   INTEGER NOT NULL
) STRICT;
INSERT INTO "state_machines" VALUES('arn:aws:states:us-east-1:000000000000:stateMachine:sky','sky','STANDARD',1,0,1795790692440,1795790692440);
INSERT INTO "state_machines" VALUES('arn:aws:states:us-east-1:000000000000:stateMachine:rest','rest','STANDARD',2,0,1795790692441,1795790692441);
CREATE TABLE tags (
  arn      TEXT NOT NULL,
  position INTEGER NOT NULL,
  key      TEXT NOT NULL,
  value    TEXT NOT NULL,
  PRIMARY KEY (arn, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE versions (
  arn               TEXT PRIMARY KEY,
  state_machine_arn TEXT NOT NULL,
  number            INTEGER NOT NULL,
  revision          INTEGER NOT NULL,
  description       TEXT,
  created_at        INTEGER NOT NULL
) STRICT;
CREATE INDEX executions_by_map_run ON executions (map_run, item_index) WHERE map_run IS NOT NULL;
CREATE INDEX executions_by_name ON executions (name) WHERE map_run IS NULL;
CREATE INDEX executions_by_machine ON executions (state_machine_arn, id) WHERE map_run IS NULL;
CREATE INDEX map_runs_by_execution ON map_runs (execution);
CREATE INDEX invocations_by_execution ON invocations (execution);
CREATE VIEW events AS
  SELECT execution, sequence + key AS sequence, value ->> 0 AS at, value -> 1 AS event
  FROM log, json_each(events);
CREATE VIEW history AS
  SELECT execution, value ->> 0 AS id, value ->> 1 AS previous_id, value ->> 2 AS at, value ->> 3 AS name,
         value -> 4 AS details
  FROM log, json_each(history);
COMMIT;
