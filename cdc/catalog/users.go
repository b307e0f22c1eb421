package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Users are logins that were looked up in res_users. A nil *Users knows none.
type Users struct {
	ids     map[string]int64
	near    map[string]string // for logins that are not there
	problem error
	remedy  string
}

// NewUsers makes users of their ids by login.
func NewUsers(ids map[string]int64) *Users { return &Users{ids: ids} }

// nearUsers bounds how many logins are compared with one that is not there.
const nearUsers = 5000

// WithUsers looks logins up, archived users' too, and returns the catalog with them. That the role may not read them, or that there is no
// such table, is no error: [Users.Problem] says so. conn must be outside any transaction.
func (c *Catalog) WithUsers(ctx context.Context, conn *pgx.Conn, logins []string) (*Catalog, error) {
	if c.Odoo == nil || len(logins) == 0 {
		return c, nil
	}
	with := *c
	with.Users = &Users{ids: map[string]int64{}, near: map[string]string{}}
	if err := with.Users.load(ctx, conn, c.Odoo.Schema, logins); err != nil {
		return nil, fmt.Errorf("look up users: %w", err)
	}
	return &with, nil
}

func (u *Users) load(ctx context.Context, conn *pgx.Conn, schema string, logins []string) error {
	table := pgx.Identifier{schema, "res_users"}.Sanitize()
	err := u.find(ctx, conn, "SELECT id, login FROM "+table+" WHERE login = ANY ($1::text[])", logins, func(id int64, login string) { u.ids[login] = id })
	var pg *pgconn.PgError
	if errors.As(err, &pg) && (pg.Code == "42501" || pg.Code == "42P01" || pg.Code == "42703") {
		u.problem = fmt.Errorf("role %q may not read the logins in %s.res_users", conn.Config().User, schema)
		u.remedy = fmt.Sprintf("as the table's owner: GRANT SELECT (id, login) ON %s TO %s; or write the user's id instead of the login, as in ignore_users = [7]",
			table, pgx.Identifier{conn.Config().User}.Sanitize())
		if pg.Code != "42501" {
			u.problem, u.remedy = fmt.Errorf("%s", pg.Message), "write the user's id instead of the login, as in ignore_users = [7]"
		}
		return nil
	}
	if err != nil || len(u.ids) == len(logins) {
		return err
	}
	var all []string
	err = u.find(ctx, conn, "SELECT id, login FROM "+table+" WHERE $1::text[] IS NOT NULL ORDER BY id LIMIT "+fmt.Sprint(nearUsers), logins, func(_ int64, login string) { all = append(all, login) })
	for _, login := range logins {
		if _, known := u.ids[login]; known {
			continue
		}
		u.near[login] = Suggest(login, all)
		for _, other := range all {
			if strings.EqualFold(other, login) {
				u.near[login] = other
			}
		}
	}
	return err
}

func (u *Users) find(ctx context.Context, conn *pgx.Conn, sql string, logins []string, found func(int64, string)) error {
	rows, err := conn.Query(ctx, sql, logins)
	if err != nil {
		return err
	}
	var id int64
	var login *string
	_, err = pgx.ForEachRow(rows, []any{&id, &login}, func() error {
		if login != nil {
			found(id, *login)
		}
		return nil
	})
	return err
}

// ID returns the id of a user.
func (u *Users) ID(login string) (int64, bool) {
	if u == nil {
		return 0, false
	}
	id, ok := u.ids[login]
	return id, ok
}

// Near is the login that one which is not there was probably meant to be; "" when none is near.
func (u *Users) Near(login string) string {
	if u == nil {
		return ""
	}
	return u.near[login]
}

// Problem says why no user could be looked up; nil when they were.
func (u *Users) Problem() error {
	if u == nil {
		return errors.New("logins were not looked up")
	}
	return u.problem
}

// Remedy says what to do about Problem.
func (u *Users) Remedy() string {
	if u == nil {
		return "write the user's id instead of the login, as in ignore_users = [7]"
	}
	return u.remedy
}
