// Package acceptance holds the tests that attach walhook, as a program, to real databases and play
// recorded days of real Odoo databases on them.
//
// What must arrive is told by an oracle: on a copy of the database of its own, where ordinary
// triggers write down every change of a row, it plays the same workload and derives in SQL
// which events must follow from the tests' rules. It shares no code with walhook, and no way of
// looking either: no write-ahead log, no decoder, no expression language.
//
// # Vocabulary
//
//   - Workload: the transactions that Odoo committed, as SQL.
//   - Net: what one transaction did to one record, from before its first change to after its last.
//   - Ordinal: the place of a transaction in the order of commits, from 1. Transactions that
//     changed no row have none.
package acceptance
