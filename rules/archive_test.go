package rules

import (
	"strings"
	"testing"

	"walhook/cdc"
	"walhook/cdc/catalog"
)

// changesCatalog is a database with models whose records can be archived, and with users.
func changesCatalog() *catalog.Catalog {
	users := toModel("res.users")
	log := []fieldSpec{{"create_uid", "many2one", tInt4, users}, {"write_uid", "many2one", tInt4, users}, {"write_date", "datetime", tTimestamp, nil}}
	partner := modelOf(1, "res.partner", "res_partner", append([]fieldSpec{{"id", "integer", tInt4, nil}, {"name", "char", tVarchar, nil}, {"active", "boolean", tBool, nil}}, log...))
	custom := modelOf(2, "x_thing", "x_thing", append([]fieldSpec{{"id", "integer", tInt4, nil}, {"x_name", "char", tVarchar, nil}, {"x_active", "boolean", tBool, nil}}, log...))
	country := modelOf(3, "res.country", "res_country", []fieldSpec{{"id", "integer", tInt4, nil}, {"code", "char", tVarchar, nil}, {"active", "char", tVarchar, nil}})
	models := []*catalog.Model{country, partner, custom}
	cat := catalog.New([]*catalog.Table{partner.Table, custom.Table, country.Table}, models, &catalog.Odoo{Schema: "public"})
	cat.Users = catalog.NewUsers(map[string]int64{"bot@example.com": 7, "anna": 2})
	return cat
}

