-- Records every change of every table of schema public, seen by ordinary triggers,
-- and reduces it to what each transaction did to each record.
CREATE SCHEMA acceptance;

CREATE TABLE acceptance.change (
    seq     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    txid    bigint NOT NULL DEFAULT txid_current(),
    relname text   NOT NULL,
    key     text   NOT NULL, -- the primary key's values, separated by commas
    before  jsonb,           -- NULL for an insert
    after   jsonb            -- NULL for a delete
);

-- TG_ARGV holds the names of the primary key's columns.
CREATE FUNCTION acceptance.record() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    after  jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
    old_key text;
    new_key text;
BEGIN
    SELECT string_agg(before ->> name, ',' ORDER BY n), string_agg(after ->> name, ',' ORDER BY n)
      INTO old_key, new_key
      FROM unnest(TG_ARGV) WITH ORDINALITY AS column_of_key (name, n);
    IF old_key <> new_key THEN -- another record from now on
        INSERT INTO acceptance.change (relname, key, before) VALUES (TG_TABLE_NAME, old_key, before);
        INSERT INTO acceptance.change (relname, key, after) VALUES (TG_TABLE_NAME, new_key, after);
    ELSE
        INSERT INTO acceptance.change (relname, key, before, after)
        VALUES (TG_TABLE_NAME, coalesce(old_key, new_key), before, after);
    END IF;
    RETURN NULL;
END $$;

-- The workload plays with session_replication_role = replica, which only ENABLE ALWAYS survives.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN
        SELECT c.oid::regclass AS relation, string_agg(quote_literal(a.attname), ', ' ORDER BY k.n) AS key
          FROM pg_class c
          JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
         CROSS JOIN unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
         GROUP BY c.oid
    LOOP
        EXECUTE format('CREATE TRIGGER acceptance AFTER INSERT OR UPDATE OR DELETE ON %s
                        FOR EACH ROW EXECUTE FUNCTION acceptance.record(%s)', t.relation, t.key);
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER acceptance', t.relation);
    END LOOP;
END $$;

-- net has one row for each record that a transaction changed: from before its first
-- change to after its last. One session plays the workload, so transaction ids follow commits.
CREATE VIEW acceptance.net AS
SELECT ordinal, txid, relname, key, last_seq, before, after,
       CASE WHEN before IS NULL THEN 'create' WHEN after IS NULL THEN 'unlink' ELSE 'write' END AS op
  FROM (SELECT ordinal, txid, relname, key, max(seq) AS last_seq,
               (array_agg(before ORDER BY seq))[1] AS before,
               (array_agg(after ORDER BY seq DESC))[1] AS after
          FROM (SELECT *, dense_rank() OVER (ORDER BY txid) AS ordinal FROM acceptance.change) AS change
         GROUP BY ordinal, txid, relname, key) AS record
 WHERE before IS NOT NULL OR after IS NOT NULL;
