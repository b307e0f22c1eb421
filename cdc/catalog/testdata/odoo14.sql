-- The registry as Odoo 14 keeps it: names are varchar, translate is a boolean,
-- nothing is company-dependent in a column, nobody was ever neutralized.
CREATE TABLE ir_model (id serial PRIMARY KEY, name varchar NOT NULL, model varchar NOT NULL UNIQUE, info text, state varchar, transient boolean);
CREATE TABLE ir_model_fields (id serial PRIMARY KEY, name varchar NOT NULL, complete_name varchar, model varchar NOT NULL, relation varchar,
    relation_field varchar, relation_table varchar, column1 varchar, column2 varchar, model_id integer NOT NULL, field_description varchar NOT NULL,
    help text, ttype varchar NOT NULL, related varchar, required boolean, readonly boolean, index boolean, translate boolean, state varchar NOT NULL,
    selectable boolean, store boolean, compute text, depends varchar, UNIQUE (model, name));
CREATE TABLE ir_model_fields_selection (id serial PRIMARY KEY, field_id integer NOT NULL, value varchar NOT NULL, name varchar NOT NULL, sequence integer);
CREATE TABLE ir_config_parameter (id serial PRIMARY KEY, key varchar NOT NULL UNIQUE, value text NOT NULL);
CREATE TABLE ir_module_module (id serial PRIMARY KEY, name varchar NOT NULL, latest_version varchar);

CREATE TABLE sale_order (id serial PRIMARY KEY, name varchar NOT NULL, state varchar, note text, active boolean, amount_total numeric,
    old_column integer, access_token varchar, create_uid integer, create_date timestamp, write_uid integer, write_date timestamp);
CREATE TABLE mail_message_res_partner_needaction_rel (id serial PRIMARY KEY, mail_message_id integer, is_read boolean);
CREATE TABLE ir_actions (id serial PRIMARY KEY, name varchar, type varchar);
CREATE TABLE ir_act_server (state varchar, PRIMARY KEY (id)) INHERITS (ir_actions);
CREATE TABLE x_my_model (id serial PRIMARY KEY, x_name varchar);
CREATE TABLE mail_thread (left_id integer, right_id integer, PRIMARY KEY (left_id, right_id)); -- a relation that is called as an abstract model is
CREATE VIEW sale_report AS SELECT id, state FROM sale_order;
CREATE TABLE sale_order_tag_rel (order_id integer, tag_id integer, PRIMARY KEY (order_id, tag_id));
CREATE TABLE sale_make_invoice (id serial PRIMARY KEY);

INSERT INTO ir_model (name, model, transient) VALUES
    ('Sales Order', 'sale.order', false), ('Message Notifications', 'mail.notification', NULL), ('Actions', 'ir.actions.actions', false),
    ('Action Window Close', 'ir.actions.act_window_close', false), ('Server Action', 'ir.actions.server', false), ('My model', 'x_my_model', false),
    ('Email Thread', 'mail.thread', false), ('Sales Analysis Report', 'sale.report', false), ('Invoicing wizard', 'sale.make.invoice', true);
INSERT INTO ir_model_fields (model_id, state, model, name, field_description, ttype, store, translate, relation, relation_field, relation_table, column1, column2) VALUES
    (1, 'base', 'sale.order', 'id', 'ID', 'integer', true, false, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'name', 'Order Reference', 'char', true, false, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'state', 'Status', 'selection', true, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'note', 'Terms', 'html', true, true, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'active', 'Active', 'boolean', true, false, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'access_token', 'Security Token', 'char', true, false, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'old_column', 'Was stored once', 'integer', false, false, NULL, NULL, NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'order_line', 'Order Lines', 'one2many', true, false, 'sale.order.line', 'order_id', NULL, NULL, NULL),
    (1, 'base', 'sale.order', 'tag_ids', 'Tags', 'many2many', true, false, 'crm.tag', NULL, 'sale_order_tag_rel', 'order_id', 'tag_id'),
    (2, 'base', 'mail.notification', 'id', 'ID', 'integer', true, false, NULL, NULL, NULL, NULL, NULL),
    (3, 'base', 'ir.actions.actions', 'name', 'Name', 'char', true, true, NULL, NULL, NULL, NULL, NULL),
    (4, 'base', 'ir.actions.act_window_close', 'name', 'Name', 'char', true, true, NULL, NULL, NULL, NULL, NULL),
    (6, 'manual', 'x_my_model', 'x_name', 'Name', 'char', true, false, NULL, NULL, NULL, NULL, NULL);
INSERT INTO ir_model_fields_selection (field_id, value, name, sequence) VALUES (3, 'sale', 'Sales Order', 2), (3, 'draft', 'Quotation', 0), (3, 'sent', 'Quotation Sent', 1);
INSERT INTO ir_config_parameter (key, value) VALUES ('database.uuid', 'f00d'), ('database.create_date', '2020-10-01 12:00:00'), ('database.secret', 'hush');
INSERT INTO ir_module_module (name, latest_version) VALUES ('base', '14.0.1.3'), ('sale', '14.0.1.1');
