-- Walks through tables: backfills, resyncs and images.

CREATE TABLE {schema}.job (
    id           bigint           GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind         text             NOT NULL CHECK (kind IN ('backfill', 'resync', 'image')),
    resync       bigint,
    rule         text             COLLATE "C",
    endpoints    text[],
    table_schema text             NOT NULL,
    table_name   text             NOT NULL,
    model        text             NOT NULL DEFAULT '',
    condition    text             NOT NULL DEFAULT '',
    filter       jsonb,
    rate         double precision NOT NULL DEFAULT 0 CHECK (rate >= 0),
    row_limit    bigint           NOT NULL DEFAULT 0 CHECK (row_limit >= 0),
    spec         jsonb,
    state        text             NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'paused', 'done', 'cancelled', 'failed')),
    after_key    text[],
    cursor       jsonb,
    steps        bigint           NOT NULL DEFAULT 0 CHECK (steps >= 0),
    rows         bigint           NOT NULL DEFAULT 0 CHECK (rows >= 0),
    events       bigint           NOT NULL DEFAULT 0 CHECK (events >= 0),
    sent         bigint           NOT NULL DEFAULT 0 CHECK (sent >= 0),
    parked       bigint           NOT NULL DEFAULT 0 CHECK (parked >= 0),
    total        bigint           NOT NULL DEFAULT 0 CHECK (total >= 0),
    next_at      timestamptz,
    waits        text             NOT NULL DEFAULT '',
    error        text             NOT NULL DEFAULT '',
    made_at      timestamptz      NOT NULL DEFAULT clock_timestamp(),
    begun_at     timestamptz,
    moved_at     timestamptz,
    ended_at     timestamptz,
    CONSTRAINT job_rule CHECK ((kind = 'image') = (rule IS NULL)),
    CONSTRAINT job_ended CHECK ((ended_at IS NOT NULL) = (state IN ('done', 'cancelled')))
) WITH (fillfactor = 50, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);

CREATE UNIQUE INDEX job_made ON {schema}.job (rule, made_at);
CREATE INDEX job_open ON {schema}.job (id) WHERE state NOT IN ('done', 'cancelled');

COMMENT ON TABLE  {schema}.job IS 'Walks through the rows of a table in the order of its key: backfills (events of what is there), resyncs (events of what may have changed unseen) and images. Whoever reads the slot works on them; one that has ended is kept for 30 days.';
COMMENT ON COLUMN {schema}.job.resync IS 'the resync that it belongs to; null for none';
COMMENT ON COLUMN {schema}.job.endpoints IS 'of the rule''s, those that are sent to; null for all of them';
COMMENT ON COLUMN {schema}.job.condition IS 'further condition on the rows, in the language of rules';
COMMENT ON COLUMN {schema}.job.filter IS 'rows that it leaves out are not read';
COMMENT ON COLUMN {schema}.job.rate IS 'events a second; 0 for as many as the queues have room for';
COMMENT ON COLUMN {schema}.job.row_limit IS 'events after which it is done; 0 for no limit';
COMMENT ON COLUMN {schema}.job.spec IS 'what else its kind wants to know; cursor: what else it remembers of how far it has come';
COMMENT ON COLUMN {schema}.job.state IS 'queued: not begun. failed: it cannot go on until what is wrong has been mended and somebody resumes it. A job that waits for its turn, for room or for its rate is running all the same';
COMMENT ON COLUMN {schema}.job.after_key IS 'key up to which it has come, as text; null at the beginning. It moves in the transaction that queues what the rows have led to';
COMMENT ON COLUMN {schema}.job.steps IS 'how many were committed; each is compared with it';
COMMENT ON COLUMN {schema}.job.rows IS 'rows that were looked at; events: what came of them; sent: deliveries of these; parked: events whose rule failed';
COMMENT ON COLUMN {schema}.job.total IS 'rows to look at, as counted or estimated when it was made; 0 when that is not known';
COMMENT ON COLUMN {schema}.job.next_at IS 'when its rate lets it go on; null for at once';
COMMENT ON COLUMN {schema}.job.waits IS 'what it waits for';
COMMENT ON COLUMN {schema}.job.error IS 'why it failed';
COMMENT ON COLUMN {schema}.job.made_at IS 'when it was asked for: now() of its conditions, and with the rule part of the ids of its deliveries';
