-- What walhook knows, in one schema. {schema} stands for its quoted name.

-- 1. Where ingest stands -----------------------------------------------------

CREATE TABLE {schema}.source (
    one           boolean     PRIMARY KEY DEFAULT true CHECK (one),
    system_id     text        NOT NULL,
    timeline      bigint      NOT NULL CHECK (timeline > 0),
    database_oid  bigint      NOT NULL,
    database_name text        NOT NULL,
    uuid          text        NOT NULL,
    create_date   text        NOT NULL,
    slot          text        NOT NULL,
    bound_at      timestamptz NOT NULL DEFAULT now(),
    lsn           pg_lsn      NOT NULL,
    open_lsn      pg_lsn      NOT NULL DEFAULT '0/0',
    open_count    bigint      NOT NULL DEFAULT 0 CHECK (open_count >= 0),
    last_seq      bigint      NOT NULL DEFAULT 0 CHECK (last_seq >= 0),
    reader        bigint,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT source_open CHECK (open_lsn <> '0/0' OR open_count = 0)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 100, autovacuum_vacuum_scale_factor = 0);

COMMENT ON TABLE  {schema}.source IS 'One row: the database that this state belongs to, and how far ingest has come. Never edit: a position that does not fit the slot loses or repeats events.';
COMMENT ON COLUMN {schema}.source.system_id IS 'pg_control_system().system_identifier of the source cluster';
COMMENT ON COLUMN {schema}.source.uuid IS 'ir_config_parameter database.uuid; empty when the source is no Odoo database';
COMMENT ON COLUMN {schema}.source.create_date IS 'ir_config_parameter database.create_date; empty when the source is no Odoo database';
COMMENT ON COLUMN {schema}.source.lsn IS 'transactions that end at or before this LSN are done';
COMMENT ON COLUMN {schema}.source.open_lsn IS 'commit LSN of a large transaction that is enqueued in part; 0/0 when there is none';
COMMENT ON COLUMN {schema}.source.open_count IS 'of the open transaction, the changes with an ordinal below this are enqueued';
COMMENT ON COLUMN {schema}.source.last_seq IS 'the last delivery.seq that was given out';
COMMENT ON COLUMN {schema}.source.reader IS 'the process that wrote the position last';

-- 2. Who works on it ---------------------------------------------------------

CREATE TABLE {schema}.process (
    id          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    host        text        NOT NULL,
    pid         integer     NOT NULL,
    place       text        NOT NULL,
    birth       text        NOT NULL,
    version     text        NOT NULL,
    started_at  timestamptz NOT NULL DEFAULT now(),
    lease_until timestamptz NOT NULL,
    CONSTRAINT process_lease CHECK (lease_until > started_at)
) WITH (fillfactor = 50);

COMMENT ON TABLE  {schema}.process IS 'Running walhook processes. A lane whose owner is in here belongs to that process; when lease_until has passed, another process takes the row away and with it the lanes.';
COMMENT ON COLUMN {schema}.process.place IS 'boot and pid namespace: within one place a pid tells whether the process still runs';
COMMENT ON COLUMN {schema}.process.birth IS 'start time of the process in its place, so that a reused pid is not mistaken for it';

-- 3. The log of deliveries: written once, dropped by the day ------------------

CREATE TABLE {schema}.delivery (
    seq          bigint      NOT NULL,
    day          date        NOT NULL,
    id           text        COLLATE "C" NOT NULL,
    endpoint     text        COLLATE "C" NOT NULL,
    lane         text        COLLATE "C" NOT NULL,
    rule         text        NOT NULL,
    event        text        NOT NULL,
    model        text        NOT NULL,
    record       text        NOT NULL,
    op           text        NOT NULL,
    late         boolean     NOT NULL,
    commit_lsn   pg_lsn      NOT NULL,
    xid          bigint      NOT NULL,
    commit_at    timestamptz NOT NULL,
    enqueued_at  timestamptz NOT NULL,
    content_type text        NOT NULL,
    body         bytea       NOT NULL
) PARTITION BY RANGE (day);

CREATE INDEX delivery_seq ON {schema}.delivery (seq);
CREATE INDEX delivery_id  ON {schema}.delivery (id);

