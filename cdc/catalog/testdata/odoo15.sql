-- What Odoo 14 and 15 keep besides odoo14.sql: translations and company-dependent values in tables of their own,
-- _inherits written down nowhere.
CREATE TABLE res_lang (id serial PRIMARY KEY, code varchar NOT NULL, name varchar NOT NULL, active boolean);
CREATE TABLE res_currency (id serial PRIMARY KEY, name varchar);
CREATE TABLE res_company (id serial PRIMARY KEY, name varchar NOT NULL, currency_id integer NOT NULL REFERENCES res_currency);
CREATE TABLE ir_translation (id serial PRIMARY KEY, name varchar NOT NULL, res_id integer, lang varchar, type varchar, src text, value text, module varchar, state varchar);
CREATE TABLE ir_property (id serial PRIMARY KEY, name varchar, res_id varchar, company_id integer, fields_id integer NOT NULL, value_float float8, value_integer integer,
    value_text text, value_binary bytea, value_reference varchar, value_datetime timestamp, type varchar NOT NULL);
CREATE TABLE res_partner (id serial PRIMARY KEY, display_name varchar, name varchar, email varchar, signup_token varchar, parent_id integer REFERENCES res_partner ON DELETE SET NULL,
    company_id integer REFERENCES res_company);
CREATE TABLE res_users (id serial PRIMARY KEY, login varchar NOT NULL, partner_id integer NOT NULL REFERENCES res_partner ON DELETE RESTRICT);
ALTER TABLE sale_order ADD partner_id integer REFERENCES res_partner, ADD user_id integer REFERENCES res_users ON DELETE CASCADE;
ALTER TABLE ir_model_fields ALTER id SET DEFAULT nextval('ir_model_fields_id_seq');

