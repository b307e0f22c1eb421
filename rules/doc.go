// Package rules decides which change matters to whom.
//
// A rule names a model (or table), operations, a condition and endpoints. [Compile]
// checks conditions against the live schema and turns them into programs with indexed access to columns;
// [Set.Match] runs them on changes. The package is pure: it reads no clock, no network and no database, and knows
// neither webhooks nor SQL.
//
// # NULL
//
// NULL, and `before` on create, never raise: == and != treat NULL as a value,
// < and > give false, !NULL is true, text functions see "". A value that WAL does not hold (unknown) is not NULL:
// reading it is an [EvalError], and the event is parked.
package rules
