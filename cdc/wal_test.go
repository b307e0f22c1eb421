package cdc

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5"

	"walhook/internal/pgtest"
)

// source is a fresh database with a publication of all tables and a slot. What happens in it is read
// without a streaming connection, through pg_logical_slot_peek_binary_changes.
type walSource struct {
	t    *testing.T
	dsn  string
	conn *pgx.Conn
	slot string
}

func newWALSource(t *testing.T, schema string) *walSource {
	t.Helper()
	dsn := pgtest.Database(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.WithoutCancel(t.Context())) })
	s := &walSource{t: t, dsn: dsn, conn: conn}
	s.exec(schema)
	s.exec("CREATE PUBLICATION p FOR ALL TABLES")
	if err := conn.QueryRow(t.Context(), "SELECT current_database()").Scan(&s.slot); err != nil {
		t.Fatal(err)
	}
	s.exec("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", s.slot)
	s.exec(`SET datestyle = 'ISO'; SET timezone = 'UTC'; SET intervalstyle = 'postgres'; SET bytea_output = 'hex'; SET extra_float_digits = 1; SET synchronous_commit = on`)
	return s
}

func (s *walSource) exec(sql string, args ...any) {
	s.t.Helper()
	if _, err := s.conn.Exec(s.t.Context(), sql, args...); err != nil {
		s.t.Fatalf("%v\n%s", err, sql)
	}
}

// messages returns everything that has been written so far, as pgoutput sends it.
func (s *walSource) messages() []wire {
	s.t.Helper()
	rows, err := s.conn.Query(s.t.Context(),
		"SELECT data FROM pg_logical_slot_peek_binary_changes($1, NULL, NULL, 'proto_version', '1', 'publication_names', 'p')", s.slot)
	if err != nil {
		s.t.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[[]byte])
	if err != nil {
		s.t.Fatal(err)
	}
	messages := make([]wire, len(out))
	for i, m := range out {
		messages[i] = m
	}
	return messages
}

func (s *walSource) decoder(want func(string, string) (bool, bool), limits Limits) *Decoder {
	s.t.Helper()
	live, err := NewLive(s.dsn, "test", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(live.Close)
	return NewDecoder(live, want, limits)
}

// changes decodes everything so far; transactions are separated by "--", those without changes left out.
func (s *walSource) changes(want func(string, string) (bool, bool)) []string {
	s.t.Helper()
	var out []string
	messages := s.messages()
	for _, memory := range []int64{0, 1} {
		var lines []string
		for _, tx := range play(s.t, s.decoder(want, Limits{Memory: memory, TempDir: s.t.TempDir()}), messages...) {
			if tx.Empty() {
				continue
			}
			if len(lines) > 0 {
				lines = append(lines, "--")
			}
			lines = append(lines, showAll(s.t, tx)...)
		}
		if out != nil && !slices.Equal(out, lines) {
			s.t.Errorf("spilled (-memory +file):\n%s", cmp.Diff(out, lines))
		}
		out = lines
	}
	return out
}

func (s *walSource) expect(want ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.changes(wantNet)); diff != "" {
		s.t.Errorf("(-want +got):\n%s", diff)
	}
}

type typeCase struct {
	typ, literal string // literal in SQL
	want         any
}

