package rules

import (
	"fmt"
	"slices"

	"github.com/expr-lang/expr/ast"
)

// userFields are what can be read of the user who wrote the record besides the id, which stands in the record itself: fields of res.users.
var userFields = []string{"login", "name"}

// userPath is user.login and user.name: what write_uid of the rule's record points to. Of an unlink it is NULL, since who deleted a row
// is not known.
func (x *expression) userPath(user *ast.IdentifierNode, names []pathName) (used int, p *fieldPath) {
	if len(names) == 0 || !slices.Contains(userFields, names[0].text) {
		return 0, nil
	}
	name := names[0]
	if x.record.model == nil || x.record.table.Column("write_uid") == nil {
		x.fail(name.offset, fmt.Sprintf("who writes %s is not known: it has no write_uid", x.record.name), "")
		return -1, nil
	}
	t := trail{cat: x.cat, locale: x.locale, watched: x.watched, shape: x.record, of: versionRecord}
	at := x.byteOffset(user.Location().From)
	if p, _ = x.walk(t, []pathName{{"write_uid", at}, {name.text, name.offset}}, false); p == nil {
		return -1, nil
	}
	p.user = true
	return 1, p
}
