-- Tables as Odoo makes them, with Odoo's metadata, and no triggers: what is written to them is told by those who write.
--
-- Every write of a row has a number of its own, whether it is committed or not. write_date is made of it (microseconds since 2026); stamp is the number of
-- the last write that changed more than write_date, and v counts these. In visit write_date is the time at which the transaction began, as with Odoo: that
-- is what walhook resync goes by.

CREATE TABLE ir_module_module (id serial PRIMARY KEY, name varchar NOT NULL, state varchar(16), latest_version varchar);
CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text NOT NULL);
CREATE TABLE ir_model (id serial PRIMARY KEY, model varchar NOT NULL UNIQUE, "order" varchar NOT NULL DEFAULT 'id', state varchar DEFAULT 'base', name jsonb NOT NULL, transient boolean DEFAULT false);
CREATE TABLE ir_model_fields (
    id serial PRIMARY KEY, model_id integer NOT NULL REFERENCES ir_model ON DELETE CASCADE, name varchar NOT NULL, model varchar NOT NULL,
    relation varchar, relation_field varchar, relation_table varchar, column1 varchar, column2 varchar,
    ttype varchar NOT NULL, state varchar NOT NULL DEFAULT 'base', field_description jsonb NOT NULL,
    translate boolean DEFAULT false, company_dependent boolean DEFAULT false, store boolean DEFAULT true);
CREATE TABLE ir_model_fields_selection (
    id serial PRIMARY KEY, field_id integer NOT NULL REFERENCES ir_model_fields ON DELETE CASCADE, sequence integer, value varchar NOT NULL, name jsonb NOT NULL);
CREATE TABLE res_users (id serial PRIMARY KEY, company_id integer NOT NULL, partner_id integer NOT NULL, active boolean DEFAULT true, login varchar NOT NULL, password varchar,
    create_uid integer, create_date timestamp, write_uid integer, write_date timestamp);

CREATE TABLE res_partner (
    id bigint PRIMARY KEY, name varchar, email varchar, credit numeric, data jsonb, comment text, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE sale_order (
    id bigint PRIMARY KEY, name varchar, state varchar, partner_id integer, note text, amount_total numeric, meta jsonb, date_order timestamp, active boolean,
    v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE sale_order_line (
    id bigint PRIMARY KEY, order_id bigint REFERENCES sale_order ON DELETE CASCADE, name text, product_uom_qty numeric, price_unit double precision, extra jsonb,
    v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE sale_order_tag_rel (
    order_id bigint REFERENCES sale_order ON DELETE CASCADE, tag_id bigint, weight numeric, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp, PRIMARY KEY (order_id, tag_id));
CREATE TABLE document (code varchar PRIMARY KEY, title varchar, body text, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE item (id bigint PRIMARY KEY, name varchar, qty numeric, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE visit (id bigint PRIMARY KEY, name varchar, qty numeric, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);
CREATE TABLE scratch (id bigint PRIMARY KEY, name varchar, v bigint NOT NULL, stamp bigint NOT NULL, write_date timestamp);

-- Values that are stored out of line, and that most updates leave out of WAL.
ALTER TABLE sale_order ALTER note SET STORAGE EXTERNAL;
ALTER TABLE document ALTER body SET STORAGE EXTERNAL;
CREATE INDEX ON sale_order_line (order_id);

-- The ledger. Whoever writes a row enters it here in the same transaction; done says that a transaction was committed, and which attempt at it.
CREATE TABLE done (writer int, action int, try int NOT NULL, xid bigint NOT NULL DEFAULT txid_current(), at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (writer, action));
CREATE TABLE ledger (
    n bigserial PRIMARY KEY, writer int NOT NULL, action int NOT NULL, tab text NOT NULL, key text NOT NULL,
    op "char" NOT NULL,                              -- i(nsert), u(pdate), d(elete), t(runcate), m(essage)
    old_wd bigint, new_wd bigint,                    -- write_date of the row before and after, as a number; of a message new_wd is its token
    old_stamp bigint, new_stamp bigint,
    old_digest text, new_digest text,                -- of all columns but write_date
    old_facts text, new_facts text,                  -- what conditions read
    parent text);                                    -- the order whose deletion the database has passed on

INSERT INTO ir_module_module (name, state, latest_version) VALUES ('base', 'installed', '18.0.1.3');
INSERT INTO ir_config_parameter (key, value) VALUES ('database.uuid', '6f1de9a4-5c0d-4f52-8e5c-1c0a7e1f0b55'), ('database.create_date', '2026-01-01 00:00:00');
INSERT INTO ir_model (model, name) VALUES ('res.users', '{"en_US": "User"}'), ('res.partner', '{"en_US": "Contact"}'), ('sale.order', '{"en_US": "Sales Order"}'), ('sale.order.line', '{"en_US": "Sales Order Line"}');
INSERT INTO ir_model_fields (model_id, model, name, ttype, relation, field_description)
SELECT m.id, m.model, a.attname,
       CASE WHEN a.attname = 'order_id' THEN 'many2one' WHEN a.attname = 'state' THEN 'selection'
            ELSE (ARRAY['char', 'text', 'integer', 'integer', 'monetary', 'float', 'boolean', 'datetime', 'json'])
                 [array_position(ARRAY['varchar', 'text', 'int4', 'int8', 'numeric', 'float8', 'bool', 'timestamp', 'jsonb'], t.typname::text)] END,
       CASE WHEN a.attname = 'order_id' THEN 'sale.order' END, jsonb_build_object('en_US', a.attname)
  FROM ir_model m JOIN pg_attribute a ON a.attrelid = to_regclass(replace(m.model, '.', '_')) AND a.attnum > 0 JOIN pg_type t ON t.oid = a.atttypid;
INSERT INTO ir_model_fields (model_id, model, name, ttype, relation, relation_field, field_description)
SELECT id, model, 'order_line', 'one2many', 'sale.order.line', 'order_id', '{"en_US": "Lines"}' FROM ir_model WHERE model = 'sale.order';
INSERT INTO ir_model_fields_selection (field_id, sequence, value, name)
SELECT f.id, s.n, s.value, jsonb_build_object('en_US', s.value) FROM unnest(ARRAY['draft', 'sent', 'sale', 'cancel']) WITH ORDINALITY s (value, n) JOIN ir_model_fields f ON f.model = 'sale.order' AND f.name = 'state';
INSERT INTO res_users (company_id, partner_id, login) VALUES (1, 1, '__system__');

-- Hot records, which all writers write.
INSERT INTO res_partner (id, name, email, credit, v, stamp, write_date) SELECT i, 'Partner ' || i, 'p' || i || '@example.com', i + 0.50, 1, -i, '2025-12-31' FROM generate_series(1, 8) i;
INSERT INTO sale_order (id, name, state, amount_total, note, active, v, stamp, write_date) SELECT i, 'SO' || i, 'draft', i + 0.00, repeat(md5(i::text), 80), true, 1, -i, '2025-12-31' FROM generate_series(1, 8) i;