COMMENT ON TABLE  {schema}.delivery IS 'Log of everything that was ever to be sent. Rows never change; what became of one follows from queue (pending), dead_letter (dead) and attempt (delivered). One partition per UTC day, dropped at the end of retention.';
COMMENT ON COLUMN {schema}.delivery.seq IS 'order of enqueueing; within a lane the order of sending';
COMMENT ON COLUMN {schema}.delivery.day IS 'UTC day of enqueueing';
COMMENT ON COLUMN {schema}.delivery.id IS 'webhook-id of the request. A function of the change, rule and endpoint alone, so a delivery that is sent again later is logged again, with a new seq, under its old id';
COMMENT ON COLUMN {schema}.delivery.lane IS 'deliveries of one endpoint and lane are sent one after the other';
COMMENT ON COLUMN {schema}.delivery.late IS 'sent again on request, out of its lane''s order';
COMMENT ON COLUMN {schema}.delivery.commit_lsn IS 'commit LSN of the source transaction';
COMMENT ON COLUMN {schema}.delivery.commit_at IS 'commit time of the source transaction';
COMMENT ON COLUMN {schema}.delivery.body IS 'the request body, as it is sent';

-- 4. What is pending: small and hot ------------------------------------------

CREATE TABLE {schema}.queue (
    endpoint text    COLLATE "C" NOT NULL,
    lane     text    COLLATE "C" NOT NULL,
    seq      bigint  NOT NULL,
    day      date    NOT NULL,
    bytes    integer NOT NULL CHECK (bytes >= 0),
    attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    PRIMARY KEY (endpoint, lane, seq)
) WITH (fillfactor = 90, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_analyze_threshold = 20000, autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 1);

COMMENT ON TABLE  {schema}.queue IS 'Deliveries that have not ended. A row has a lane row; it is deleted when the delivery is delivered or dead. See the view pending_delivery.';
COMMENT ON COLUMN {schema}.queue.day IS 'day of the delivery row, which cannot be dropped while this row is here';
COMMENT ON COLUMN {schema}.queue.bytes IS 'length of the body';
COMMENT ON COLUMN {schema}.queue.attempts IS 'attempts that failed so far';

CREATE TABLE {schema}.lane (
    endpoint text        COLLATE "C" NOT NULL,
    key      text        COLLATE "C" NOT NULL,
    owner    bigint,
    due      timestamptz NOT NULL,
    held     boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (endpoint, key),
    CONSTRAINT lane_held CHECK (NOT held OR owner IS NULL)
) WITH (fillfactor = 90, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_analyze_threshold = 20000, autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 1);

CREATE INDEX lane_due ON {schema}.lane (endpoint, due) WHERE owner IS NULL AND NOT held;

COMMENT ON TABLE  {schema}.lane IS 'One row per lane that has queue rows, or that is held. Free (owner null, due passed), backing off (owner null, due ahead), owned by a process, or held behind a dead letter.';
COMMENT ON COLUMN {schema}.lane.owner IS 'process.id of the process that sends this lane';
COMMENT ON COLUMN {schema}.lane.due IS 'not before this time';
COMMENT ON COLUMN {schema}.lane.held IS 'waits until the dead letter in front of it is retried or discarded (on_dead = "hold")';

-- 5. What happened -----------------------------------------------------------

CREATE TABLE {schema}.attempt (
    day              date        NOT NULL,
    seq              bigint      NOT NULL,
    number           integer     NOT NULL CHECK (number > 0),
    at               timestamptz NOT NULL,
    endpoint         text        COLLATE "C" NOT NULL,
    process          bigint      NOT NULL,
    result           text        NOT NULL CHECK (result IN ('delivered', 'retry', 'dead')),
    reason           text        NOT NULL,
    class            text        NOT NULL,
    method           text        NOT NULL,
    url              text        NOT NULL,
    request_headers  json        NOT NULL,
    status           integer     NOT NULL,
    response_headers json        NOT NULL,
    response_body    bytea       NOT NULL,
    response_cut     boolean     NOT NULL,
    error            text        NOT NULL,
    dns_us           integer     NOT NULL,
    connect_us       integer     NOT NULL,
    tls_us           integer     NOT NULL,
    first_byte_us    integer     NOT NULL,
    total_us         integer     NOT NULL
) PARTITION BY RANGE (day);

CREATE INDEX attempt_seq ON {schema}.attempt (seq);
CREATE INDEX attempt_at  ON {schema}.attempt USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

