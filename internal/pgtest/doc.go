// Package pgtest gives tests a real PostgreSQL: one private cluster for each test binary, one
// database for each test, and copies of real Odoo databases where those are at hand.
package pgtest
