-- A small Odoo 18: the tables that the demo's business day touches, with Odoo's own names and types, and the
-- metadata that Odoo keeps of them. Odoo itself has some 550 tables.

CREATE TABLE ir_module_module (
    id serial PRIMARY KEY, name varchar NOT NULL, state varchar(16), latest_version varchar
);
CREATE TABLE ir_config_parameter (
    id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text NOT NULL
);
CREATE TABLE ir_model (
    id serial PRIMARY KEY, model varchar NOT NULL UNIQUE, "order" varchar NOT NULL DEFAULT 'id', state varchar DEFAULT 'base',
    name jsonb NOT NULL, transient boolean DEFAULT false
);
CREATE TABLE ir_model_fields (
    id serial PRIMARY KEY, model_id integer NOT NULL REFERENCES ir_model ON DELETE CASCADE, name varchar NOT NULL, model varchar NOT NULL,
    relation varchar, relation_field varchar, relation_table varchar, column1 varchar, column2 varchar,
    ttype varchar NOT NULL, state varchar NOT NULL DEFAULT 'base', field_description jsonb NOT NULL,
    translate boolean DEFAULT false, company_dependent boolean DEFAULT false, store boolean DEFAULT true
);
CREATE TABLE ir_model_fields_selection (
    id serial PRIMARY KEY, field_id integer NOT NULL REFERENCES ir_model_fields ON DELETE CASCADE, sequence integer, value varchar NOT NULL, name jsonb NOT NULL
);

CREATE TABLE res_users (
    id serial PRIMARY KEY, company_id integer NOT NULL, partner_id integer NOT NULL, active boolean DEFAULT true, login varchar NOT NULL, password varchar,
    create_uid integer, create_date timestamp, write_uid integer, write_date timestamp
);
CREATE TABLE res_partner (
    id serial PRIMARY KEY, company_id integer, create_date timestamp, name varchar, parent_id integer, country_id integer,
    commercial_partner_id integer, create_uid integer, write_uid integer, complete_name varchar, ref varchar, lang varchar, vat varchar,
    type varchar, street varchar, zip varchar, city varchar, email varchar, phone varchar, comment text,
    active boolean DEFAULT true, is_company boolean, partner_share boolean, write_date timestamp,
    supplier_rank integer DEFAULT 0, customer_rank integer DEFAULT 0, credit_limit jsonb, signup_type varchar
);
CREATE TABLE product_template (
    id serial PRIMARY KEY, categ_id integer NOT NULL DEFAULT 1, uom_id integer NOT NULL DEFAULT 1, create_uid integer, write_uid integer,
    type varchar NOT NULL DEFAULT 'consu', default_code varchar, name jsonb NOT NULL, description_sale jsonb,
    list_price numeric, weight numeric, sale_ok boolean DEFAULT true, active boolean DEFAULT true, create_date timestamp, write_date timestamp
);
CREATE TABLE sale_order (
    id serial PRIMARY KEY, company_id integer NOT NULL DEFAULT 1, partner_id integer NOT NULL, partner_invoice_id integer NOT NULL,
    partner_shipping_id integer NOT NULL, currency_id integer, user_id integer, create_uid integer, write_uid integer, access_token varchar,
    name varchar NOT NULL, state varchar, client_order_ref varchar, invoice_status varchar, note text, currency_rate numeric,
    amount_untaxed numeric, amount_tax numeric, amount_total numeric, locked boolean, require_signature boolean,
    create_date timestamp, date_order timestamp NOT NULL, write_date timestamp
);
CREATE TABLE sale_order_line (
    id serial PRIMARY KEY, order_id integer NOT NULL REFERENCES sale_order ON DELETE CASCADE, sequence integer DEFAULT 10, company_id integer, currency_id integer,
    product_id integer, create_uid integer, write_uid integer, state varchar, invoice_status varchar, name text NOT NULL,
    product_uom_qty numeric NOT NULL, price_unit numeric NOT NULL, discount numeric, price_subtotal numeric, price_total numeric,
    create_date timestamp, write_date timestamp
);
CREATE TABLE account_move (
    id serial PRIMARY KEY, sequence_number integer, journal_id integer NOT NULL DEFAULT 1, company_id integer DEFAULT 1, partner_id integer, currency_id integer NOT NULL DEFAULT 1,
    create_uid integer, write_uid integer, name varchar, ref varchar, state varchar NOT NULL, move_type varchar NOT NULL,
    auto_post varchar NOT NULL DEFAULT 'no', payment_reference varchar, payment_state varchar, invoice_origin varchar, date date NOT NULL, invoice_date date, invoice_date_due date,
    amount_untaxed numeric, amount_tax numeric, amount_total numeric, amount_residual numeric, posted_before boolean,
    create_date timestamp, write_date timestamp
);

