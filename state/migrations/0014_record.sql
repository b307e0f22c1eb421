-- What rules are tried on: net changes that were recorded, and slots that were reserved.

CREATE TABLE {schema}.recorded (
    day       date        NOT NULL DEFAULT (now() AT TIME ZONE 'UTC')::date,
    n         bigserial,
    first_lsn pg_lsn      NOT NULL,
    last_lsn  pg_lsn      NOT NULL,
    from_at   timestamptz NOT NULL,
    to_at     timestamptz NOT NULL,
    changes   integer     NOT NULL CHECK (changes > 0),
    tables    text[]      NOT NULL,
    data      bytea       NOT NULL,
    PRIMARY KEY (day, n)
) PARTITION BY RANGE (day);

ALTER TABLE {schema}.recorded ALTER COLUMN data SET STORAGE EXTERNAL;

COMMENT ON TABLE  {schema}.recorded IS 'Net changes of watched tables, kept for walhook rules backtest while [record] keep is set: a row for each batch that was read. Without columns that hold secrets.';
COMMENT ON COLUMN {schema}.recorded.day IS 'when it was written, in UTC; days are dropped whole';
COMMENT ON COLUMN {schema}.recorded.n IS 'order of writing';
COMMENT ON COLUMN {schema}.recorded.first_lsn IS 'commit of the first transaction in it';
COMMENT ON COLUMN {schema}.recorded.last_lsn IS 'commit of the last one';
COMMENT ON COLUMN {schema}.recorded.from_at IS 'time of the first commit in it';
COMMENT ON COLUMN {schema}.recorded.to_at IS 'time of the last one';
COMMENT ON COLUMN {schema}.recorded.changes IS 'how many changes it holds';
COMMENT ON COLUMN {schema}.recorded.tables IS 'the tables that they are of, as schema.table';
COMMENT ON COLUMN {schema}.recorded.data IS 'the changes: lines of JSON, compressed (DEFLATE)';

CREATE FUNCTION {schema}.add_record_partitions(ahead integer) RETURNS integer
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $fn$
DECLARE
    home  constant text := {schema_text};
    child text;
    d     date;
    made  integer := 0;
BEGIN
    FOR i IN 0 .. ahead LOOP
        d := (now() AT TIME ZONE 'UTC')::date + i;
        child := 'recorded_' || to_char(d, 'YYYYMMDD');
        CONTINUE WHEN to_regclass(format('%I.%I', home, child)) IS NOT NULL;
        PERFORM pg_advisory_xact_lock(hashtextextended('walhook partitions ' || home, 0));
        CONTINUE WHEN to_regclass(format('%I.%I', home, child)) IS NOT NULL;
        EXECUTE format('CREATE TABLE %I.%I (LIKE %I.recorded INCLUDING ALL)', home, child, home);
        EXECUTE format('ALTER TABLE %I.recorded ATTACH PARTITION %I.%I FOR VALUES FROM (%L) TO (%L)', home, home, child, d, d + 1);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$fn$;

COMMENT ON FUNCTION {schema}.add_record_partitions(integer) IS 'Adds the missing partitions of recorded for today (UTC) and as many days ahead; returns how many. walhook run calls it by itself while it records.';

CREATE TABLE {schema}.reservation (
    slot         text        PRIMARY KEY,
    max_retained bigint      NOT NULL CHECK (max_retained > 0),
    made_at      timestamptz NOT NULL DEFAULT now(),
    start_lsn    pg_lsn,
    ended_at     timestamptz,
    reason       text,
    CHECK ((ended_at IS NULL) = (reason IS NULL))
);

COMMENT ON TABLE  {schema}.reservation IS 'Replication slots that walhook rules backtest --reserve has made besides the one that walhook streams from.';
COMMENT ON COLUMN {schema}.reservation.slot IS 'the slot in the source';
COMMENT ON COLUMN {schema}.reservation.max_retained IS 'bytes of WAL that it may keep: a running walhook drops it when it keeps more';
COMMENT ON COLUMN {schema}.reservation.made_at IS 'when it was reserved';
COMMENT ON COLUMN {schema}.reservation.start_lsn IS 'confirmed_flush_lsn of the slot as it was made, which stays, as nothing is ever confirmed: a slot that has another is not this one. Null until the slot is made';
COMMENT ON COLUMN {schema}.reservation.ended_at IS 'when the slot was dropped by a running walhook';
COMMENT ON COLUMN {schema}.reservation.reason IS 'why';