var typeCases = []typeCase{
	{"boolean", "true", true},
	{"boolean", "false", false},
	{"smallint", "-32768", int64(-32768)},
	{"integer", "2147483647", int64(math.MaxInt32)},
	{"bigint", "9223372036854775807", int64(math.MaxInt64)},
	{"bigint", "-9223372036854775808", int64(math.MinInt64)},
	{"oid", "4294967295", int64(math.MaxUint32)},
	{"real", "1.1", 1.1},
	{"double precision", "0.1", 0.1},
	{"double precision", "1e-300", 1e-300},
	{"double precision", "1.7976931348623157e308", math.MaxFloat64},
	{"double precision", "'-Infinity'", math.Inf(-1)},
	{"numeric", "12345678901234567890.123456789000", Numeric("12345678901234567890.123456789000")},
	{"numeric(16,2)", "-0.5", Numeric("-0.50")},
	{"numeric", "'NaN'", Numeric("NaN")},
	{"numeric", "'Infinity'", Numeric("Infinity")},
	{"numeric", "'-Infinity'", Numeric("-Infinity")},
	{"numeric", "1e40", Numeric("1" + strings.Repeat("0", 40))},
	{"text", "'a\"b\\c''d€ \n'", "a\"b\\c'd€ \n"},
	{"text", "''", ""},
	{"varchar(10)", "'x'", "x"},
	{"char(4)", "'x'", "x   "},
	{`"char"`, "'x'", "x"},
	{"name", "'n'", "n"},
	{"xml", "'<a b=\"c\">d</a>'", `<a b="c">d</a>`},
	{"date", "'2024-02-29'", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)},
	{"date", "'0001-01-01'", time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)},
	{"date", "'infinity'", "infinity"},
	{"date", "'-infinity'", "-infinity"},
	{"date", "'0044-03-15 BC'", "0044-03-15 BC"},
	{"date", "'0001-02-29 BC'", "0001-02-29 BC"},
	{"date", "'5874897-12-31'", "5874897-12-31"},
	{"timestamp", "'2024-01-31 23:59:59.999999'", time.Date(2024, 1, 31, 23, 59, 59, 999999000, time.UTC)},
	{"timestamp", "'2024-01-31 10:00:00.5'", time.Date(2024, 1, 31, 10, 0, 0, 500000000, time.UTC)},
	{"timestamp(0)", "'2024-01-31 10:00:00'", time.Date(2024, 1, 31, 10, 0, 0, 0, time.UTC)},
	{"timestamp", "'infinity'", "infinity"},
	{"timestamp", "'0044-03-15 12:00:00 BC'", "0044-03-15 12:00:00 BC"},
	{"timestamp", "'12024-01-31 10:00:00'", "12024-01-31 10:00:00"},
	{"timestamptz", "'2024-06-30 10:00:00.25+05:30'", time.Date(2024, 6, 30, 4, 30, 0, 250000000, time.UTC)},
	{"timestamptz", "'-infinity'", "-infinity"},
	{"timestamptz", "'0044-03-15 12:00:00+00 BC'", "0044-03-15 12:00:00+00 BC"},
	{"interval", "'1 year 2 mons -3 days 04:05:06.789'", "1 year 2 mons -3 days +04:05:06.789"},
	{"time", "'04:05:06.789'", "04:05:06.789"},
	{"time", "'24:00'", "24:00:00"},
	{"timetz", "'04:05:06+02'", "04:05:06+02"},
	{"json", `'{"b": 1,  "a": [null, 1.10]}'`, json.RawMessage(`{"b": 1,  "a": [null, 1.10]}`)},
	{"jsonb", `'{"en_US": "Chair", "fr_FR": "Chaise €", "n": 12345678901234567890.10}'`,
		json.RawMessage(`{"n": 12345678901234567890.10, "en_US": "Chair", "fr_FR": "Chaise €"}`)},
	{"bytea", `'\x00ff5c41'`, []byte{0, 0xff, '\\', 'A'}},
	{"bytea", `''`, []byte{}},
	{"uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{"money", "'-1234.50'", "-$1,234.50"},
	{"inet", "'10.0.0.1/8'", "10.0.0.1/8"},
	{"int4range", "'[1,5)'", "[1,5)"},
	{"numrange", "'empty'", "empty"},
	{"tstzrange", "'[2024-01-01 00:00+00,)'", `["2024-01-01 00:00:00+00",)`},
	{"point", "'(1,2)'", "(1,2)"},
	{"box", "'(3,4),(1,2)'", "(3,4),(1,2)"},
	{"tsvector", "'a b'", "'a' 'b'"},
	{"bit(3)", "B'101'", "101"},
	{"pg_lsn", "'16/B374D848'", "16/B374D848"},
	{"int2vector", "'1 2'", "1 2"},
	{"mood", "'so ''so'''", "so 'so'"},
	{"posint", "5", int64(5)},
	{"nested", "6", int64(6)},
	{"moods", "'{happy}'", []any{"happy"}},
	{"composite", "ROW(1,'x')", "(1,x)"},
	{"span", "'[1.5,2.5]'", "[1.5,2.5]"},
	{"integer[]", "'{}'", []any{}},
	{"integer[]", "'{1,NULL,3}'", []any{int64(1), nil, int64(3)}},
	{"integer[]", "'[0:1]={7,8}'", []any{int64(7), int64(8)}},
	{"integer[]", "'[-1:0][2:3]={{1,2},{3,4}}'", []any{[]any{int64(1), int64(2)}, []any{int64(3), int64(4)}}},
	{"text[]", `ARRAY['a,b', 'c"d', 'e\f', 'null', NULL, '', '{x}', ' ', 'plain']`,
		[]any{"a,b", `c"d`, `e\f`, "null", nil, "", "{x}", " ", "plain"}},
	{"numeric[]", "'{1.10,NaN,-Infinity}'", []any{Numeric("1.10"), Numeric("NaN"), Numeric("-Infinity")}},
	{"boolean[]", "'{t,f,NULL}'", []any{true, false, nil}},
	{"date[]", "'{2024-01-31,infinity}'", []any{time.Date(2024, 1, 31, 0, 0, 0, 0, time.UTC), "infinity"}},
	{"timestamp[]", "'{2024-01-31 10:00}'", []any{time.Date(2024, 1, 31, 10, 0, 0, 0, time.UTC)}},
	{"bytea[]", `ARRAY['\x5c22'::bytea]`, []any{[]byte(`\"`)}},
	{"jsonb[]", `ARRAY['{"a": "b"}'::jsonb]`, []any{json.RawMessage(`{"a": "b"}`)}},
	{"box[]", "'{(3,4),(1,2);(1,1),(0,0)}'", []any{"(3,4),(1,2)", "(1,1),(0,0)"}},
	{"mood[]", `ARRAY['happy', 'so ''so''']::mood[]`, []any{"happy", "so 'so'"}},
	{"posint[]", "ARRAY[1, 2]::posint[]", []any{int64(1), int64(2)}},
	{"composite[]", "ARRAY[ROW(1,'x,y')]::composite[]", []any{`(1,"x,y")`}},
	{"varchar(5)[]", "'{a}'", []any{"a"}},
}

