// Package catalog holds snapshots of what the database says about itself: tables, columns, primary
// keys and replica identities from pg_catalog, and on an Odoo database its
// models, fields, selections and the identity of the database from ir_model and its kin.
//
// A [Catalog] is immutable; a new one is loaded when metadata changes. The
// package knows Odoo's storage (which column a field lives in, which columns
// hold secrets) and refuses to know rules and payloads.
package catalog
