-- What rules on schedule have seen.

CREATE TABLE {schema}.schedule (
    rule        text        COLLATE "C" PRIMARY KEY,
    condition   text        NOT NULL,
    set_at      timestamptz NOT NULL,
    run_at      timestamptz,
    done_to     bigint,
    stock       boolean     NOT NULL DEFAULT false,
    ended_at    timestamptz,
    next_at     timestamptz,
    rows_read   bigint      NOT NULL DEFAULT 0 CHECK (rows_read >= 0),
    fired       bigint      NOT NULL DEFAULT 0 CHECK (fired >= 0),
    runs        bigint      NOT NULL DEFAULT 0 CHECK (runs >= 0),
    fired_total bigint      NOT NULL DEFAULT 0 CHECK (fired_total >= 0),
    error       text,
    error_at    timestamptz,
    seen_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT schedule_running CHECK (done_to IS NULL OR run_at IS NOT NULL AND ended_at IS NULL),
    CONSTRAINT schedule_error CHECK ((error IS NULL) = (error_at IS NULL))
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);

COMMENT ON TABLE  {schema}.schedule IS 'Rules on schedule: when each last looked for records, and how far it has come. A run that was cut short goes on where it stood. The row goes with its crossings 30 days after the rule was last in the configuration.';
COMMENT ON COLUMN {schema}.schedule.condition IS 'the table and the condition that the crossings are of; when the rule has another one, it begins anew';
COMMENT ON COLUMN {schema}.schedule.set_at IS 'the time of its timetable that was served last: it is due again when a later one has passed';
COMMENT ON COLUMN {schema}.schedule.run_at IS 'when the last run began: its now(), and part of the ids of its deliveries; null before the first one';
COMMENT ON COLUMN {schema}.schedule.done_to IS 'records up to this id are done; null when no run is under way';
COMMENT ON COLUMN {schema}.schedule.stock IS 'the run only takes down what holds already (first = "skip")';
COMMENT ON COLUMN {schema}.schedule.rows_read IS 'of the last run, as fired; total of all runs: runs, fired_total';
COMMENT ON COLUMN {schema}.schedule.error IS 'why the last run failed or could not begin; null once one has come through';

CREATE TABLE {schema}.crossing (
    rule   text        COLLATE "C" NOT NULL REFERENCES {schema}.schedule ON DELETE CASCADE,
    record bigint      NOT NULL,
    since  timestamptz NOT NULL,
    sent   boolean     NOT NULL,
    PRIMARY KEY (rule, record)
) WITH (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000);

COMMENT ON TABLE  {schema}.crossing IS 'Records for which the condition of a rule on schedule held when it was last looked at: they fire when they come in, and are forgotten when it no longer holds or the record is gone.';
COMMENT ON COLUMN {schema}.crossing.since IS 'run_at of the run that has first seen it';
COMMENT ON COLUMN {schema}.crossing.sent IS 'it has fired; false: it held already at the rule''s first run (first = "skip")';
