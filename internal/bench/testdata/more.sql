-- What a payload of related records needs beyond the demo's tables, as Odoo 18 has them.
CREATE TABLE product_product (id serial PRIMARY KEY, product_tmpl_id integer NOT NULL, default_code varchar, barcode varchar, active boolean DEFAULT true);
CREATE TABLE res_country (id serial PRIMARY KEY, name jsonb NOT NULL, code varchar(2));
CREATE TABLE res_currency (id serial PRIMARY KEY, name varchar NOT NULL, symbol varchar, active boolean DEFAULT true);
CREATE INDEX ON sale_order_line (order_id);
INSERT INTO ir_model (model, name) VALUES ('product.product', '{"en_US": "Product Variant"}'), ('res.country', '{"en_US": "Country"}'), ('res.currency', '{"en_US": "Currency"}');
INSERT INTO ir_model_fields (model_id, model, name, ttype, relation, field_description, translate)
SELECT m.id, m.model, f.name, f.ttype, f.relation, '{"en_US": "Field"}', f.name = 'name' AND m.model = 'res.country'
  FROM (VALUES ('product.product', 'id', 'integer', NULL), ('product.product', 'product_tmpl_id', 'many2one', 'product.template'), ('product.product', 'default_code', 'char', NULL),
        ('product.product', 'active', 'boolean', NULL), ('res.country', 'id', 'integer', NULL), ('res.country', 'name', 'char', NULL), ('res.country', 'code', 'char', NULL),
        ('res.currency', 'id', 'integer', NULL), ('res.currency', 'name', 'char', NULL), ('res.currency', 'active', 'boolean', NULL)) f (model, name, ttype, relation)
  JOIN ir_model m USING (model);
INSERT INTO res_country (name, code) SELECT '{"en_US": "Country"}', chr(65 + n / 10) || chr(65 + n % 10) FROM generate_series(1, 50) n;
INSERT INTO res_currency (name, symbol) VALUES ('EUR', 'E'), ('USD', '$');
INSERT INTO product_product (product_tmpl_id, default_code) SELECT n, 'SKU' || n FROM generate_series(1, 25) n;
INSERT INTO res_partner (name, complete_name, email, country_id) SELECT 'Partner ' || n, 'Partner ' || n, 'p' || n || '@example.com', 1 + n % 50 FROM generate_series(1, 60) n;
INSERT INTO sale_order (partner_id, partner_invoice_id, partner_shipping_id, currency_id, user_id, name, state, amount_untaxed, amount_tax, amount_total, date_order, note)
VALUES (2, 2, 2, 1, 2, 'S1', 'sale', 100, 20, 120, '2026-01-01', repeat('n', 80));
INSERT INTO sale_order_line (order_id, product_id, name, product_uom_qty, price_unit, price_subtotal, price_total) VALUES (1, 1, 'Chair', 1, 100, 100, 120);