const typeSchema = `
	CREATE TYPE mood AS ENUM ('happy', 'so ''so''');
	CREATE DOMAIN posint AS integer CHECK (VALUE > 0);
	CREATE DOMAIN nested AS posint;
	CREATE DOMAIN moods AS mood[];
	CREATE TYPE composite AS (n integer, t text);
	CREATE TYPE span AS RANGE (subtype = float8);`

// Trap 10: every type goes through WAL and comes out equal to what SELECT gives, and as the Go type that Kind documents.
func TestTypesThroughWAL(t *testing.T) {
	var columns, literals, texts []string
	typeCases := slices.Clone(typeCases)
	if pgtest.Server(t).Major() < 14 {
		typeCases = slices.DeleteFunc(typeCases, func(c typeCase) bool {
			return strings.HasPrefix(c.typ, "numeric") && strings.Contains(c.literal, "Infinity")
		})
	}
	for i, c := range typeCases {
		columns = append(columns, fmt.Sprintf("c%d %s", i, c.typ))
		literals = append(literals, c.literal)
		texts = append(texts, fmt.Sprintf("c%d::text", i))
	}
	s := newWALSource(t, typeSchema+"CREATE TABLE t (id integer PRIMARY KEY, "+strings.Join(columns, ", ")+")")
	s.exec("INSERT INTO t VALUES (1, " + strings.Join(literals, ", ") + ")")
	s.exec("INSERT INTO t (id) VALUES (2)")
	want := make([]*string, len(texts))
	into := make([]any, len(texts))
	for i := range want {
		into[i] = &want[i]
	}
	if err := s.conn.QueryRow(t.Context(), "SELECT "+strings.Join(texts, ", ")+" FROM t WHERE id = 1").Scan(into...); err != nil {
		t.Fatal(err)
	}
	txs := play(t, s.decoder(wantNet, Limits{}), s.messages()...)
	if len(txs) != 2 || len(txs[0].changes) != 1 || len(txs[1].changes) != 1 {
		t.Fatalf("%d transactions", len(txs))
	}
	for i, c := range typeCases {
		v, null := txs[0].changes[0].After.Value(i+1), txs[1].changes[0].After.Value(i+1)
		name := c.typ + " " + c.literal
		// A cast to text strips the padding of char(n); its output function, as SELECT shows it, does not.
		if text := string(v.Text); text != *want[i] && strings.TrimRight(text, " ") != *want[i] && c.typ != "boolean" {
			t.Errorf("%s: text %q, SELECT gives %q", name, text, *want[i])
		}
		got, err := v.Any()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
		if got, err := null.Any(); got != nil || err != nil {
			t.Errorf("NULL %s: %v, %v", c.typ, got, err)
		}
	}
}

