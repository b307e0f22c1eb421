package rules

import (
	"fmt"
	"slices"
	"strings"

	"walhook/cdc"
)

// Logins lists the users that rules name by their login, each once: [Compile] finds them in the catalog, which must have looked them up.
func Logins(configs []Config) []string {
	var out []string
	for i := range configs {
		for _, user := range configs[i].IgnoreUsers {
			if login, ok := user.(string); ok && !slices.Contains(out, login) {
				out = append(out, login)
			}
		}
	}
	return out
}

// echoes are the users whose changes a rule leaves out (B11), and where a row says who wrote it.
type echoes struct {
	users                   []int64 // sorted
	write, create, writedAt int     // slots of write_uid, create_uid and write_date; -1 where the table has none
}

// echoesOf reads ignore_users.
func (c *ruleCompiler) echoesOf(r *Rule, s shape) echoes {
	e := echoes{write: -1, create: -1, writedAt: -1}
	if c.config.IgnoreUsers == nil {
		return e
	}
	if len(c.config.IgnoreUsers) == 0 {
		c.fail("ignore_users", "the list is empty", "leave ignore_users out to take everybody's changes")
		return e
	}
	if s.table.Column("write_uid") == nil {
		c.fail("ignore_users", fmt.Sprintf("%s has no field write_uid: who changes it is not known", s.name), "remove ignore_users")
		return e
	}
	for i, user := range c.config.IgnoreUsers {
		path := fmt.Sprintf("ignore_users[%d]", i)
		switch user := user.(type) {
		case int64:
			if user <= 0 {
				c.fail(path, fmt.Sprintf("%d is no id of a user", user), "write a login in quotes, or the id of a record of res.users")
			}
			e.users = append(e.users, user)
		case string:
			e.users = append(e.users, c.userByLogin(path, user))
		default:
			c.fail(path, fmt.Sprintf("%v is no user", user), `write a login in quotes, or the id of a record of res.users: ignore_users = ["shop-bot@example.com", 7]`)
		}
	}
	slices.Sort(e.users)
	for name, slot := range map[string]*int{"write_uid": &e.write, "create_uid": &e.create, "write_date": &e.writedAt} {
		if s.table.Column(name) != nil {
			*slot = r.watched.slot(name)
		}
	}
	return e
}

// userByLogin finds a user's id; 0 after a problem.
func (c *ruleCompiler) userByLogin(path, login string) int64 {
	users := c.cat.Users
	id, known := users.ID(login)
	switch {
	case known:
	case strings.TrimSpace(login) == "":
		c.fail(path, "the login is empty", "write a login in quotes, or the id of a record of res.users")
	case c.cat.Odoo == nil:
		c.fail(path, "the database is not Odoo's: it has no logins", "write what write_uid holds, as a number")
	case users.Problem() != nil:
		c.fail(path, fmt.Sprintf("user %q cannot be looked up: %v", login, users.Problem()), users.Remedy())
	default:
		remedy := `write the id of the user instead, as in ignore_users = [7]; "SELECT id, login FROM res_users" lists them`
		if near := users.Near(login); near != "" {
			remedy = fmt.Sprintf("did you mean %q?", near)
		}
		c.fail(path, fmt.Sprintf("there is no user with the login %q", login), remedy)
	}
	return id
}

// echo says that a user whose changes the rule leaves out has made this one. Odoo notes the writer of a row with every write, and its time. Who
// unlinks is not noted; and where the time stays as it was somebody wrote past Odoo, or the database itself through a foreign key: the
// writer that the row still names has not made that change.
func (f *frame) echo(r *Rule) bool {
	e := &r.echoes
	if len(e.users) == 0 || f.change.Op == cdc.Unlink || f.change.Origin != cdc.FromWAL { // a row that was read is nobody's change
		return false
	}
	if g := f.change.Gathered; g != nil && !g.Own {
		return !slices.ContainsFunc(g.Lines, func(l cdc.Line) bool { return !e.wrote(l.Change) })
	}
	id, ok := asID(f.user(e.write, e.create))
	if _, listed := slices.BinarySearch(e.users, id); !ok || !listed {
		return false
	}
	if f.change.Op == cdc.Create || e.writedAt < 0 || f.before.slots == nil || f.after.slots == nil {
		return true
	}
	before, after := f.before.read(e.writedAt), f.after.read(e.writedAt)
	changed, known := differ(before, after, 0)
	if !known || changed {
		return true
	}
	wrote, known := differ(f.before.read(e.write), f.after.read(e.write), 0)
	return wrote || !known
}

// wrote says that one of the users has created or written a line.
func (e *echoes) wrote(c *cdc.Change) bool {
	value := func(row cdc.Row, name string) cdc.Value { return valueOf(row, c.Rel, c.Rel.Column(name)) }
	id, ok := parseNum(string(value(c.After, "write_uid").Text))
	n, whole := id.whole()
	if _, listed := slices.BinarySearch(e.users, n); !ok || !whole || !listed || c.Op == cdc.Unlink {
		return false
	}
	touched, known := differ(value(c.Before, "write_date"), value(c.After, "write_date"), 0)
	return c.Op == cdc.Create || touched || !known || c.Rel.Column("write_date") < 0
}

// asID reads a column as the id of a record.
func asID(v any) (int64, bool) {
	if v == nil {
		return 0, false
	}
	return asNum(v).whole()
}
