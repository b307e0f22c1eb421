package cdc

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"walhook/internal/pgtest"
)

// message is a logical message as pgoutput sends it.
func message(transactional byte, prefix, content string) wire {
	return wire("M").u8(transactional).u64(900).str(prefix).u32(uint32(len(content))).raw([]byte(content))
}

func ours(content string) wire { return message(1, MessagePrefix, content) }

// Messages have their place among the writes of a row, and count as writes do, whether anybody wants them or not.
func TestMessageKeepsItsPlace(t *testing.T) {
	writes := []wire{
		begin(1), full.relation(), full.insert(row(1, "a", nil)), ours(`{"event": "stock.low", "model": "product.product", "id": 42, "data": {"qty": 3.10}}`),
		full.insert(row(2, "b", nil)), ours(`{"event": "done"}`), commit(),
	}
	for _, c := range []struct {
		name string
		want func(string, string) (bool, bool)
		seen []string
	}{
		{"wanted", func(schema, table string) (bool, bool) { return schema == "public", table == "message" }, []string{
			"0 create p 1 none → {id=1 a=a b=NULL}",
			`1 message message raw 42 none → {event=stock.low model=product.product id=42 record=42 data={"qty": 3.10} problem=NULL content=NULL}`,
			"2 create p 2 none → {id=2 a=b b=NULL}",
			"3 message message raw done none → {event=done model=NULL id=NULL record=NULL data=NULL problem=NULL content=NULL}"}},
		{"not wanted", wantNet, []string{"0 create p 1 none → {id=1 a=a b=NULL}", "2 create p 2 none → {id=2 a=b b=NULL}"}},
	} {
		for _, memory := range []int64{0, 1} { // and from a temporary file
			t.Run(fmt.Sprint(c.name, memory), func(t *testing.T) {
				txs := play(t, NewDecoder(testSchema(), c.want, Limits{Memory: memory, TempDir: t.TempDir()}), writes...)
				if diff := cmp.Diff(c.seen, showAll(t, txs[0])); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// Messages that others send, and those outside of transactions (trap 14), are none of ours, and do not count.
func TestMessageOfOthers(t *testing.T) {
	txs := play(t, NewDecoder(testSchema(), wantBoth, Limits{}),
		message(0, MessagePrefix, `{"event": "rolled.back"}`), begin(1), message(1, "walhook.own", `{}`), message(1, "debezium", "\xff\x00"), message(0, MessagePrefix, "x"),
		ours(`{"event": "ours"}`), commit(), message(0, MessagePrefix, `{"event": "late"}`))
	if got := showAll(t, txs[0]); len(got) != 1 || !strings.HasPrefix(got[0], "0 message message raw ours") {
		t.Errorf("saw %q", got)
	}
	if _, err := tryPlay(t, NewDecoder(nil, wantBoth, Limits{}), ours("{}")); err == nil {
		t.Error("a transactional message outside of a transaction was taken")
	}
	if _, err := tryPlay(t, NewDecoder(nil, wantBoth, Limits{}), begin(1), ours("{}")[:20]); err == nil {
		t.Error("a message that is cut off was taken")
	}
}

// What is malformed says so, and stays visible: its beginning is kept.
func TestMessageMalformed(t *testing.T) {
	for _, c := range []struct{ content, problem string }{
		{"", "no JSON object"},
		{"stock low", "no JSON object"},
		{`["a"]`, "no JSON object"},
		{`{"event": "a"} x`, "something follows"},
		{`{"event": 7}`, "no JSON object"},
		{`{"evnt": "a"}`, `unknown field "evnt"`},
		{`{"data": 1}`, `no "event"`},
		{`{"event": ""}`, `no "event"`},
		{`{"event": "a b"}`, `"a b" is no good name`},
		{`{"event": "` + strings.Repeat("x", 300) + `"}`, "is no good name"},
		{`{"event": "a", "model": "sale order"}`, `"sale order" is no name of a model`},
		{`{"event": "a", "id": 1.5}`, `"id" is neither`},
		{`{"event": "a", "id": {}}`, `"id" is neither`},
		{`{"event": "a", "id": "` + strings.Repeat("x", 300) + `"}`, `"id" is longer`},
		{`{"event": "a", "id": "\u0000"}`, "control characters"},
		{"{\"event\": \"\xff\"}", "no text in UTF-8"},
		{"\x00", "no JSON object"},
		{`{"event": "a", "data": {"x": "\ud800"}}`, `\ud800, half of a character`},
		{`{"event": "a", "data": ["\uDC00\uD800"]}`, `\uDC00, half`},
		{`{"event": "a", "data": "\ud83d\ud83d\ude00"}`, `\ud83d, half`},
		{`{"event": "a", "id": "x\udfff"}`, `\udfff, half`},
		{strings.Repeat("x", MaxMessage+1), "1048577 bytes; the limit is 1048576"},
	} {
		m := readMessage([]byte(c.content))
		if !strings.Contains(m.problem, c.problem) {
			t.Errorf("%.40q: %q, want %q", c.content, m.problem, c.problem)
		}
		if strings.Contains(m.content, "\x00") || !utf8.ValidString(m.content) || len(m.content) > 2*maxMessageContent || len(c.content) > 1 && m.content == "" {
			t.Errorf("%.40q: kept %.40q", c.content, m.content)
		}
		if rel := MessageRelation(); m.values(rel)[rel.Column(MessageData)].State != Null {
			t.Errorf("%.40q has data", c.content)
		}
	}
	for _, content := range []string{`{"event": "a"}`, ` {"event":"a/b:c.d-e_f","model":null,"id":null,"data":null} `, `{"event": "a", "id": "WH/OUT 7", "data": [1, {"x": "\u0000"}]}`, `{"event": "a", "data": "\uD83D\ude00 \\ud800 \u00e9"}`,
		`{"event": "a", "id": -9223372036854775808, "model": "x"}`, `{"event": "a", "data": "` + strings.Repeat("x", MaxMessage-30) + `"}`} {
		if m := readMessage([]byte(content)); m.problem != "" {
			t.Errorf("%.60q: %s", content, m.problem)
		}
	}
}

func FuzzMessage(f *testing.F) {
	for _, s := range []string{`{"event": "a", "model": "m", "id": 1, "data": {}}`, `{"event": "a"}{}`, "", "\xff", `{"id": "x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		m := readMessage(content)
		rel := MessageRelation()
		row, ok := NewRow(rel, ImageFull, AppendTuple(nil, m.values(rel)))
		if !ok {
			t.Fatal("no row")
		}
		if m.problem == "" && m.Event == "" {
			t.Errorf("%q has neither an event nor a problem", content)
		}
		if data := row.Value(rel.Column(MessageData)); data.State == Present {
			if _, err := data.Any(); err != nil {
				t.Error(err)
			}
		}
	})
}

// What a real server sends: messages in their order, nothing of transactions and savepoints that were rolled back, nothing that is not
// transactional.
func TestMessageOfServer(t *testing.T) {
	pgtest.Needs(t, MinMessages, "logical messages in pgoutput")
	b := newBench(t)
	rec := &recorder{}
	want := func(_, table string) (bool, bool) { return table == "t", table == "message" }
	source := NewSource(b.config(), rec, want, Trace{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx, 0) }()
	until(t, "connected", func() bool { return source.Progress().Connected })
	emit := func(name string) string {
		return fmt.Sprintf(`SELECT pg_logical_emit_message(true, 'walhook', '{"event": %q}');`, name)
	}
	b.exec(`BEGIN; ` + emit("first") + `INSERT INTO t VALUES (1); ` + emit("second") +
		`SAVEPOINT s; ` + emit("lost") + `INSERT INTO t VALUES (2); ROLLBACK TO s; ` + emit("third") + `COMMIT;`)
	b.exec(`BEGIN; ` + emit("rolled.back") + `SELECT pg_logical_emit_message(false, 'walhook', '{"event": "not.transactional"}'); ROLLBACK;`)
	b.exec(emit("alone"))
	b.exec("INSERT INTO t VALUES (3)")
	rec.sees(t, "message first", "create 1", "message second", "message third", "message alone", "create 3")
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
