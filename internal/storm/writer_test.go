package storm

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// writer is one session. It knows the rows that are its own, so that what it is going to write, and what comes of it, is known
// before: each of its statements says which rows it writes.
type writer struct {
	*Workload
	id, action, try int
	rnd             *rand.Rand
	conn            *pgx.Conn
	m               model // with this transaction's writes
	next            int   // key of the writer's own
	hot             []hotRow
	began           snapshot
	seq             int     // of writes within the action
	pend            []entry // of the ledger, not written yet
}

type hotRow struct {
	t   *table
	key string
}

// snapshot is what a savepoint brings back.
type snapshot struct {
	m    model
	next int
}

func (w *writer) snapshot() snapshot { return snapshot{w.m.clone(), w.next} }

// restore brings back what is known, and keeps s as it is. The number of a write is never used again.
func (w *writer) restore(s snapshot) { w.m, w.next = s.m.clone(), s.next }

// entry is a line of the ledger.
type entry struct {
	t        *table
	key      string
	op       byte
	old, new row
	token    string // of a message
	parent   string
}

// number is that of the next write.
func (w *writer) number() string {
	const seqs, tries, actions = 1 << 15, 1 << 6, 1 << 11
	w.seq++
	if w.seq >= seqs || w.action >= actions {
		panic("numbers run out")
	}
	return strconv.Itoa(((w.id*actions+w.action)*tries+w.try)*seqs + w.seq)
}

func timestamp(number string) string {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		panic(err)
	}
	return epoch.Add(time.Duration(n) * time.Microsecond).Format("'2006-01-02 15:04:05.000000'")
}

// key is a new one, of the writer's own.
func (w *writer) key() string {
	w.next++
	return strconv.Itoa((w.id+1)*10_000_000 + w.next)
}

func (w *writer) exec(sql string) error {
	_, err := w.ask(sql)
	return err
}

// ask runs statements and returns the rows of those that have any.
func (w *writer) ask(sql string) (rows [][][]byte, err error) {
	results, err := w.conn.PgConn().Exec(w.ctx, sql).ReadAll()
	for _, r := range results {
		rows = append(rows, r.Rows...)
	}
	if err != nil {
		if len(sql) > 500 {
			sql = sql[:500] + "..."
		}
		return nil, fmt.Errorf("%s: %w", sql, err)
	}
	return rows, nil
}

// flush writes to the ledger what has been done since.
func (w *writer) flush() error {
	for some := range slices.Chunk(w.pend, 500) {
		var b strings.Builder
		b.WriteString("INSERT INTO ledger (writer, action, tab, key, op, old_wd, new_wd, old_stamp, new_stamp, old_digest, new_digest, old_facts, new_facts, parent) VALUES ")
		for i, e := range some {
			if i > 0 {
				b.WriteString(", ")
			}
			side := func(r row) (wd, stamp, digest, facts string) {
				if r == nil {
					return "NULL", "NULL", "NULL", "NULL"
				}
				return r.written(), e.t.get(r, "stamp"), text.literal(e.t.digest(r)), text.literal(strings.ReplaceAll(e.t.facts(r), null, ""))
			}
			ow, os, od, of := side(e.old)
			nw, ns, nd, nf := side(e.new)
			if e.op == 'm' {
				nw = e.token
			}
			parent := null
			if e.parent != "" {
				parent = e.parent
			}
			fmt.Fprintf(&b, "(%d, %d, '%s', %s, '%c', %s, %s, %s, %s, %s, %s, %s, %s, %s)", w.id, w.action, e.t.name, text.literal(e.key), e.op, ow, nw, os, ns, od, nd, of, nf, text.literal(parent))
		}
		if err := w.exec(b.String()); err != nil {
			return err
		}
	}
	w.pend = nil
	return nil
}

var text = column{kind: 't'}

// make is a new row of a table: the columns' values in their order, then v, stamp and the number.
func (w *writer) make(t *table, v int64, values ...string) row {
	n := w.number()
	r := append(row(values), strconv.FormatInt(v, 10), n, n)
	if len(r) != len(t.columns)+1 {
		panic(fmt.Sprintf("%s has %d columns, not %d", t.name, len(t.columns), len(r)-1))
	}
	return r
}

// values writes a row as SQL.
func (t *table) values(r row) string {
	all := make([]string, 0, len(r))
	for i, c := range t.columns {
		all = append(all, c.literal(r[i]))
	}
	return "(" + strings.Join(append(all, t.writeDate(r)), ", ") + ")"
}