INSERT INTO res_lang (code, name, active) VALUES ('fr_FR', 'French / Français', true), ('en_US', 'English (US)', true), ('de_DE', 'German / Deutsch', false);
INSERT INTO res_currency (name) VALUES ('EUR'), ('USD');
INSERT INTO res_company (name, currency_id) VALUES ('Main', 1), ('Branch', 2);
INSERT INTO ir_model (name, model, transient) VALUES ('Contact', 'res.partner', false), ('Users', 'res.users', false);
INSERT INTO ir_model_fields (id, model_id, state, model, name, field_description, ttype, store, relation, related) VALUES
    (101, 7, 'base', 'res.partner', 'id', 'ID', 'integer', true, NULL, NULL),
    (102, 7, 'base', 'res.partner', 'display_name', 'Display Name', 'char', true, NULL, NULL),
    (103, 7, 'base', 'res.partner', 'name', 'Name', 'char', true, NULL, NULL),
    (104, 7, 'base', 'res.partner', 'email', 'Email', 'char', true, NULL, NULL),
    (105, 7, 'base', 'res.partner', 'signup_token', 'Signup Token', 'char', true, NULL, NULL),
    (106, 7, 'base', 'res.partner', 'parent_id', 'Related Company', 'many2one', true, 'res.partner', NULL),
    (107, 7, 'base', 'res.partner', 'trust', 'Degree of trust', 'selection', false, NULL, NULL),
    (108, 7, 'base', 'res.partner', 'property_payment_term_id', 'Payment Terms', 'many2one', false, 'account.payment.term', NULL),
    (109, 7, 'base', 'res.partner', 'x_limit', 'A module''s own', 'float', false, NULL, NULL),
    (110, 7, 'base', 'res.partner', 'contact_address', 'Address', 'char', false, NULL, NULL),
    (111, 7, 'base', 'res.partner', 'property_since', 'Since', 'datetime', false, NULL, NULL),
    (112, 7, 'base', 'res.partner', 'property_check', 'Check', 'boolean', false, NULL, NULL),
    (113, 7, 'base', 'res.partner', 'property_count', 'Count', 'integer', false, NULL, NULL),
    (114, 7, 'base', 'res.partner', 'company_id', 'Company', 'many2one', true, 'res.company', NULL),
    (201, 8, 'base', 'res.users', 'id', 'ID', 'integer', true, NULL, NULL),
    (202, 8, 'base', 'res.users', 'login', 'Login', 'char', true, NULL, NULL),
    (203, 8, 'base', 'res.users', 'partner_id', 'Partner', 'many2one', true, 'res.partner', NULL),
    (204, 8, 'base', 'res.users', 'display_name', 'Display Name', 'char', false, NULL, NULL),
    (205, 8, 'base', 'res.users', 'name', 'Name', 'char', false, NULL, 'partner_id.name'),
    (206, 8, 'base', 'res.users', 'email', 'Email', 'char', false, NULL, 'partner_id.email'),
    (207, 8, 'base', 'res.users', 'signup_token', 'Signup Token', 'char', false, NULL, 'partner_id.signup_token'),
    (208, 8, 'base', 'res.users', 'parent_id', 'Related Company', 'many2one', false, 'res.partner', 'partner_id.parent_id'),
    (209, 8, 'base', 'res.users', 'trust', 'Degree of trust', 'selection', false, NULL, 'partner_id.trust'),
    (210, 8, 'base', 'res.users', 'property_payment_term_id', 'Payment Terms', 'many2one', false, 'account.payment.term', 'partner_id.property_payment_term_id'),
    (211, 8, 'base', 'res.users', 'x_limit', 'A module''s own', 'float', false, NULL, 'partner_id.x_limit'),
    (212, 8, 'base', 'res.users', 'contact_address', 'Address', 'char', false, NULL, 'partner_id.contact_address'),
    (213, 8, 'base', 'res.users', 'property_since', 'Since', 'datetime', false, NULL, 'partner_id.property_since'),
    (214, 8, 'base', 'res.users', 'property_check', 'Check', 'boolean', false, NULL, 'partner_id.property_check'),
    (215, 8, 'base', 'res.users', 'property_count', 'Count', 'integer', false, NULL, 'partner_id.property_count'),
    (216, 8, 'base', 'res.users', 'company_id', 'Company', 'many2one', false, 'res.company', 'partner_id.company_id'),
    (301, 1, 'base', 'sale.order', 'partner_id', 'Customer', 'many2one', true, 'res.partner', NULL),
    (302, 1, 'base', 'sale.order', 'user_id', 'Salesperson', 'many2one', true, 'res.users', NULL),
    (303, 1, 'manual', 'sale.order', 'x_parent_email', 'E-mail of the parent', 'char', false, NULL, 'user_id.parent_id.email'),
    (304, 1, 'manual', 'sale.order', 'x_note', 'Innocent', 'char', false, NULL, 'user_id.signup_token'),
    (305, 1, 'manual', 'sale.order', 'x_circle', 'Related to itself', 'char', false, NULL, 'x_circle'),
    (306, 1, 'manual', 'sale.order', 'x_nowhere', 'Related to nothing', 'char', false, NULL, 'partner_id.gone.name');
INSERT INTO ir_translation (type, name, res_id, lang, value) VALUES
    ('model', 'ir.model.fields.selection,name', 1, 'fr_FR', 'Bon de commande'), ('model', 'ir.model.fields.selection,name', 2, 'fr_FR', 'Devis'),
    ('model', 'ir.model.fields.selection,name', 2, 'en_US', 'Estimate'), ('model', 'ir.model.fields.selection,name', 3, 'fr_FR', ''),
    ('model', 'ir.model.fields,field_description', 2, 'fr_FR', 'Nom'), ('code', 'ir.model.fields.selection,name', 3, 'fr_FR', 'Envoyé');
INSERT INTO ir_property (fields_id, company_id, res_id, type, value_text, value_float, value_integer, value_reference, value_datetime) VALUES
    (107, NULL, NULL, 'selection', 'normal', NULL, NULL, NULL, NULL), (107, 2, NULL, 'selection', 'good "old" one', NULL, NULL, NULL, NULL),
    (107, 1, 'res.partner,1', 'selection', 'bad', NULL, NULL, NULL, NULL), (109, 1, 'res.partner,1', 'float', NULL, 12.5, NULL, NULL, NULL),
    (108, 1, NULL, 'many2one', NULL, NULL, NULL, 'account.payment.term,7', NULL), (108, 2, NULL, 'many2one', NULL, NULL, NULL, NULL, NULL),
    (111, NULL, NULL, 'datetime', NULL, NULL, NULL, NULL, '2026-01-02 03:04:05'), (112, NULL, '', 'boolean', NULL, NULL, 1, NULL, NULL), (113, NULL, NULL, 'integer', NULL, NULL, -3, NULL, NULL);