// A float NaN is not equal to itself, and so has no place in the table.
func TestNaNThroughWAL(t *testing.T) {
	s := newWALSource(t, "CREATE TABLE t (id integer PRIMARY KEY, f float8, r real[])")
	s.exec("INSERT INTO t VALUES (1, 'NaN', '{NaN,-Infinity}')")
	after := play(t, s.decoder(wantNet, Limits{}), s.messages()...)[0].changes[0].After
	f, err := after.Value(1).Any()
	if n, ok := f.(float64); !ok || !math.IsNaN(n) || err != nil {
		t.Errorf("float8: %v, %v", f, err)
	}
	r, err := after.Value(2).Any()
	if list, ok := r.([]any); !ok || len(list) != 2 || !math.IsNaN(list[0].(float64)) || !math.IsInf(list[1].(float64), -1) || err != nil {
		t.Errorf("real[]: %v, %v", r, err)
	}
}

// A type that was dropped before its WAL is read still has a name, and a domain its base type (TYPE message).
func TestDroppedTypes(t *testing.T) {
	s := newWALSource(t, typeSchema+"CREATE TABLE t (id posint PRIMARY KEY, m mood, ns posint[])")
	s.exec("INSERT INTO t VALUES (1, 'happy', '{1,2}')")
	s.exec("DROP TABLE t; DROP TYPE mood CASCADE; DROP DOMAIN posint CASCADE")
	c := play(t, s.decoder(wantNet, Limits{}), s.messages()...)[0].changes[0]
	if got, err := c.After.Value(0).Any(); got != int64(1) || err != nil || c.Key != "1" {
		t.Errorf("domain: %v, %v; key %q", got, err, c.Key)
	}
	if got, err := c.After.Value(1).Any(); got != "happy" || err != nil {
		t.Errorf("enum: %v, %v", got, err)
	}
	if got, err := c.After.Value(2).Any(); got != "{1,2}" || err != nil {
		t.Errorf("array: %v, %v", got, err)
	}
	if name := c.Rel.Columns[1].Type.Name; name != "public.mood" {
		t.Errorf("name %q", name)
	}
}