COMMENT ON TABLE  {schema}.attempt IS 'Log of HTTP requests, secrets masked. One partition per UTC day, dropped at the end of retention.';
COMMENT ON COLUMN {schema}.attempt.seq IS 'delivery.seq';
COMMENT ON COLUMN {schema}.attempt.at IS 'when the request was begun';
COMMENT ON COLUMN {schema}.attempt.status IS 'HTTP status; 0 when no answer came';
COMMENT ON COLUMN {schema}.attempt.class IS 'kind of failure: dns, connect, tls, timeout, reset, status …; empty when delivered';
COMMENT ON COLUMN {schema}.attempt.response_body IS 'the first bytes of the answer; response_cut when there were more';
COMMENT ON COLUMN {schema}.attempt.total_us IS 'microseconds from begin to the end of the answer''s body';

CREATE TABLE {schema}.dead_letter (
    seq          bigint      PRIMARY KEY,
    id           text        COLLATE "C" NOT NULL,
    endpoint     text        COLLATE "C" NOT NULL,
    lane         text        COLLATE "C" NOT NULL,
    rule         text        NOT NULL,
    event        text        NOT NULL,
    model        text        NOT NULL,
    record       text        NOT NULL,
    op           text        NOT NULL,
    late         boolean     NOT NULL,
    commit_lsn   pg_lsn      NOT NULL,
    xid          bigint      NOT NULL,
    commit_at    timestamptz NOT NULL,
    enqueued_at  timestamptz NOT NULL,
    content_type text        NOT NULL,
    body         bytea       NOT NULL,
    attempts     integer     NOT NULL CHECK (attempts >= 0),
    reason       text        NOT NULL,
    class        text        NOT NULL,
    status       integer     NOT NULL,
    holds        boolean     NOT NULL,
    died_at      timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX dead_letter_endpoint ON {schema}.dead_letter (endpoint, seq);
CREATE INDEX dead_letter_id       ON {schema}.dead_letter (id);
CREATE INDEX dead_letter_holds    ON {schema}.dead_letter (endpoint, lane) WHERE holds;

COMMENT ON TABLE  {schema}.dead_letter IS 'Deliveries that will not be tried again by themselves, with all that is needed to send them. Kept until someone retries or discards them (walhook deliveries retry|discard).';
COMMENT ON COLUMN {schema}.dead_letter.holds IS 'its lane waits for it (on_dead = "hold")';

CREATE TABLE {schema}.parked (
    n          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    id         text        COLLATE "C" NOT NULL UNIQUE,
    rule       text        COLLATE "C" NOT NULL,
    model      text        NOT NULL,
    record     text        NOT NULL,
    commit_lsn pg_lsn      NOT NULL,
    xid        bigint      NOT NULL,
    commit_at  timestamptz NOT NULL,
    error      text        NOT NULL,
    change     bytea       NOT NULL,
    parked_at  timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX parked_rule ON {schema}.parked (rule, n);

COMMENT ON TABLE  {schema}.parked IS 'Events whose rule failed to evaluate. Each keeps its change as JSON, without secrets, so that it can be evaluated again once the rule is mended.';
COMMENT ON COLUMN {schema}.parked.n IS 'order of parking';

-- 6. Statistics: behind by a second at most ----------------------------------

CREATE TABLE {schema}.endpoint (
    name            text        COLLATE "C" PRIMARY KEY,
    delivered       bigint      NOT NULL DEFAULT 0,
    failed_attempts bigint      NOT NULL DEFAULT 0,
    dead            bigint      NOT NULL DEFAULT 0,
    discarded       bigint      NOT NULL DEFAULT 0,
    last_success_at timestamptz,
    last_error_at   timestamptz,
    last_error      text,
    disabled_at     timestamptz,
    disabled_reason text,
    CONSTRAINT endpoint_disabled CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL))
) WITH (fillfactor = 50);

COMMENT ON TABLE  {schema}.endpoint IS 'Totals per endpoint, ever, and whether it is disabled. Nothing is sent to a disabled endpoint; its deliveries wait.';
COMMENT ON COLUMN {schema}.endpoint.failed_attempts IS 'attempts that ended without success';
COMMENT ON COLUMN {schema}.endpoint.dead IS 'deliveries that became dead letters';
COMMENT ON COLUMN {schema}.endpoint.discarded IS 'dead letters that someone discarded';