// B9: a write that turns active off or on is an operation of its own for the rules that list it, and a write for the others.
func TestArchive(t *testing.T) {
	cat := changesCatalog()
	rel, custom := relationOf(cat.Table("public", "res_partner")), relationOf(cat.Table("public", "x_thing"))
	at := func(model string) func(Config) Config {
		return func(c Config) Config { c.Model = model; return c }
	}
	partner := at("res.partner")
	set := mustCompile(t, cat,
		partner(Config{Name: "writes", On: []string{"write"}}),
		partner(Config{Name: "archives", On: []string{"archive"}}),
		partner(Config{Name: "both", On: []string{"archive", "unarchive"}}),
		partner(Config{Name: "all", On: []string{"create", "write", "unlink", "archive", "unarchive"}}),
		partner(Config{Name: "raw", On: []string{"archive"}, EachWrite: true}),
		partner(Config{Name: "by_op", On: []string{"write", "archive"}, When: `op == "archive"`}),
		partner(Config{Name: "named", On: []string{"write", "unarchive"}, When: `after.name != "x"`, Event: "contact"}),
		at("x_thing")(Config{Name: "thing", On: []string{"archive"}}))
	m := set.NewMatcher()
	on, off, none := record{"id": "42", "name": "A", "active": "t"}, record{"id": "42", "name": "A", "active": "f"}, record{"id": "42", "name": "A"}
	for _, tt := range []struct {
		name   string
		change *cdc.Change
		want   string
	}{
		{"archived", wrote(t, rel, on, off), "writes:write archives:archive both:archive all:archive by_op:archive named:write"},
		{"archived by NULL", wrote(t, rel, on, none), "writes:write archives:archive both:archive all:archive by_op:archive named:write"},
		{"brought back", wrote(t, rel, off, on), "writes:write both:unarchive all:unarchive named:unarchive"},
		{"brought back from NULL", wrote(t, rel, none, on), "writes:write both:unarchive all:unarchive named:unarchive"},
		{"archived and written", wrote(t, rel, with(on, "name", "x"), off), "writes:write archives:archive both:archive all:archive by_op:archive named:write"},
		{"another write", wrote(t, rel, on, with(on, "name", "B")), "writes:write all:write named:write"},
		{"a write of an archived one", wrote(t, rel, off, with(off, "name", "B")), "writes:write all:write named:write"},
		{"NULL became false", wrote(t, rel, none, off), ""},
		{"created archived", created(t, rel, off), "all:create"},
		{"deleted", unlinked(t, rel, off), "all:unlink"},
		{"a model with x_active", wrote(t, custom, record{"id": "1", "x_active": "t"}, record{"id": "1", "x_active": "f"}), "thing:archive"},
		// What is not active now was not brought back, whatever it was before; otherwise it cannot be told.
		{"old row unknown, not active", blind(t, rel, off), "!writes !archives !both !all !by_op !named"},
		{"old row unknown, active", blind(t, rel, on), "!writes !both !all !named"},
	} {
		var got []string
		for _, match := range m.Match(nil, testTx, tt.change) {
			text := match.Rule.Name + ":" + match.Rule.Op(tt.change)
			if match.Err != nil {
				text = "!" + match.Rule.Name
			}
			got = append(got, text)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
	for _, tt := range []struct { // found by comparing rows after changes were missed: op says so, and single writes are not known
		change *cdc.Change
		want   string
	}{
		{wrote(t, rel, on, off), "writes archives both all raw named"},
		{wrote(t, rel, off, on), "writes both all named"},
		{wrote(t, rel, on, with(on, "name", "B")), "writes all named"},
		{wrote(t, rel, on, on), ""},
		{unlinked(t, rel, off), "all"},
	} {
		tt.change.Origin = cdc.FromResync
		var got []string
		for _, match := range m.Match(nil, testTx, tt.change) {
			got = append(got, match.Rule.Name)
			if op := match.Rule.Op(tt.change); match.Err != nil || op != "resync" && tt.change.Op == cdc.Write || op != "unlink" && tt.change.Op == cdc.Unlink {
				t.Errorf("%s is %q: %v", match.Rule.Name, op, match.Err)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("found: %s, want %s", s, tt.want)
		}
	}
	raw := wrote(t, rel, on, off)
	raw.Raw = true
	if got := matched(m, raw); len(got) != 1 || got[0] != "raw" {
		t.Errorf("each write: %v", got)
	}
	archived := wrote(t, rel, on, off)
	for name, want := range map[string]string{"writes": "res.partner.write", "archives": "res.partner.archive", "named": "contact"} {
		for _, r := range set.Rules() {
			if r.Name == name && r.EventOf(archived) != want {
				t.Errorf("the event of %s is %s, want %s", name, r.EventOf(archived), want)
			}
		}
	}
	for _, n := range set.Needs() {
		if !n.Full {
			t.Errorf("%s: telling takes the old row", n.Table)
		}
	}
}

// B11: what certain users create and write is left out, if it was they who wrote.
func TestIgnoreUsers(t *testing.T) {
	cat := changesCatalog()
	rel := relationOf(cat.Table("public", "res_partner"))
	set := mustCompile(t, cat,
		Config{Name: "mixed", Model: "res.partner", IgnoreUsers: []any{"bot@example.com", int64(9)}},
		Config{Name: "when", Model: "res.partner", IgnoreUsers: []any{int64(7)}, When: `after.name == "A"`},
		Config{Name: "sent", Model: "res.partner"})
	m := set.NewMatcher()
	row := func(name, user, at string) record {
		return record{"id": "42", "name": name, "create_uid": "2", "write_uid": user, "write_date": at}
	}
	for _, tt := range []struct {
		name   string
		change *cdc.Change
		want   string
	}{
		{"the bot writes", wrote(t, rel, row("B", "2", "2026-01-01 00:00:00"), row("A", "7", "2026-01-02 00:00:00")), "-mixed -when sent"},
		{"the other one writes", wrote(t, rel, row("B", "2", "2026-01-01 00:00:00"), row("A", "9", "2026-01-02 00:00:00")), "-mixed when sent"},
		{"a person writes", wrote(t, rel, row("B", "7", "2026-01-01 00:00:00"), row("A", "2", "2026-01-02 00:00:00")), "mixed when sent"},
		{"the bot writes again", wrote(t, rel, row("B", "7", "2026-01-01 00:00:00"), row("A", "7", "2026-01-02 00:00:00")), "-mixed -when sent"},
		{"the condition does not hold", wrote(t, rel, row("A", "7", "2026-01-01 00:00:00"), row("B", "7", "2026-01-02 00:00:00")), "-mixed sent"},
		{"past Odoo, after the bot", wrote(t, rel, row("B", "7", "2026-01-01 00:00:00"), row("A", "7", "2026-01-01 00:00:00")), "mixed when sent"},
		{"the bot in the same instant", wrote(t, rel, row("B", "2", "2026-01-01 00:00:00"), row("A", "7", "2026-01-01 00:00:00")), "-mixed -when sent"},
		{"the bot creates", created(t, rel, row("A", "7", "2026-01-01 00:00:00")), "-mixed -when sent"},
		{"created by SQL for the bot", created(t, rel, record{"id": "42", "name": "A", "create_uid": "7"}), "-mixed -when sent"},
		{"nobody creates", created(t, rel, record{"id": "42", "name": "A"}), "mixed when sent"},
		{"somebody deletes", unlinked(t, rel, row("A", "7", "2026-01-01 00:00:00")), "mixed sent"},
		{"the bot writes, old row unknown", blind(t, rel, row("A", "7", "2026-01-01 00:00:00")), "-mixed -when !sent"},
	} {
		var got []string
		for _, match := range m.Match(nil, testTx, tt.change) {
			switch name := match.Rule.Name; {
			case match.Echo:
				got = append(got, "-"+name)
			case match.Err != nil:
				got = append(got, "!"+name)
			default:
				got = append(got, name)
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
	if got := Logins([]Config{{IgnoreUsers: []any{"a", int64(1), "b"}}, {IgnoreUsers: []any{"b"}}}); strings.Join(got, " ") != "a b" {
		t.Errorf("logins: %v", got)
	}
}

// Mistakes in what tells changes apart have a place and a remedy.
func TestChangeProblems(t *testing.T) {
	cat := changesCatalog()
	plain := changesCatalog()
	plain.Odoo = nil
	unread := changesCatalog()
	unread.Users = nil
	for _, tt := range []struct {
		name               string
		cat                *catalog.Catalog
		config             Config
		path, message, fix string
	}{
		{"not archivable", cat, Config{Model: "res.country", On: []string{"create", "archive"}}, "on[1]", "res.country has no field active", `write "write" or "unlink"`},
		{"twice", cat, Config{Model: "res.partner", On: []string{"archive", "archive"}}, "on[1]", `"archive" is listed twice`, ""},
		{"misspelt", cat, Config{Model: "res.partner", On: []string{"archived"}}, "on[0]", `unknown operation "archived"`, `did you mean "archive"?`},
		{"misspelt op", cat, Config{Model: "res.partner", When: `op == "unarchived"`}, "when", `op is never "unarchived"`, `did you mean "unarchive"?`},
		{"nobody", cat, Config{Model: "res.partner", IgnoreUsers: []any{}}, "ignore_users", "the list is empty", "leave ignore_users out"},
		{"no such user", cat, Config{Model: "res.partner", IgnoreUsers: []any{"anna", "otto"}}, "ignore_users[1]", `there is no user with the login "otto"`, "SELECT id, login FROM res_users"},
		{"no id", cat, Config{Model: "res.partner", IgnoreUsers: []any{int64(0)}}, "ignore_users[0]", "0 is no id of a user", "write a login"},
		{"no user", cat, Config{Model: "res.partner", IgnoreUsers: []any{true}}, "ignore_users[0]", "true is no user", "write a login"},
		{"empty login", cat, Config{Model: "res.partner", IgnoreUsers: []any{" "}}, "ignore_users[0]", "the login is empty", "write a login"},
		{"no write_uid", cat, Config{Model: "res.country", IgnoreUsers: []any{int64(1)}}, "ignore_users", "res.country has no field write_uid", "remove ignore_users"},
		{"no Odoo", plain, Config{Table: "res_partner", IgnoreUsers: []any{"otto"}}, "ignore_users[0]", "the database is not Odoo's", "what write_uid holds"},
		{"not looked up", unread, Config{Model: "res.partner", IgnoreUsers: []any{"anna"}}, "ignore_users[0]", `user "anna" cannot be looked up`, "write the user's id"},
	} {
		_, err := Compile([]Config{rule(tt.config)}, tt.cat)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
			continue
		}
		found := false
		for _, e := range flattenErrors(err) {
			p, ok := e.(*Problem)
			found = found || ok && p.Path == tt.path && strings.Contains(p.Message, tt.message) && strings.Contains(p.Suggest, tt.fix)
		}
		if !found {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
