-- Tables as Odoo makes them: many columns, most of them NULL at first, write_date on each. A trigger stamps every
-- write with a version that no other write has, and another one writes the ledger.

CREATE SEQUENCE version;

CREATE TABLE sale_order (
    id serial PRIMARY KEY, name varchar, state varchar, priority varchar, client_order_ref varchar, note text, note_sum varchar, access_info jsonb,
    partner_id int, company_id int, currency_id int, user_id int, amount_untaxed numeric, amount_tax numeric, amount_total numeric,
    active boolean DEFAULT true, date_order timestamp, validity_date date, create_uid int, create_date timestamp, write_uid int, write_date timestamp,
    v bigint NOT NULL, digest bigint NOT NULL);
ALTER TABLE sale_order ALTER note SET STORAGE EXTERNAL;
CREATE INDEX ON sale_order (user_id);

CREATE TABLE sale_order_line (
    id serial PRIMARY KEY, order_id int, user_id int, sequence int, name text, product_uom_qty numeric, price_unit double precision, discount numeric,
    qty_invoiced numeric, display_type varchar, create_uid int, create_date timestamp, write_uid int, write_date timestamp,
    v bigint NOT NULL, digest bigint NOT NULL);
CREATE INDEX ON sale_order_line (user_id);

CREATE TABLE sale_order_tag_rel (
    order_id int, tag_id int, user_id int, write_date timestamp, v bigint NOT NULL, digest bigint NOT NULL,
    PRIMARY KEY (order_id, tag_id));

CREATE TABLE ledger (n bigserial PRIMARY KEY, xid bigint NOT NULL DEFAULT txid_current(), tab text NOT NULL, key text NOT NULL, before bigint, after bigint);

-- A transaction with torture.quiet changes write_date alone: a write that is no event.
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.write_date := clock_timestamp() AT TIME ZONE 'UTC';
    IF TG_OP = 'INSERT' OR current_setting('torture.quiet', true) IS DISTINCT FROM 'on' THEN
        NEW.v := nextval('version');
        NEW.digest := NEW.v * 7919 % 1000003;
    END IF;
    RETURN NEW;
END $$;

-- An update that leaves a long note alone does not write it to WAL.
CREATE FUNCTION sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.note_sum := md5(NEW.note);
    RETURN NEW;
END $$;

CREATE FUNCTION note_by_id() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.id = NEW.id THEN
        INSERT INTO ledger (tab, key, before, after) VALUES (TG_TABLE_NAME, NEW.id, OLD.v, NEW.v);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO ledger (tab, key, before) VALUES (TG_TABLE_NAME, OLD.id, OLD.v);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO ledger (tab, key, after) VALUES (TG_TABLE_NAME, NEW.id, NEW.v);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION note_by_pair() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND (OLD.order_id, OLD.tag_id) = (NEW.order_id, NEW.tag_id) THEN
        INSERT INTO ledger (tab, key, before, after) VALUES (TG_TABLE_NAME, NEW.order_id || ',' || NEW.tag_id, OLD.v, NEW.v);
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO ledger (tab, key, before) VALUES (TG_TABLE_NAME, OLD.order_id || ',' || OLD.tag_id, OLD.v);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO ledger (tab, key, after) VALUES (TG_TABLE_NAME, NEW.order_id || ',' || NEW.tag_id, NEW.v);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON sale_order FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER sum BEFORE INSERT OR UPDATE OF note ON sale_order FOR EACH ROW EXECUTE FUNCTION sum();
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON sale_order_line FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE ON sale_order_tag_rel FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE TRIGGER ledger AFTER INSERT OR UPDATE OR DELETE ON sale_order FOR EACH ROW EXECUTE FUNCTION note_by_id();
CREATE TRIGGER ledger AFTER INSERT OR UPDATE OR DELETE ON sale_order_line FOR EACH ROW EXECUTE FUNCTION note_by_id();
CREATE TRIGGER ledger AFTER INSERT OR UPDATE OR DELETE ON sale_order_tag_rel FOR EACH ROW EXECUTE FUNCTION note_by_pair();

-- What must arrive, in the order of commits per record: a row's locks are held until its transaction ends, so
-- the ledger's numbers follow it.
CREATE VIEW expected AS
SELECT 'net' AS kind, xid, tab, key, before, after, last AS n FROM (
    SELECT xid, tab, key, (array_agg(before ORDER BY n))[1] AS before, (array_agg(after ORDER BY n DESC))[1] AS after, max(n) AS last
    FROM ledger GROUP BY xid, tab, key) net
WHERE before IS DISTINCT FROM after
UNION ALL
SELECT 'each', xid, tab, key, before, after, n FROM ledger WHERE tab = 'sale_order_tag_rel';

-- Adjacent tiny commits.
CREATE PROCEDURE burst(transactions int) LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..transactions LOOP
        UPDATE sale_order SET priority = i WHERE id = (SELECT id FROM sale_order WHERE id >= 1 + random() * 40 ORDER BY id LIMIT 1);
        COMMIT;
    END LOOP;
END $$;

GRANT USAGE ON SEQUENCE version TO PUBLIC;

-- Hot records, which all writers write.
INSERT INTO sale_order (name, state, user_id, amount_total, note) SELECT 'SO' || i, 'draft', -1, i, CASE WHEN i % 4 = 0 THEN repeat(md5(i::text), 100) END FROM generate_series(1, 10) i;
DELETE FROM ledger;