CREATE TABLE {schema}.rule (
    name           text        COLLATE "C" PRIMARY KEY,
    matched        bigint      NOT NULL DEFAULT 0,
    parked         bigint      NOT NULL DEFAULT 0,
    last_match_at  timestamptz,
    last_parked_at timestamptz,
    last_error     text
) WITH (fillfactor = 50);

COMMENT ON TABLE  {schema}.rule IS 'Totals per rule, ever.';
COMMENT ON COLUMN {schema}.rule.parked IS 'events whose evaluation failed';

-- 7. Partitions --------------------------------------------------------------

CREATE FUNCTION {schema}.add_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    home   constant text := {schema_text};
    parent text;
    child  text;
    d      date;
    made   integer := 0;
BEGIN
    FOREACH parent IN ARRAY ARRAY['delivery', 'attempt'] LOOP
        FOR i IN 0 .. ahead LOOP
            d := (now() AT TIME ZONE 'UTC')::date + i;
            child := parent || '_' || to_char(d, 'YYYYMMDD');
            CONTINUE WHEN to_regclass(format('%I.%I', home, child)) IS NOT NULL;
            PERFORM pg_advisory_xact_lock(hashtextextended('walhook partitions ' || home, 0));
            CONTINUE WHEN to_regclass(format('%I.%I', home, child)) IS NOT NULL;
            -- Not PARTITION OF: that would lock the parent against writers and
            -- wait for every pg_dump. ATTACH waits for neither.
            EXECUTE format('CREATE TABLE %I.%I (LIKE %I.%I INCLUDING ALL)', home, child, home, parent);
            EXECUTE format('ALTER TABLE %I.%I ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)', home, parent, home, child, d, d + 1);
            made := made + 1;
        END LOOP;
    END LOOP;
    RETURN made;
END
$fn$;

COMMENT ON FUNCTION {schema}.add_partitions(integer) IS 'Adds the missing partitions of delivery and attempt for today (UTC) and as many days ahead; returns how many. walhook run calls it by itself.';

SELECT {schema}.add_partitions(3);

-- 8. Views for people --------------------------------------------------------

CREATE VIEW {schema}.pending_delivery AS
SELECT d.id, q.endpoint, q.lane, q.seq, d.rule, d.event, d.model, d.record, d.op, q.attempts,
       CASE WHEN l.held THEN 'held'
            WHEN e.disabled_at IS NOT NULL THEN 'endpoint disabled'
            WHEN l.owner IS NOT NULL THEN 'in hand'
            WHEN l.due > now() THEN 'backing off'
            ELSE 'due' END AS waiting,
       l.due, l.owner, d.commit_at, d.enqueued_at, q.bytes
FROM {schema}.queue q
JOIN {schema}.lane l ON l.endpoint = q.endpoint AND l.key = q.lane
LEFT JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq
LEFT JOIN {schema}.endpoint e ON e.name = q.endpoint;

COMMENT ON VIEW {schema}.pending_delivery IS 'Deliveries that have not ended, and what each waits for.';

CREATE VIEW {schema}.recent_attempt AS
SELECT a.at, a.endpoint, d.id, a.seq, d.rule, d.model, d.record, a.number, a.result, a.status, a.class, a.reason,
       round(a.total_us / 1000.0, 1) AS total_ms
FROM {schema}.attempt a
LEFT JOIN {schema}.delivery d ON d.seq = a.seq
WHERE a.at > now() - interval '1 hour' AND a.day >= (now() AT TIME ZONE 'UTC')::date - 1;

COMMENT ON VIEW {schema}.recent_attempt IS 'HTTP requests of the last hour.';

CREATE VIEW {schema}.dead AS
SELECT died_at, endpoint, id, seq, rule, event, model, record, attempts, status, class, reason, holds, commit_at
FROM {schema}.dead_letter;

COMMENT ON VIEW {schema}.dead IS 'Dead letters without their bodies.';

CREATE VIEW {schema}.backlog AS
SELECT q.endpoint, count(*) AS pending, count(*) FILTER (WHERE q.attempts > 0) AS retrying, count(DISTINCT q.lane) AS lanes, sum(q.bytes) AS bytes, min(q.day) AS oldest_day
FROM {schema}.queue q
GROUP BY q.endpoint;

COMMENT ON VIEW {schema}.backlog IS 'Pending deliveries per endpoint. Counts all of them: with a large backlog this takes a moment.';