INSERT INTO ir_module_module (name, state, latest_version) VALUES ('base', 'installed', '18.0.1.3'), ('sale', 'installed', '18.0.1.2'), ('account', 'installed', '18.0.1.3');
INSERT INTO ir_config_parameter (key, value) VALUES ('database.uuid', md5(random()::text || clock_timestamp()::text)::uuid::text), ('database.create_date', now()::timestamp(0)::text);
INSERT INTO ir_model (model, name) VALUES
    ('ir.model', '{"en_US": "Models"}'), ('res.users', '{"en_US": "User"}'), ('res.partner', '{"en_US": "Contact"}'), ('product.template', '{"en_US": "Product"}'),
    ('sale.order', '{"en_US": "Sales Order"}'), ('sale.order.line', '{"en_US": "Sales Order Line"}'), ('account.move', '{"en_US": "Journal Entry"}');

INSERT INTO ir_model_fields (model_id, model, name, ttype, relation, field_description, translate, company_dependent)
SELECT m.id, m.model, a.attname,
       CASE WHEN r.relation IS NOT NULL THEN 'many2one'
            WHEN a.attname IN ('state', 'type', 'invoice_status', 'payment_state', 'move_type', 'auto_post', 'lang') THEN 'selection'
            WHEN a.attname LIKE 'amount%' OR a.attname LIKE 'price%' AND a.attname <> 'price_unit' THEN 'monetary'
            WHEN a.attname IN ('comment', 'note') THEN 'html'
            WHEN a.attname LIKE 'description%' THEN 'text'
            ELSE (ARRAY['char', 'text', 'integer', 'float', 'boolean', 'date', 'datetime', 'char'])
                 [array_position(ARRAY['varchar', 'text', 'int4', 'numeric', 'bool', 'date', 'timestamp', 'jsonb'], t.typname::text)] END,
       r.relation, jsonb_build_object('en_US', initcap(replace(regexp_replace(a.attname, '_id$', ''), '_', ' '))),
       t.typname = 'jsonb' AND a.attname <> 'credit_limit', a.attname = 'credit_limit'
  FROM ir_model m
  JOIN pg_attribute a ON a.attrelid = to_regclass(replace(m.model, '.', '_')) AND a.attnum > 0
  JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN (VALUES ('partner_id', 'res.partner'), ('partner_invoice_id', 'res.partner'), ('partner_shipping_id', 'res.partner'), ('parent_id', 'res.partner'),
        ('commercial_partner_id', 'res.partner'), ('user_id', 'res.users'), ('create_uid', 'res.users'), ('write_uid', 'res.users'),
        ('order_id', 'sale.order'), ('product_id', 'product.product'), ('company_id', 'res.company'), ('currency_id', 'res.currency'),
        ('country_id', 'res.country'), ('journal_id', 'account.journal'), ('categ_id', 'product.category'), ('uom_id', 'uom.uom')
  ) r (name, relation) ON r.name = a.attname;
INSERT INTO ir_model_fields (model_id, model, name, ttype, relation, relation_field, field_description)
SELECT id, model, 'order_line', 'one2many', 'sale.order.line', 'order_id', '{"en_US": "Order Lines"}' FROM ir_model WHERE model = 'sale.order';

INSERT INTO ir_model_fields_selection (field_id, sequence, value, name)
SELECT f.id, s.sequence, s.value, jsonb_build_object('en_US', s.label)
  FROM (VALUES ('sale.order', 'state', 0, 'draft', 'Quotation'), ('sale.order', 'state', 1, 'sent', 'Quotation Sent'), ('sale.order', 'state', 2, 'sale', 'Sales Order'), ('sale.order', 'state', 3, 'cancel', 'Cancelled'),
        ('account.move', 'state', 0, 'draft', 'Draft'), ('account.move', 'state', 1, 'posted', 'Posted'), ('account.move', 'state', 2, 'cancel', 'Cancelled'),
        ('account.move', 'move_type', 0, 'entry', 'Journal Entry'), ('account.move', 'move_type', 1, 'out_invoice', 'Customer Invoice'), ('account.move', 'move_type', 2, 'out_refund', 'Customer Credit Note'),
        ('account.move', 'payment_state', 0, 'not_paid', 'Not Paid'), ('account.move', 'payment_state', 1, 'in_payment', 'In Payment'), ('account.move', 'payment_state', 2, 'paid', 'Paid'), ('account.move', 'payment_state', 3, 'partial', 'Partially Paid')
  ) s (model, field, sequence, value, label)
  JOIN ir_model_fields f ON f.model = s.model AND f.name = s.field;

INSERT INTO res_partner (name, complete_name, is_company, email, type, active, create_uid, write_uid, create_date, write_date)
VALUES ('My Company', 'My Company', true, 'info@company.example', 'contact', true, 1, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC');
INSERT INTO res_users (company_id, partner_id, login, password) VALUES (1, 1, '__system__', NULL), (1, 1, 'admin', 'pbkdf2$never-in-a-webhook');
INSERT INTO product_template (default_code, name, list_price, weight, create_uid, write_uid, create_date, write_date)
SELECT 'FURN_' || lpad(n::text, 4, '0'), jsonb_build_object('en_US', 'Chair ' || n, 'fr_FR', 'Chaise ' || n), 100 + n, 0, 1, 1, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'
  FROM generate_series(1, 25) n;
