-- What proves that nothing is missing (walhook deliveries verify), and status that costs the same whatever waits.

ALTER TABLE {schema}.delivery ADD COLUMN again boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN {schema}.delivery.again IS 'logged again, as it was retried or replayed: its number was given out by an earlier row, which may be past retention. Every other row has a number of its own';

CREATE TABLE {schema}.past_epoch (
    epoch    bigint      PRIMARY KEY CHECK (epoch > 0),
    numbers  jsonb       NOT NULL CHECK (jsonb_typeof(numbers) = 'object'),
    ended_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE  {schema}.past_epoch IS 'Epochs that have ended (--adopt), with the last number of every endpoint''s sequence: without it nobody could tell whether the last ones are missing.';
COMMENT ON COLUMN {schema}.past_epoch.numbers IS 'endpoint -> the last number that was given out, as source.numbers was';

-- Found by name, so that status need not count the queue.
CREATE INDEX queue_retrying ON {schema}.queue (endpoint) WHERE attempts > 0;
CREATE INDEX lane_held      ON {schema}.lane (endpoint) WHERE held;

CREATE TABLE {schema}.dropped_partition (
    name       text        COLLATE "C" PRIMARY KEY,
    day        date        NOT NULL,
    reason     text        NOT NULL CHECK (reason IN ('age', 'size')),
    bytes      bigint      NOT NULL CHECK (bytes >= 0),
    dropped_at timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE  {schema}.dropped_partition IS 'Days of the log that retention has dropped: a row for each day of delivery and of attempt.';
COMMENT ON COLUMN {schema}.dropped_partition.reason IS 'age: state.retention had passed; size: the log had grown beyond state.retention_size, and this day was the oldest';

-- Both may hold millions of rows with large bodies, and lose many at once when somebody discards them: their room is to be used again before a fifth of them is dead.
ALTER TABLE {schema}.dead_letter SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
ALTER TABLE {schema}.parked      SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);
