// Package rules decides which change matters to whom.
//
// A rule names a model (or table), operations, a condition and endpoints. [Compile]
// checks rules against the live schema and turns conditions into programs with indexed access to columns;
// a [Matcher] runs them on changes. The package is pure: it reads no clock, no network and no database (invariant 6), and knows
// neither webhooks nor SQL.
//
// # Vocabulary
//
//   - Rule: what a change must be like, and what of it is sent where.
//   - Condition: the rule's `when`, an expression that is true or false.
//   - Output: one member of what a rule sends: a field, a path, an expression, an object, or an array with an element for each of some rows.
//   - Path: fields joined by dots, from the record through its relations: partner_id.country_id.code.
//   - Place: the rows that a path has led to, with the columns that programs read of them. Link: how such rows are found.
//   - Problem: a mistake in a rule, found when it is compiled, with its place and a remedy.
//   - EvalError: a condition or payload that failed on one change; the event is parked.
//   - Ref: related rows that a rule reads of one record: a Link and an id. They are fetched before matching, see [Matcher.Missing].
//   - Need: what the rules ask of a table, such as REPLICA IDENTITY FULL.
//
// # Expressions
//
// Expressions are those of github.com/expr-lang/expr, over these names:
//
//	before.field, after.field       the row before and after the change; after["field"] is the same
//	op, model, id                   "create", "write" or "unlink"; the rule's model or table; the record's id
//	user.id, user.login, user.name  who wrote the row (write_uid); nil on unlink. The id is nil in plain tables, too
//	tx.xid, tx.lsn, tx.time, now()  the transaction; now() is the time of its commit
//	changed("a", "b")               one of the fields differs between before and after
//	became("state", "sale")         the field has the value and did not have it before; a create counts
//	entered("state", ["a", "b"])    the same for several values
//	label("state")                  the label of a selection's value in the rule's language; label("partner_id.type") of a related record's
//	ref("partner_id.country_id").code  a field of the record that a path of many2one fields leads to; after.partner_id.name is the same of a version
//	after.order_line.name           a list: the field of each row of a one2many or many2many
//
// and expr's functions, except those that would look at a whole row (get, toJSON) or make a result that
// differs from run to run. Keys of objects come sorted. date("2024-12-31") and duration("7d") write dates and spans of time; a timezone is
// named where it is needed, as in now().In(timezone("Europe/Paris")).Hour().
//
// Functions of our own for what receivers want, see transforms.go:
//
//	fixed(x, 2)                     a number as text with so many decimals, rounded as numeric is
//	padLeft(x, 8, "0")              a text or a number filled up on the left
//	slug(t)                         small ASCII letters and digits, with "-" between them
//	plainText(t)                    what a reader sees of HTML, a line for each paragraph, row and item
//	replaceMatches(t, "a+", "b")    t with what a pattern (RE2) matches replaced; $1 is its first group
//	sha256(x)                       the digest of a value's text in hexadecimal digits, as a pseudonym
//	default(x, y)                   y where x is NULL, an empty text or an empty list
//	dateIn(t, "Europe/Paris")       the day that an instant falls on there
//	timeIn(t, "Europe/Paris")       what the clocks show there, with the offset: text
//
// Of NULL fixed, padLeft, sha256, dateIn and timeIn are NULL. The configuration adds functions: see [Function].
//
// # Several values in one column
//
// A translated field (jsonb since Odoo 16) is its text in the language of the rule or of the entry, or else in en_US; a company-dependent field (jsonb
// since Odoo 18) is the value of the changed record's company, or else the field's default. That holds wherever such a field is named, in changed()
// and in related records too. after.name.fr_FR and after.standard_price["2"] read what is stored under one key.
//
// # Dates
//
// A column of type date, date("2026-12-31"), dateIn(…), and these plus or minus whole days are dates: they are sent as "2026-12-31". Everything else
// is an instant.
//
// # NULL
//
// In a boolean of Odoo NULL is false. Other NULLs, and `before` on create, never raise. == and != treat NULL as a value, nil;
// < > <= >= are false; !NULL is true and conditions take NULL for false; arithmetic with
// NULL is NULL; functions on texts see "", those on lists an empty list, and
// sums leave it out; what is not in a JSON object is NULL; a ?? b is b when a is NULL.
//
// A value that WAL does not hold (unknown) is not NULL: reading it is an [EvalError], and the event is parked.
// Only changed() knows that a large value which WAL left out because it is unchanged has not changed.
// What else raises: division by zero, comparing values inside of JSON that have no order, text that is no number or date.
//
// # Numbers
//
// Numbers are exact, and compared by value. 0.1 is one tenth in a literal, a numeric and a double
// precision column alike; integers keep all 64 bits; arithmetic on decimals loses nothing, and a
// quotient without end is rounded only when it is shown. NaN equals itself and is greater than all else, as in PostgreSQL.
//
// # Writes that change nothing
//
// A net write counts when a column besides write_date, write_uid, those that the rule ignores and those
// that hold secrets has changed its value; 10.0 and 10.00 are one value, and in an Odoo boolean
// NULL is false. Telling that takes the old row: without REPLICA IDENTITY FULL such an event is an error, not a guess.
// Rules with each_write see every single write instead.
package rules
