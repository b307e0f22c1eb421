// Package catalog holds snapshots of what the database says about itself: tables,
// columns, primary keys and replica identities from pg_catalog, and on an Odoo
// database its models, fields, selections and identity from ir_model and its kin.
//
// A [Catalog] is immutable; a new one is loaded when metadata changes. The
// package knows Odoo's storage (which column a field lives in, which columns
// hold secrets) and refuses to know rules and payloads.
//
// # Vocabulary
//
//   - Model: what Odoo calls a kind of record, "sale.order". Most are stored in a
//     table; abstract ones and reports on a SQL view are not (see [Catalog.Tableless]).
//   - Field: a named property of a model. A stored field of a simple type lies in a
//     column of the same name; a one2many lies in the other model's table, a many2many in a
//     relation table, most binary fields in ir_attachment.
//   - Type of a field (ttype): char, many2one, monetary …; the type of a column
//     is PostgreSQL's.
//   - Selection: the values that a field can have, with their labels.
//   - Translated: the column is jsonb by language since Odoo 16, text before.
//   - Company-dependent: the column is jsonb by company since Odoo 18; before, the values are in ir_property.
//   - Content: what a payload must know of a column beyond its type.
//   - Secret: a column that never leaves the database through walhook.
package catalog
