-- What repairs a gap: where in time the position stands, and what was done about a slot that was lost.

CREATE TABLE {schema}.waymark (
    lsn    pg_lsn      PRIMARY KEY,
    at     timestamptz NOT NULL,
    oldest timestamptz NOT NULL,
    hidden boolean     NOT NULL,
    CONSTRAINT waymark_order CHECK (oldest <= at)
) WITH (autovacuum_vacuum_threshold = 500, autovacuum_vacuum_scale_factor = 0);

COMMENT ON TABLE  {schema}.waymark IS 'Where WAL stood at which time, noted once a minute by the process that reads, from the last one at or before the position on: what commits behind lsn had begun at oldest or later. walhook resync finds by it since when records may have changed without being read.';
COMMENT ON COLUMN {schema}.waymark.lsn IS 'where WAL ended';
COMMENT ON COLUMN {schema}.waymark.at IS 'by the source''s clock, as oldest';
COMMENT ON COLUMN {schema}.waymark.oldest IS 'when the oldest transaction had begun that was open then';
COMMENT ON COLUMN {schema}.waymark.hidden IS 'of some sessions walhook''s role may not see when their transactions began (it lacks pg_read_all_stats), or there were prepared ones: a margin is needed';

ALTER TABLE {schema}.adoption
    ADD COLUMN from_at timestamptz,
    ADD COLUMN oldest  timestamptz,
    ADD COLUMN hidden  boolean;

COMMENT ON COLUMN {schema}.adoption.from_at IS 'the last waymark at or before from_lsn, with oldest and hidden; null when there was none';

CREATE TABLE {schema}.resync (
    n         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    begun_at  timestamptz NOT NULL DEFAULT now(),
    reasons   text[]      NOT NULL,
    from_lsn  pg_lsn      NOT NULL,
    to_lsn    pg_lsn      NOT NULL,
    since     timestamptz NOT NULL,
    derived   text        NOT NULL,
    high_lsn  pg_lsn      NOT NULL,
    base_seq  bigint      NOT NULL,
    epoch     bigint      NOT NULL,
    report    jsonb       NOT NULL,
    walhook   text        NOT NULL,
    unlinks   bigint      NOT NULL DEFAULT 0,
    skipped   bigint      NOT NULL DEFAULT 0,
    ended_at  timestamptz
);

COMMENT ON TABLE  {schema}.resync IS 'Each walhook resync: what was lost, since when records were looked through, and what it could not know.';
COMMENT ON COLUMN {schema}.resync.reasons IS 'what was found wrong with the slot; empty when nothing was';
COMMENT ON COLUMN {schema}.resync.from_lsn IS 'the position before; what committed between it and to_lsn was not read';
COMMENT ON COLUMN {schema}.resync.to_lsn IS 'the position since: where the slot begins';
COMMENT ON COLUMN {schema}.resync.since IS 'records that were written at this time or later (write_date) are sent';
COMMENT ON COLUMN {schema}.resync.derived IS 'how since was found';
COMMENT ON COLUMN {schema}.resync.high_lsn IS 'where WAL ended after records were looked for: what the stream says up to there comes before the unlinks';
COMMENT ON COLUMN {schema}.resync.base_seq IS 'the last delivery.seq before it';
COMMENT ON COLUMN {schema}.resync.report IS 'per rule: how its records are found, how many there are, and what cannot be known';
COMMENT ON COLUMN {schema}.resync.unlinks IS 'deletions that were found and queued';
COMMENT ON COLUMN {schema}.resync.skipped IS 'deletions that the stream has told of in the meantime, or that no rule tells of any more';
COMMENT ON COLUMN {schema}.resync.ended_at IS 'when the last of its deletions was queued; its other work is in job';

CREATE TABLE {schema}.resync_gone (
    resync   bigint NOT NULL REFERENCES {schema}.resync ON DELETE CASCADE,
    rule     text   COLLATE "C" NOT NULL,
    record   text   COLLATE "C" NOT NULL,
    endpoint text   COLLATE "C" NOT NULL,
    PRIMARY KEY (resync, rule, record, endpoint)
);

COMMENT ON TABLE {schema}.resync_gone IS 'Records that an endpoint was told of and that are gone from the source: each is a delivery to be queued, and leaves with it.';