func (t *table) names() string {
	all := []string{}
	for _, c := range t.columns {
		all = append(all, c.name)
	}
	return strings.Join(append(all, "write_date"), ", ")
}

// insert is one statement for all rows.
func (w *writer) insert(t *table, rows ...row) error {
	if len(rows) == 0 {
		return nil
	}
	var all []string
	for _, r := range rows {
		all = append(all, t.values(r))
		w.inserted(t, r)
	}
	return w.exec("INSERT INTO " + t.name + " (" + t.names() + ") VALUES " + strings.Join(all, ", "))
}

func (w *writer) inserted(t *table, r row) {
	w.m[t][t.key(r)] = r
	w.pend = append(w.pend, entry{t: t, key: t.key(r), op: 'i', new: r})
}

// copyIn is COPY, whose rows share one place in WAL.
func (w *writer) copyIn(t *table, rows []row) error {
	var b strings.Builder
	for _, r := range rows {
		for i := range t.columns {
			b.WriteString(strings.ReplaceAll(r[i], null, `\N`) + "\t")
		}
		b.WriteString(strings.Trim(timestamp(r.written()), "'") + "\n")
		w.inserted(t, r)
	}
	_, err := w.conn.PgConn().CopyFrom(w.ctx, strings.NewReader(b.String()), "COPY "+t.name+" ("+t.names()+") FROM STDIN")
	return err
}

// update sets columns of rows, in one statement. What is set to the value it has is no change: then write_date alone is written.
func (w *writer) update(t *table, keys []string, names []string, set func(r row, to func(name, value string))) error {
	if len(keys) == 0 {
		return nil
	}
	var tuples []string
	written := append(slices.Clone(names), "v", "stamp")
	for _, key := range keys {
		old := w.m[t][key]
		r := slices.Clone(old)
		set(old, func(name, value string) { r[t.index(name)] = value })
		n := w.number()
		r[len(r)-1] = n
		if t.digest(r) != t.digest(old) {
			r[t.index("v")], r[t.index("stamp")] = strconv.FormatInt(t.number(old, "v")+1, 10), n
		} else if t.timed {
			r[len(r)-1] = old.written()
		}
		if t.key(r) != key {
			panic("update does not change keys")
		}
		w.m[t][key] = r
		w.pend = append(w.pend, entry{t: t, key: key, op: 'u', old: old, new: r})
		tuple := []string{}
		for _, c := range t.columns[:t.keys] {
			tuple = append(tuple, c.literal(t.get(r, c.name)))
		}
		for _, name := range written {
			c := t.columns[t.index(name)]
			tuple = append(tuple, c.literal(r[t.index(name)])+"::"+c.sqlType())
		}
		tuples = append(tuples, "("+strings.Join(append(tuple, t.writeDate(r)), ", ")+")")
	}
	var head, sets, join []string
	for _, c := range t.columns[:t.keys] {
		head = append(head, c.name)
		join = append(join, "t."+c.name+" = d."+c.name)
	}
	for _, name := range append(written, "write_date") {
		head = append(head, name)
		sets = append(sets, name+" = d."+name)
	}
	return w.exec(fmt.Sprintf("UPDATE %s t SET %s FROM (VALUES %s) d (%s) WHERE %s", t.name, strings.Join(sets, ", "), strings.Join(tuples, ", "), strings.Join(head, ", "), strings.Join(join, " AND ")))
}

// rekey gives a row another primary key, and perhaps other values.
func (w *writer) rekey(t *table, key string, change func(r row)) error {
	old := w.m[t][key]
	r := slices.Clone(old)
	change(r)
	n := w.number()
	r[t.index("v")], r[t.index("stamp")], r[len(r)-1] = strconv.FormatInt(t.number(old, "v")+1, 10), n, n
	delete(w.m[t], key)
	w.m[t][t.key(r)] = r
	w.pend = append(w.pend, entry{t: t, key: key, op: 'd', old: old}, entry{t: t, key: t.key(r), op: 'i', new: r})
	var sets []string
	for i, c := range t.columns {
		if old[i] != r[i] {
			sets = append(sets, c.name+" = "+c.literal(r[i]))
		}
	}
	return w.exec(fmt.Sprintf("UPDATE %s SET %s, write_date = %s WHERE %s", t.name, strings.Join(sets, ", "), timestamp(n), t.where(key)))
}

func (t *table) where(key string) string {
	var all []string
	for i, part := range strings.SplitN(key, ",", t.keys) {
		all = append(all, t.columns[i].name+" = "+t.columns[i].literal(part))
	}
	return strings.Join(all, " AND ")
}

