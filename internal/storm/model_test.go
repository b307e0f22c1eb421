package storm

import (
	"crypto/md5"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// column is one that the digest of a row is made of.
type column struct {
	name string
	kind byte // i(nteger), t(ext), n(umeric), f(loat), j(son), d(atetime), b(oolean)
}

// table is what writers know of one. All tables also have v, stamp and write_date.
type table struct {
	name    string
	model   string // as walhook calls it; "" for the table's own name
	keys    int    // the first so many columns are the primary key
	columns []column
	timed   bool // write_date is the time of the transaction: stamp is the number of the last write
}

func columnsOf(text string) (all []column) {
	for one := range strings.FieldsSeq(text + " v:i stamp:i") {
		name, kind, _ := strings.Cut(one, ":")
		all = append(all, column{name, kind[0]})
	}
	return all
}

var (
	partners  = &table{"res_partner", "res.partner", 1, columnsOf("id:i name:t email:t credit:n data:j comment:t"), false}
	orders    = &table{"sale_order", "sale.order", 1, columnsOf("id:i name:t state:t partner_id:i note:t amount_total:n meta:j date_order:d active:b"), false}
	lines     = &table{"sale_order_line", "sale.order.line", 1, columnsOf("id:i order_id:i name:t product_uom_qty:n price_unit:f extra:j"), false}
	tags      = &table{"sale_order_tag_rel", "", 2, columnsOf("order_id:i tag_id:i weight:n"), false}
	documents = &table{"document", "", 1, columnsOf("code:t title:t body:t"), false}
	items     = &table{"item", "", 1, columnsOf("id:i name:t qty:n"), false}
	visits    = &table{"visit", "", 1, columnsOf("id:i name:t qty:n"), true}
	scratches = &table{"scratch", "", 1, columnsOf("id:i name:t"), false}
)

var tables = []*table{partners, orders, lines, tags, documents, items, visits, scratches}

func tableNamed(name string) *table {
	for _, t := range tables {
		if t.name == name || t.model == name {
			return t
		}
	}
	return nil
}

func (t *table) index(name string) int {
	i := slices.IndexFunc(t.columns, func(c column) bool { return c.name == name })
	if i < 0 {
		panic(t.name + " has no column " + name)
	}
	return i
}

// null stands for NULL among the texts of values.
const null = "\x00"

// row is a record as its writer knows it: the text of each column, in one form that both writers and receivers can make, and then
// the number of its write_date.
type row []string

// epoch is what numbers of writes are counted from.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func numberOf(at time.Time) string { return strconv.FormatInt(at.Sub(epoch).Microseconds(), 10) }

// written is the number of the row's last write.
func (r row) written() string { return r[len(r)-1] }

func (t *table) get(r row, name string) string { return r[t.index(name)] }

func (t *table) number(r row, name string) int64 {
	n, err := strconv.ParseInt(t.get(r, name), 10, 64)
	if err != nil {
		panic(fmt.Sprintf("%s.%s: %v", t.name, name, err))
	}
	return n
}

// writeDate is what a row's write_date is set to, as SQL.
func (t *table) writeDate(r row) string {
	if t.timed {
		return "(now() AT TIME ZONE 'UTC')"
	}
	return timestamp(r.written()) + "::timestamp"
}

// key is the primary key: one text, or several with commas.
func (t *table) key(r row) string { return strings.Join(r[:t.keys], ",") }

// facts are what conditions read, and what the checker joins by: of an order its state and amount, of its lines and tags the order.
func (t *table) facts(r row) string {
	switch t {
	case orders:
		return t.get(r, "state") + "|" + t.get(r, "amount_total")
	case lines, tags:
		return t.get(r, "order_id")
	}
	return ""
}

// digest is what tells two contents of a row apart.
func (t *table) digest(r row) string {
	sum := md5.Sum([]byte(strings.Join(r[:len(t.columns)], "\x1f")))
	return hex.EncodeToString(sum[:8])
}

// literal writes a value as SQL.
func (c column) literal(v string) string {
	if v == null {
		return "NULL"
	}
	quoted := "'" + strings.ReplaceAll(v, "'", "''") + "'"
	switch c.kind {
	case 'i', 'n', 'b':
		return v
	case 'f':
		return v + "::float8"
	case 'j':
		return quoted + "::jsonb"
	case 'd':
		return quoted + "::timestamp"
	}
	return quoted
}

// sqlType is for the first row of VALUES, which decides about the types of all.
func (c column) sqlType() string {
	return map[byte]string{'i': "bigint", 't': "text", 'n': "numeric", 'f': "float8", 'j': "jsonb", 'd': "timestamp", 'b': "boolean"}[c.kind]
}

// fromDatabase makes the text of a value out of PostgreSQL's.
func (c column) fromDatabase(text []byte) (string, error) {
	if text == nil {
		return null, nil
	}
	s := string(text)
	switch c.kind {
	case 'b':
		return map[string]string{"t": "true", "f": "false"}[s], nil
	case 'd':
		at, err := time.Parse("2006-01-02 15:04:05.999999", s)
		return at.Format(time.RFC3339Nano), err
	case 'j':
		return canonical(text)
	}
	return s, nil
}

// fromJSON makes it out of what a receiver gets.
func (c column) fromJSON(raw json.RawMessage) (string, error) {
	if len(raw) == 0 {
		return "", fmt.Errorf("%s is missing", c.name)
	}
	if string(raw) == "null" {
		return null, nil
	}
	switch c.kind {
	case 't', 'd':
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	case 'j':
		return canonical(raw)
	}
	return string(raw), nil
}

func canonical(text []byte) (string, error) {
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return "", err
	}
	out, err := json.Marshal(v)
	return string(out), err
}

// model is what a writer knows of the records that are its own, and of those that it has locked.
type model map[*table]map[string]row

func newModel() model {
	m := model{}
	for _, t := range tables {
		m[t] = map[string]row{}
	}
	return m
}

// clone copies the model; rows are never changed in place.
func (m model) clone() model {
	c := make(model, len(m))
	for t, rows := range m {
		c[t] = maps.Clone(rows)
	}
	return c
}

// keys are in an order that does not depend on chance.
func (m model) keys(t *table) []string { return slices.Sorted(maps.Keys(m[t])) }
