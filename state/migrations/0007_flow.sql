-- How much is sent to an endpoint: paused by a person, held by its breaker.

ALTER TABLE {schema}.endpoint
    ADD COLUMN paused_at     timestamptz,
    ADD COLUMN paused_reason text,
    ADD COLUMN failures      integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
    ADD COLUMN failing_since timestamptz,
    ADD COLUMN open_since    timestamptz,
    ADD COLUMN open_until    timestamptz,
    ADD COLUMN open_reason   text,
    ADD COLUMN pauses        integer NOT NULL DEFAULT 0 CHECK (pauses >= 0),
    ADD COLUMN noticed       boolean NOT NULL DEFAULT false,
    ADD COLUMN flow_version  bigint  NOT NULL DEFAULT 0,
    ADD CONSTRAINT endpoint_paused CHECK ((paused_at IS NULL) = (paused_reason IS NULL)),
    ADD CONSTRAINT endpoint_open CHECK ((open_since IS NULL) = (open_until IS NULL) AND (open_since IS NULL) = (open_reason IS NULL));

COMMENT ON TABLE  {schema}.endpoint IS 'Totals per endpoint, ever, and whether anything is sent to it. Of one that is paused or disabled, or whose breaker is open, the deliveries wait.';
COMMENT ON COLUMN {schema}.endpoint.paused_at IS 'a person paused it (walhook endpoints pause), until a person resumes it';
COMMENT ON COLUMN {schema}.endpoint.disabled_at IS 'the receiver answered 410 Gone, or failed for too long; until a person resumes it';
COMMENT ON COLUMN {schema}.endpoint.failures IS 'failed attempts since the last answer that the receiver gave, up to ten seconds old; the breaker counts with it';
COMMENT ON COLUMN {schema}.endpoint.failing_since IS 'when the first of them failed';
COMMENT ON COLUMN {schema}.endpoint.open_since IS 'the breaker is open: nothing is sent but probes';
COMMENT ON COLUMN {schema}.endpoint.open_until IS 'when the next probe may be sent; a process that sends one moves it on first';
COMMENT ON COLUMN {schema}.endpoint.open_reason IS 'why the breaker opened, or why the last probe failed';
COMMENT ON COLUMN {schema}.endpoint.pauses IS 'how many pauses the breaker has made since it opened; each is longer than the one before';
COMMENT ON COLUMN {schema}.endpoint.noticed IS 'the alert endpoint was told that this one fails or is disabled; it will be told when it recovers';
COMMENT ON COLUMN {schema}.endpoint.flow_version IS 'counts changes of these columns, so that of two processes only one makes a change';

CREATE OR REPLACE VIEW {schema}.pending_delivery AS
SELECT d.id, q.endpoint, q.lane, q.seq, d.rule, d.event, d.model, d.record, d.op, q.attempts,
       CASE WHEN l.held THEN 'held'
            WHEN e.paused_at IS NOT NULL THEN 'endpoint paused'
            WHEN e.disabled_at IS NOT NULL THEN 'endpoint disabled'
            WHEN l.due > now() THEN 'backing off'
            WHEN e.open_since IS NOT NULL THEN 'endpoint failing'
            WHEN l.owner IS NOT NULL THEN 'in hand'
            ELSE 'due' END AS waiting,
       l.due, l.owner, d.commit_at, d.enqueued_at, q.bytes
FROM {schema}.queue q
JOIN {schema}.lane l ON l.endpoint = q.endpoint AND l.key = q.lane
LEFT JOIN {schema}.delivery d ON d.day = q.day AND d.seq = q.seq
LEFT JOIN {schema}.endpoint e ON e.name = q.endpoint;
