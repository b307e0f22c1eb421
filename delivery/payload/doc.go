// Package payload builds the body of a webhook from a change: which fields,
// under which names, in which format. It is pure: same input, same bytes
// (invariant 6). It refuses to know endpoints and HTTP.
//
// # The format standard
//
// It follows Standard Webhooks: type, timestamp, data.
//
//	{
//	  "type": "sale.order.confirmed",
//	  "timestamp": "2026-03-01T09:30:00.123456Z",
//	  "data": {
//	    "id": 42, "model": "sale.order", "op": "write",
//	    "record": {"name": "S00042", "amount_total": 1250.50},
//	    "changes": {"amount_total": {"before": 0, "after": 1250.50}},
//	    "rule": "sale_order_confirmed", "lsn": "0/16B3748", "xid": 4711,
//	    "omitted": ["note"]
//	  }
//	}
//
// What the members mean:
//
//   - timestamp: the time of the commit, in UTC.
//   - id: a number where the primary key is one integer, else the key as text.
//   - record: the row after the transaction, of an unlink the row before it. Its
//     keys come in the order of the rule's fields, or of the keys of its payload in the file;
//     of a whole record in the order of the table's columns.
//   - changes: of writes whose old row is known, the columns that the record shows
//     and that are different, by column name, with both values.
//   - omitted: what is left out although the rule shows it: values that WAL does
//     not hold, which are never sent as null, and values too large for a whole
//     record. It is absent when nothing is left out.
//   - split: of a rule that splits, the group of lines that the body is about: {"by": "Office", "index": 1, "of": 2}, or {"id": 5, …} of a line by itself.
//   - truncated: the arrays of the record ("lines", "lines.taxes") that have more rows than the rule
//     wants. It is absent when there are none.
//
// A whole record, which is what a rule without fields and payload sends, leaves out html and binary columns
// without a word, and values over [LargeValue], which omitted names. Secrets ([catalog.Secret]) are left out always.
//
// # Values
//
//	NULL                    null; of an Odoo boolean false
//	boolean                 true, false
//	integers, floats        number; NaN, Infinity and -Infinity as strings
//	numeric                 number with all its digits; NaN and infinities as strings
//	date                    "2026-03-01"
//	timestamp               "2026-03-01T09:30:00.5Z": Odoo keeps UTC in timestamps without zone
//	timestamptz             the same, converted to UTC
//	json, jsonb             embedded
//	bytea                   base64; of an Odoo binary field the base64 that it stores
//	arrays                  array of the above
//	everything else         string, in PostgreSQL's text form
//
// A payload's expressions give the same forms. A date plus or minus whole days is a date; with a time added it is an instant.
//
// Of Odoo's fields that hold several values in one column, all of a body shows one: of translated fields (jsonb since Odoo 16) the text in the rule's
// language, or else in en_US; of company-dependent ones (jsonb since Odoo 18) the value of the record's company, or else the field's default. Members of
// changes compare what is shown: a translation into another language is no change to the receiver.
//
// Dates and times before the year 1 or after 9999 and infinite ones, which RFC
// 3339 cannot say, are strings in PostgreSQL's text form.
package payload