// Trap 15: the tuples are those that pglogrepl's parser finds.
func TestDecoderAgreesWithPglogrepl(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE f (id integer PRIMARY KEY, a text, b text); ALTER TABLE f REPLICA IDENTITY FULL;
		ALTER TABLE f ALTER b SET STORAGE EXTERNAL; CREATE TABLE d (id integer PRIMARY KEY, a text, b text); ALTER TABLE d ALTER b SET STORAGE EXTERNAL`)
	for _, table := range []string{"f", "d"} {
		s.exec(fmt.Sprintf(`INSERT INTO %[1]s SELECT i, CASE WHEN i %% 3 > 0 THEN 'a' || i END, repeat(i::text, 3000) FROM generate_series(1, 20) i`, table))
		s.exec(fmt.Sprintf(`UPDATE %[1]s SET a = 'x' WHERE id < 10`, table))
		s.exec(fmt.Sprintf(`UPDATE %[1]s SET id = id + 100 WHERE id < 5`, table))
		s.exec(fmt.Sprintf(`DELETE FROM %[1]s WHERE id > 15`, table))
	}
	messages := s.messages()
	var got []string
	for _, tx := range play(t, s.decoder(wantRaw, Limits{}), messages...) {
		for c := range tx.Changes() {
			got = append(got, fmt.Sprint(c.Op, c.Ordinal, rawRow(c.Before), rawRow(c.After)))
		}
	}
	var want []string
	ordinal := 0
	for _, m := range messages {
		parsed, err := pglogrepl.Parse(m)
		if err != nil {
			t.Fatal(err)
		}
		switch m := parsed.(type) {
		case *pglogrepl.BeginMessage:
			ordinal = 0
			continue
		case *pglogrepl.InsertMessage:
			want = append(want, fmt.Sprint(Create, ordinal, "", parsedRow(m.Tuple, nil, false)))
		case *pglogrepl.UpdateMessage:
			before := ""
			if m.OldTuple != nil {
				before = parsedRow(m.OldTuple, nil, m.OldTupleType == 'K')
			}
			after := parsedRow(m.NewTuple, m.OldTuple, false)
			if m.OldTuple != nil && !bytes.Equal(m.OldTuple.Columns[0].Data, m.NewTuple.Columns[0].Data) {
				want = append(want, fmt.Sprint(Unlink, ordinal, before, ""), fmt.Sprint(Create, ordinal, "", after))
			} else {
				want = append(want, fmt.Sprint(Write, ordinal, before, after))
			}
		case *pglogrepl.DeleteMessage:
			want = append(want, fmt.Sprint(Unlink, ordinal, parsedRow(m.OldTuple, nil, m.OldTupleType == 'K'), ""))
		default:
			continue
		}
		ordinal++
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-pglogrepl +walhook):\n%s", diff)
	}
	if len(want) < 60 {
		t.Errorf("only %d rows compared", len(want))
	}
}

// rawRow and parsedRow write rows in one form: columns as n, u, or t and the text.
func rawRow(r Row) string {
	if r.rel == nil {
		return ""
	}
	s := ""
	for i := range r.rel.Columns {
		switch v := r.Value(i); v.State {
		case Present:
			s += "|t" + string(v.Text)
		case Null:
			s += "|n"
		default:
			s += "|u"
		}
	}
	return s
}

func parsedRow(row, old *pglogrepl.TupleData, key bool) string {
	s := ""
	for i, c := range row.Columns {
		if c.DataType == 'u' && old != nil && old.Columns[i].DataType == 't' {
			c = old.Columns[i]
		}
		switch {
		case key && c.DataType == 'n':
			s += "|u"
		case c.DataType == 't':
			s += "|t" + string(c.Data)
		default:
			s += "|" + string(rune(c.DataType))
		}
	}
	return s
}

func TestTOASTThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE t (id integer PRIMARY KEY, n integer, big text); ALTER TABLE t ALTER big SET STORAGE EXTERNAL;
		INSERT INTO t VALUES (1, 0, repeat('x', 9000)), (2, 0, repeat('y', 9000))`)
	big := strings.Repeat("x", 9000)
	s.exec("UPDATE t SET n = 1 WHERE id = 1")
	s.exec("BEGIN; UPDATE t SET big = upper(big) WHERE id = 1; UPDATE t SET n = 2 WHERE id = 1; COMMIT")
	s.exec("ALTER TABLE t REPLICA IDENTITY FULL")
	s.exec("BEGIN; UPDATE t SET n = 3 WHERE id = 1; UPDATE t SET n = 4 WHERE id = 1; COMMIT")
	upper := strings.ToUpper(big)
	s.expect(
		"0 write t 1 unknown → {id=1 n=1 big=?}", "--",
		"1 write t 1 unknown → {id=1 n=2 big="+upper+"} ×2", "--",
		"1 write t 1 {id=1 n=2 big="+upper+"} → {id=1 n=4 big="+upper+"} ×2")
}

