-- Deliveries that wait for their window, deliveries of rules in test mode, priorities, sampling.

CREATE TABLE {schema}.waiting (
    endpoint   text        COLLATE "C" NOT NULL,
    rule       text        COLLATE "C" NOT NULL,
    key        text        COLLATE "C" NOT NULL,
    lane       text        COLLATE "C" NOT NULL,
    seq        bigint      NOT NULL,
    day        date        NOT NULL,
    bytes      integer     NOT NULL CHECK (bytes >= 0),
    priority   smallint    NOT NULL,
    epoch      bigint      NOT NULL,
    sequence   bigint      NOT NULL,
    commit_lsn pg_lsn      NOT NULL,
    commit_at  timestamptz NOT NULL,
    first_at   timestamptz NOT NULL DEFAULT now(),
    until      timestamptz NOT NULL,
    due        timestamptz NOT NULL,
    PRIMARY KEY (endpoint, rule, key)
) WITH (fillfactor = 70, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.02,
        autovacuum_analyze_threshold = 20000, autovacuum_analyze_scale_factor = 0.2, autovacuum_vacuum_cost_delay = 1);

CREATE UNIQUE INDEX waiting_seq ON {schema}.waiting (seq);
CREATE INDEX waiting_due ON {schema}.waiting (due);

COMMENT ON TABLE  {schema}.waiting IS 'Deliveries of rules with debounce: of one rule, endpoint and record the latest, until its window ends. A later event takes the place of an earlier one, whose number goes to gap (superseded). When it is due it moves to queue and lane, with its seq; nothing of the rest of its lane waits for it meanwhile.';
COMMENT ON COLUMN {schema}.waiting.key IS 'model and record, whatever the endpoint''s ordering';
COMMENT ON COLUMN {schema}.waiting.lane IS 'the lane that it goes to';
COMMENT ON COLUMN {schema}.waiting.seq IS 'its row in delivery, with day, which cannot be dropped while this row is here';
COMMENT ON COLUMN {schema}.waiting.bytes IS 'length of the body';
COMMENT ON COLUMN {schema}.waiting.priority IS 'as lane.priority';
COMMENT ON COLUMN {schema}.waiting.first_at IS 'when the first event of this window came';
COMMENT ON COLUMN {schema}.waiting.until IS 'debounce_max after first_at: it is due then at the latest';
COMMENT ON COLUMN {schema}.waiting.due IS 'when it goes to the queue, unless a further event comes before';

CREATE VIEW {schema}.waiting_delivery AS
SELECT d.id, w.endpoint, w.rule, w.seq, d.event, d.model, d.record, d.op, w.first_at, w.due, w.commit_at, w.bytes
FROM {schema}.waiting w
LEFT JOIN {schema}.delivery d ON d.day = w.day AND d.seq = w.seq;

COMMENT ON VIEW {schema}.waiting_delivery IS 'Deliveries that wait for the end of their rule''s window (debounce).';

-- Numbers of deliveries that are never sent.

ALTER TABLE {schema}.gap DROP CONSTRAINT gap_reason_check;
ALTER TABLE {schema}.gap ADD CONSTRAINT gap_reason_check CHECK (reason IN ('discarded', 'dropped', 'parked', 'superseded', 'test'));

CREATE INDEX gap_unsent ON {schema}.gap (endpoint, epoch, last) WHERE reason IN ('superseded', 'test');

COMMENT ON TABLE {schema}.gap IS 'Numbers of an endpoint''s sequence that will not arrive any more (one that was replayed has arrived before, or arrives late), and why: discarded by a person, dropped as the oldest when a limit was reached (overflow = "drop-oldest"), parked, never enqueued while the endpoint was over its limit (overflow = "park"), superseded by a later event within the window of its rule (debounce), or test, of a rule in test mode.';

-- Priorities. Both columns fit into what a lane row is padded with.

ALTER TABLE {schema}.lane
    ADD COLUMN priority smallint NOT NULL DEFAULT 0 CHECK (priority BETWEEN -1 AND 1),
    ADD COLUMN back     bigint;

COMMENT ON COLUMN {schema}.lane.priority IS '1 high, 0 normal, -1 low: the highest of what has come into the lane since it was last empty';
COMMENT ON COLUMN {schema}.lane.back IS 'nothing below this seq has come back into the lane from waiting; null when nothing has';

DROP INDEX {schema}.lane_due;
CREATE INDEX lane_due ON {schema}.lane (endpoint, priority, due) WHERE owner IS NULL AND NOT held;

ALTER TABLE {schema}.rule ADD COLUMN sampled bigint NOT NULL DEFAULT 0;

COMMENT ON COLUMN {schema}.rule.matched IS 'events that matched, those that the sample left out included';
COMMENT ON COLUMN {schema}.rule.sampled IS 'events that matched and that the rule''s sample left out: they have no delivery and no number';
