package state

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// texts returns n texts of a size that all begin with name.
func texts(name string, n, size int) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("%s %d %s", name, i, strings.Repeat("x", size))
	}
	return list
}

// The driver no longer touches a batch's buffers when it has been answered: other connections may write into them.
func TestSpareBuffersAreTheDriversNoMore(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec"} {
		t.Run(mode, func(t *testing.T) { buffersAreLeft(t, mode) })
	}
}

func buffersAreLeft(t *testing.T, mode string) {
	config, err := pgx.ParseConfig(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = map[string]pgx.QueryExecMode{"cache_statement": pgx.QueryExecModeCacheStatement, "cache_describe": pgx.QueryExecModeCacheDescribe,
		"describe_exec": pgx.QueryExecModeDescribeExec}[mode]
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	encodeArrays(conn)
	poison := func(b []byte) []byte {
		b = b[:cap(b)]
		for i := range b {
			b[i] = 0xAA
		}
		return b
	}
	for _, c := range []struct{ statements, n, size int }{{1, 100, 1000}, {3, 100, 1000}, {1, 9, 1000}, {2, 1000, 100}, {1, 2, 2_000_000}} {
		b := &pgx.Batch{}
		want := texts("a", c.n, c.size)
		for range c.statements {
			b.Queue("SELECT $1::text[]", want).QueryRow(func(row pgx.Row) error {
				var got []string
				if err := row.Scan(&got); err != nil {
					return err
				}
				if !slices.Equal(got, want) {
					t.Errorf("%+v: other texts come back", c)
				}
				return nil
			})
		}
		letGo(b)
		to := conn.PgConn().Frontend()
		spare := makeRoom(b, to)
		if err := conn.SendBatch(t.Context(), b).Close(); err != nil {
			t.Fatal(err)
		}
		if cap(spare.args) < c.n*c.size || cap(spare.wire) < c.statements*c.n*c.size {
			t.Errorf("%+v: the driver had buffers of its own: %d and %d bytes are spare", c, cap(spare.args), cap(spare.wire))
		}
		spare.leave(to)
		args, wire := poison(spare.args), poison(spare.wire)
		if large := c.n*c.size > mostSpare/2; large != (len(wire) == 0) && c.statements == 1 {
			t.Errorf("%+v: %d bytes are kept", c, len(wire))
		}
		for _, size := range []int{1, 300, 5000} { // a driver that had kept a buffer would use it
			var got []string
			want := texts("b", 2, size)
			if err := conn.QueryRow(t.Context(), "SELECT $1::text[]", want).Scan(&got); err != nil || !slices.Equal(got, want) {
				t.Errorf("%+v: read back %.100q: %v", c, got, err)
			}
		}
		for name, buf := range map[string][]byte{"arguments": args, "messages": wire} {
			if i := bytes.IndexFunc(buf, func(r rune) bool { return r != '\uFFFD' }); i >= 0 {
				t.Errorf("%+v: the driver has written into the buffer of %s, at %d", c, name, i)
			}
		}
	}
}

// A buffer that the driver still holds, as what it sent was small, is not spare.
func TestBufferInUseIsNotSpare(t *testing.T) {
	conn := pgtest.Connect(t, pgtest.Database(t))
	to := conn.PgConn().Frontend()
	spare := new(buffers)
	to.Send(&room{size: 10_000, spare: spare})
	if cap(spare.wire) < 10_000 {
		t.Fatalf("room for %d bytes", cap(spare.wire))
	}
	if spare.leave(to); spare.wire != nil {
		t.Error("the driver's buffer is taken for spare")
	}
}

// Connections that take turns with buffers send what each was given.
func TestBuffersTakeTurns(t *testing.T) {
	db := openState(t, nil)
	var wg sync.WaitGroup
	for worker := range 4 {
		wg.Go(func() {
			for round := range 30 {
				want := texts(fmt.Sprint(worker, round), 20+worker*50, 100*(1+round%7))
				var got []string
				err := db.transact(t.Context(), "test", func(x *transaction) error {
					return x.send(t.Context(), func(b *pgx.Batch) {
						b.Queue("SELECT $1::text[]", want).QueryRow(func(row pgx.Row) error { return row.Scan(&got) })
					})
				})
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("worker %d, round %d: other texts come back: %v", worker, round, err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// Modes in which the driver does not know the types of arguments are refused.
func TestOpenRefusesModes(t *testing.T) {
	for mode, ok := range map[string]bool{"exec": false, "simple_protocol": false, "cache_describe": true} {
		db, err := Open(t.Context(), Config{DSN: "postgres://nobody@127.0.0.1:1/none?default_query_exec_mode=" + mode})
		if refused := err != nil && strings.Contains(err.Error(), "default_query_exec_mode"); refused == ok {
			t.Errorf("%s: %v", mode, err)
		}
		if db != nil {
			db.Close()
		}
	}
}