// Savepoints that are rolled back, COPY, multi-row INSERT, and what cascades in the database.
func TestTransactionsThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE o (id integer PRIMARY KEY, name text); CREATE TABLE l (id integer PRIMARY KEY, o integer REFERENCES o ON DELETE CASCADE);
		ALTER TABLE o REPLICA IDENTITY FULL; ALTER TABLE l REPLICA IDENTITY FULL`)
	s.exec("BEGIN; INSERT INTO o VALUES (1, 'a'); SAVEPOINT s; UPDATE o SET name = 'b'; INSERT INTO o VALUES (2, 'x'); ROLLBACK TO s; INSERT INTO o VALUES (3, 'c'); COMMIT")
	s.exec("BEGIN; INSERT INTO o VALUES (9, 'never'); ROLLBACK")
	if _, err := s.conn.PgConn().CopyFrom(t.Context(), strings.NewReader("4\tcopied\n5\t\\N\n"), "COPY o FROM STDIN"); err != nil {
		t.Fatal(err)
	}
	s.exec("INSERT INTO l VALUES (1, 1), (2, 1)")
	s.exec("DELETE FROM o WHERE id = 1")
	s.exec("UPDATE o SET name = v.name FROM (VALUES (4, 'd'), (5, 'e')) v(id, name) WHERE o.id = v.id")
	s.expect(
		"0 create o 1 none → {id=1 name=a}", "1 create o 3 none → {id=3 name=c}", "--",
		"0 create o 4 none → {id=4 name=copied}", "1 create o 5 none → {id=5 name=NULL}", "--",
		"0 create l 1 none → {id=1 o=1}", "1 create l 2 none → {id=2 o=1}", "--",
		"0 unlink o 1 {id=1 name=a} → none", "1 unlink l 1 {id=1 o=1} → none", "2 unlink l 2 {id=2 o=1} → none", "--",
		"0 write o 4 {id=4 name=copied} → {id=4 name=d}", "1 write o 5 {id=5 name=NULL} → {id=5 name=e}")
}

// Trap 11: a table changes its shape in the middle of a transaction.
func TestDDLThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE t (id integer PRIMARY KEY, a text, b text); ALTER TABLE t REPLICA IDENTITY FULL; INSERT INTO t VALUES (1, 'a', 'b'), (2, 'a', 'b')`)
	s.exec(`BEGIN; UPDATE t SET a = 'x' WHERE id = 1; ALTER TABLE t ADD c integer DEFAULT 7; UPDATE t SET b = 'y' WHERE id = 1;
		ALTER TABLE t DROP a; ALTER TABLE t RENAME b TO bb; UPDATE t SET c = 8 WHERE id = 1; DELETE FROM t WHERE id = 2; COMMIT`)
	s.exec(`BEGIN; CREATE TABLE n (id bigint PRIMARY KEY, v text); INSERT INTO n VALUES (1, 'new'); COMMIT`)
	s.expect(
		"2 write t 1 {id=1 a=a b=b} → {id=1 bb=y c=8} ×3", "3 unlink t 2 {id=2 bb=b c=7} → none", "--",
		"0 create n 1 none → {id=1 v=new}")
}

func TestReplicaIdentityThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE t (id integer PRIMARY KEY, a text); CREATE TABLE i (id integer PRIMARY KEY, code text NOT NULL UNIQUE);
		ALTER TABLE i REPLICA IDENTITY USING INDEX i_code_key; INSERT INTO t VALUES (1, 'a'), (2, 'a'); INSERT INTO i VALUES (1, 'c'), (2, 'd')`)
	s.exec(`BEGIN; UPDATE t SET a = 'b' WHERE id = 1; ALTER TABLE t REPLICA IDENTITY FULL; UPDATE t SET a = 'c'; ALTER TABLE t REPLICA IDENTITY DEFAULT;
		UPDATE t SET id = 3 WHERE id = 2; DELETE FROM t WHERE id = 1; COMMIT`)
	s.exec(`UPDATE i SET code = 'x' WHERE id = 1`)
	s.exec(`DELETE FROM i WHERE id = 2`)
	s.expect(
		"3 unlink t 2 {id=2 a=a} → none ×2", "3 create t 3 none → {id=3 a=c}", "4 unlink t 1 unknown → none ×3", "--",
		"0 write i 1 key{id=? code=?} → {id=1 code=x}", "--",
		"0 unlink i raw  key{id=? code=?} → none")
}

func TestTruncateThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY, a integer REFERENCES a)`)
	s.exec(`BEGIN; INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (1, 1); TRUNCATE a CASCADE; INSERT INTO a VALUES (2); COMMIT`)
	got := s.changes(wantNet)
	slices.Sort(got[:2]) // the order of the tables in one TRUNCATE is the server's
	if len(got) != 3 || !strings.HasSuffix(got[0], "truncate a") && !strings.HasSuffix(got[1], "truncate a") || got[2] != "5 create a 2 none → {id=2}" {
		t.Errorf("%q", got)
	}
}

