package catalog_test

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// B11: logins are looked up, archived users' too; who is not there is told with the nearest login, and what may not be read with the grant.
func TestWithUsers(t *testing.T) {
	dsn := pgtest.Database(t)
	owner := connect(t, dsn)
	exec(t, owner, readFile(t, "testdata/odoo14.sql"))
	exec(t, owner, `CREATE TABLE IF NOT EXISTS res_users (id int PRIMARY KEY, login text); ALTER TABLE res_users ADD IF NOT EXISTS login text;
		INSERT INTO res_users (id, login) VALUES (71, 'admin'), (72, 'shop-bot@example.com'), (73, NULL)`)
	cat := load(t, owner)
	if same, err := cat.WithUsers(context.Background(), owner, nil); err != nil || same != cat {
		t.Errorf("no logins: %v", err)
	}
	with, err := cat.WithUsers(context.Background(), owner, []string{"shop-bot@example.com", "shop-bot@example.org", "Admin", "somebody else"})
	if err != nil || cat.Users != nil {
		t.Fatal(err)
	}
	u := with.Users
	if id, ok := u.ID("shop-bot@example.com"); !ok || id != 72 || u.Problem() != nil {
		t.Errorf("id %d, %v, %v", id, ok, u.Problem())
	}
	for login, near := range map[string]string{"shop-bot@example.org": "shop-bot@example.com", "Admin": "admin", "somebody else": ""} {
		if _, ok := u.ID(login); ok || u.Near(login) != near {
			t.Errorf("near %s: %q, want %q", login, u.Near(login), near)
		}
	}
	role := pgx.Identifier{"Reader of users of " + owner.Config().Database}.Sanitize()
	exec(t, owner, "CREATE ROLE "+role)
	t.Cleanup(func() { exec(t, owner, "DROP OWNED BY "+role+"; DROP ROLE "+role) })
	reader := connect(t, dsn)
	exec(t, reader, "SET ROLE "+role)
	with, err = cat.WithUsers(context.Background(), reader, []string{"admin"})
	if err != nil {
		t.Fatal(err)
	}
	if with.Users.Problem() == nil || !strings.Contains(with.Users.Remedy(), `GRANT SELECT (id, login) ON "public"."res_users"`) {
		t.Errorf("%v: %s", with.Users.Problem(), with.Users.Remedy())
	}
	exec(t, owner, "GRANT SELECT (id, login) ON res_users TO "+role) // what the remedy says is enough
	if with, err = cat.WithUsers(context.Background(), reader, []string{"admin"}); err != nil || with.Users.Problem() != nil {
		t.Errorf("with the grant: %v, %v", err, with.Users.Problem())
	}
}