// remove deletes rows in one statement. The database takes the lines and tags of an order with it.
func (w *writer) remove(t *table, keys ...string) error {
	if len(keys) == 0 {
		return nil
	}
	var where []string
	for _, key := range keys {
		where = append(where, "("+t.where(key)+")")
		w.removed(t, key, "")
	}
	if t == orders {
		for _, child := range []*table{lines, tags} {
			for _, key := range w.m.keys(child) {
				if parent := child.get(w.m[child][key], "order_id"); slices.Contains(keys, parent) {
					w.removed(child, key, parent)
				}
			}
		}
	}
	return w.exec("DELETE FROM " + t.name + " WHERE " + strings.Join(where, " OR "))
}

func (w *writer) removed(t *table, key, parent string) {
	w.pend = append(w.pend, entry{t: t, key: key, op: 'd', old: w.m[t][key], parent: parent})
	delete(w.m[t], key)
}

// truncate empties a table that only this writer uses.
func (w *writer) truncate(t *table) error {
	w.pend = append(w.pend, entry{t: t, op: 't'})
	clear(w.m[t])
	return w.exec("TRUNCATE " + t.name)
}

// message is a custom event about an order that this transaction has locked, or that is the writer's own.
func (w *writer) message(key string) error {
	n := w.number()
	w.pend = append(w.pend, entry{t: orders, key: key, op: 'm', token: n})
	return w.exec(fmt.Sprintf(`SELECT pg_logical_emit_message(true, 'walhook', '{"event": "order.note", "model": "sale.order", "id": %s, "data": {"token": %s}}')`, key, n))
}

// never is a message that is not transactional, and so none of walhook's business.
func (w *writer) never(key string) error {
	return w.exec(fmt.Sprintf(`SELECT pg_logical_emit_message(false, 'walhook', '{"event": "order.note", "model": "sale.order", "id": %s, "data": {"token": %s}}')`, key, w.number()))
}

// lock takes a hot record, and reads it.
func (w *writer) lock(t *table, key string) error {
	if w.m[t][key] != nil {
		return nil
	}
	names := []string{}
	for _, c := range t.columns {
		names = append(names, c.name)
	}
	got, err := w.ask(fmt.Sprintf("SELECT %s, write_date FROM %s WHERE %s FOR UPDATE", strings.Join(names, ", "), t.name, t.where(key)))
	if err != nil {
		return err
	}
	if len(got) != 1 {
		return fmt.Errorf("%s %s: %d rows", t.name, key, len(got))
	}
	r := row{}
	for i, c := range t.columns {
		v, err := c.fromDatabase(got[0][i])
		if err != nil {
			return err
		}
		r = append(r, v)
	}
	at, err := time.Parse("2006-01-02 15:04:05.999999", string(got[0][len(t.columns)]))
	if err != nil {
		return err
	}
	if t.timed {
		w.m[t][key] = append(r, t.get(r, "stamp"))
	} else {
		w.m[t][key] = append(r, numberOf(at))
	}
	w.hot = append(w.hot, hotRow{t, key})
	return nil
}

// forgetHot lets go of what others may write from now on.
func (w *writer) forgetHot() {
	for _, h := range w.hot {
		delete(w.m[h.t], h.key)
	}
	w.hot = nil
}

// savepoint does something within a savepoint, and what fate says afterwards: it is released, rolled back to, or fails at a constraint as the
// ORM's writes do now and then.
func (w *writer) savepoint(depth int, do func() error) error {
	if err := w.flush(); err != nil {
		return err
	}
	name := fmt.Sprintf("s%d", depth)
	if err := w.exec("SAVEPOINT " + name); err != nil {
		return err
	}
	before, fate := w.snapshot(), w.rnd.IntN(6)
	if err := do(); err != nil {
		return err
	}
	if err := w.flush(); err != nil { // into the savepoint
		return err
	}
	switch fate {
	case 0, 1:
	case 2:
		var pg *pgconn.PgError
		err := w.exec("INSERT INTO done (writer, action, try) VALUES (" + fmt.Sprintf("%d, %d, %d)", w.id, w.action, w.try))
		if !errors.As(err, &pg) || pg.Code != "23505" {
			return fmt.Errorf("a duplicate: %w", err)
		}
	default:
		w.tally.Add("savepoints", "released", 1)
		return w.exec("RELEASE SAVEPOINT " + name)
	}
	w.restore(before)
	w.tally.Add("savepoints", "rolled back", 1)
	return w.exec("ROLLBACK TO SAVEPOINT " + name)
}