// Keys: composite ones in the order of pg_index, not of the columns; none; many2many tables of Odoo under FULL.
func TestKeysThroughWAL(t *testing.T) {
	s := newWALSource(t, `CREATE TABLE m2m (a integer, b integer, PRIMARY KEY (b, a)); ALTER TABLE m2m REPLICA IDENTITY FULL;
		CREATE TABLE d (a text, b text, v integer, PRIMARY KEY (b, a)); CREATE TABLE k (v integer); ALTER TABLE k REPLICA IDENTITY FULL; CREATE TABLE "S p" ("I d" uuid PRIMARY KEY)`)
	s.exec(`INSERT INTO m2m VALUES (1, 2)`)
	s.exec(`UPDATE m2m SET a = 3`)
	s.exec(`INSERT INTO d VALUES ('x,y', 'a\b', 1)`)
	s.exec(`INSERT INTO k VALUES (1), (1)`)
	s.exec(`INSERT INTO "S p" VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')`)
	s.expect(
		"0 create m2m 2,1 none → {a=1 b=2}", "--",
		"0 unlink m2m 2,1 {a=1 b=2} → none", "0 create m2m 2,3 none → {a=3 b=2}", "--",
		`0 create d a\\b,x\,y none → {a=x,y b=a\b v=1}`, "--",
		"0 create k raw  none → {v=1}", "1 create k raw  none → {v=1}", "--",
		"0 create S p a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11 none → {I d=a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}")
}

// Transactions carry what identifies and orders them.
func TestTransactionMetadata(t *testing.T) {
	s := newWALSource(t, "CREATE TABLE t (id integer PRIMARY KEY)")
	var xid uint64
	var lsn string
	var at time.Time
	if err := s.conn.QueryRow(t.Context(), "INSERT INTO t VALUES (1) RETURNING txid_current()").Scan(&xid); err != nil {
		t.Fatal(err)
	}
	if err := s.conn.QueryRow(t.Context(), "SELECT pg_current_wal_lsn()::text, now()").Scan(&lsn, &at); err != nil {
		t.Fatal(err)
	}
	now, err := pglogrepl.ParseLSN(lsn)
	if err != nil {
		t.Fatal(err)
	}
	tx := play(t, s.decoder(wantNet, Limits{}), s.messages()...)[0]
	if uint64(tx.XID) != xid || tx.EndLSN <= tx.CommitLSN || tx.EndLSN > now || at.Sub(tx.CommitTime).Abs() > time.Minute || tx.CommitTime.Location() != time.UTC {
		t.Errorf("%d %s %s %s", tx.XID, tx.CommitLSN, tx.EndLSN, tx.CommitTime)
	}
}

// Every type that a column can have is known, under PostgreSQL's name.
func TestBuiltinTypes(t *testing.T) {
	s := newWALSource(t, "")
	rows, err := s.conn.Query(t.Context(), `SELECT t.oid::int8, format_type(t.oid, NULL), t.typname::text, coalesce(e.typdelim::text, ''), coalesce(e.oid, 0)::int8
		FROM pg_type t LEFT JOIN pg_type e ON e.typarray = t.oid
		WHERE t.oid < 10000 AND t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype IN ('b', 'r', 'm') AND coalesce(e.typrelid, 0) = 0
		AND t.typname NOT IN ('gtsvector', '_cstring') -- no column has these`)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var oid, elem uint32
		var name, typname, delim string
		if err := rows.Scan(&oid, &name, &typname, &delim, &elem); err != nil {
			t.Fatal(err)
		}
		typ := BuiltinType(oid)
		switch {
		case typ == nil:
			t.Errorf("%d %s is not known", oid, name)
		case typ.OID != oid || typ.Name != name && typname != "bpchar" && typname != "_bpchar":
			t.Errorf("%d %s is called %d %s", oid, name, typ.OID, typ.Name)
		case (elem != 0) != (typ.Kind == KindArray):
			t.Errorf("%s: kind %s", name, typ.Kind)
		case elem != 0 && (typ.Elem.OID != elem || string(typ.Delim) != delim):
			t.Errorf("%s: element %d, delimiter %q", name, typ.Elem.OID, typ.Delim)
		}
		if builtinNamed(typname) != typ {
			t.Errorf("%s is not found by its name %s", name, typname)
		}
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
}
