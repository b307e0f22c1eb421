-- What an operator took over on purpose, and what was lost by it.

ALTER TABLE {schema}.source
    ADD COLUMN neutralized boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN {schema}.source.neutralized IS 'database.is_neutralized was set and an operator said (--adopt) that the database is to send all the same';

CREATE TABLE {schema}.adoption (
    n          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    adopted_at timestamptz NOT NULL DEFAULT now(),
    reasons    text[]      NOT NULL CHECK (cardinality(reasons) > 0),
    from_lsn   pg_lsn      NOT NULL,
    to_lsn     pg_lsn      NOT NULL,
    lost_bytes bigint      CHECK (lost_bytes >= 0),
    epoch      bigint      NOT NULL,
    walhook    text        NOT NULL
);

COMMENT ON TABLE  {schema}.adoption IS 'Each time that --adopt took a source, or a slot, that did not go on where the state ended. Changes between from_lsn and to_lsn were not sent.';
COMMENT ON COLUMN {schema}.adoption.reasons IS 'what would have been refused without --adopt';
COMMENT ON COLUMN {schema}.adoption.from_lsn IS 'the position before; 0/0 when the state held none';
COMMENT ON COLUMN {schema}.adoption.to_lsn IS 'the position since';
COMMENT ON COLUMN {schema}.adoption.lost_bytes IS 'WAL between the two; null when it cannot be told, as they are of different clusters or databases, or the state held no position';
COMMENT ON COLUMN {schema}.adoption.epoch IS 'source.epoch since';
