-- The wish that walhook leaves the source's database for a while.

CREATE TABLE {schema}.detach (
    one      boolean     PRIMARY KEY DEFAULT true CHECK (one),
    until    timestamptz NOT NULL,
    why      text        NOT NULL,
    asked_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50);

COMMENT ON TABLE  {schema}.detach IS 'At most one row: until this time all walhook processes keep out of the source''s database, and of this schema if it lies there (walhook detach). Processes look every second.';
COMMENT ON COLUMN {schema}.detach.until IS 'they come back by themselves then';
