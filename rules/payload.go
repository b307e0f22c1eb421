package rules

// Payload is a rule's [rules.payload]: members by name. What a member can be:
//
//   - text: the name of a field ("amount_total"), a path ("partner_id.country_id.code"; through a one2many or many2many field it gives
//     an array), or an expression ("after.amount_total > 1000");
//   - a table with value: the same with options: default, what stands in place of null, and lang, the language of
//     what is translated;
//   - a table with each: the name of a one2many or many2many field, or a path that ends in one. It gives an array of
//     objects with the members that fields names (a table, or a list of field names), of the rows for which where is true; the names in both
//     are fields of the rows, and parent stands before those of the record around. The other options are order ("date desc, id"), limit
//     and archived;
//   - any other table: an object of such members. { fields = { … } } says the same, for members that are called value, each or fields.
type Payload map[string]any
