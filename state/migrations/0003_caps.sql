-- How much waits per endpoint, and its limits.

ALTER TABLE {schema}.queue ADD COLUMN again_at timestamptz;

COMMENT ON COLUMN {schema}.queue.again_at IS 'when a person put it back; null when it has waited since it was first queued';

CREATE TABLE {schema}.queue_size (
    endpoint      text        COLLATE "C" PRIMARY KEY,
    pending       bigint      NOT NULL DEFAULT 0,
    pending_bytes bigint      NOT NULL DEFAULT 0,
    dead          bigint      NOT NULL DEFAULT 0,
    dead_bytes    bigint      NOT NULL DEFAULT 0,
    parked        bigint      NOT NULL DEFAULT 0,
    dropped       bigint      NOT NULL DEFAULT 0,
    parked_since  timestamptz
) WITH (fillfactor = 50);

COMMENT ON TABLE  {schema}.queue_size IS 'How much is kept per endpoint, up to the changes that wait in tally. Read the view queue_usage.';
COMMENT ON COLUMN {schema}.queue_size.parked IS 'events that were never enqueued as the endpoint was over its limit, ever; their numbers are in gap';
COMMENT ON COLUMN {schema}.queue_size.dropped IS 'deliveries and dead letters that were dropped to make room, ever; their numbers are in gap';
COMMENT ON COLUMN {schema}.queue_size.parked_since IS 'new events are not enqueued from then on, until the queue has drained to 80 % of its limit';

CREATE TABLE {schema}.tally (
    endpoint      text   COLLATE "C" NOT NULL,
    pending       bigint NOT NULL DEFAULT 0,
    pending_bytes bigint NOT NULL DEFAULT 0,
    dead          bigint NOT NULL DEFAULT 0,
    dead_bytes    bigint NOT NULL DEFAULT 0,
    parked        bigint NOT NULL DEFAULT 0,
    dropped       bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 1);

-- Rows are deleted, and there is no key: somebody's publication FOR ALL TABLES in this database must not make that fail.
ALTER TABLE {schema}.tally REPLICA IDENTITY FULL;

COMMENT ON TABLE  {schema}.tally IS 'Changes of queue_size, added in the transactions that make them and summed up every second: rows that are only inserted make nobody wait.';

CREATE VIEW {schema}.queue_usage AS
SELECT endpoint, sum(pending)::bigint AS pending, sum(pending_bytes)::bigint AS pending_bytes, sum(dead)::bigint AS dead, sum(dead_bytes)::bigint AS dead_bytes,
       sum(parked)::bigint AS parked, sum(dropped)::bigint AS dropped, max(parked_since) AS parked_since
FROM (SELECT endpoint, pending, pending_bytes, dead, dead_bytes, parked, dropped, parked_since FROM {schema}.queue_size
      UNION ALL
      SELECT endpoint, pending, pending_bytes, dead, dead_bytes, parked, dropped, NULL FROM {schema}.tally) both_of
GROUP BY endpoint;

COMMENT ON VIEW {schema}.queue_usage IS 'How much is kept per endpoint: deliveries that have not ended, dead letters, and what was parked or dropped at the limits.';

INSERT INTO {schema}.queue_size (endpoint, pending, pending_bytes, dead, dead_bytes)
SELECT endpoint, sum(pending), sum(pending_bytes), sum(dead), sum(dead_bytes)
FROM (SELECT endpoint, count(*) AS pending, sum(bytes) AS pending_bytes, 0 AS dead, 0 AS dead_bytes FROM {schema}.queue GROUP BY endpoint
      UNION ALL
      SELECT endpoint, 0, 0, count(*), sum(octet_length(body)) FROM {schema}.dead_letter GROUP BY endpoint) kept
GROUP BY endpoint;
