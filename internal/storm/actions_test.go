package storm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// kind is one sort of business action.
type kind struct {
	name   string
	weight int
	do     func(w *writer) error
}

var kinds = []kind{
	{"order", 26, (*writer).order},
	{"savepoints", 16, (*writer).nested},
	{"several rows", 10, (*writer).several},
	{"copy", 4, (*writer).imports},
	{"deletes", 10, (*writer).deletes},
	{"key changes", 6, (*writer).rekeys},
	{"write_date alone and no-ops", 5, (*writer).quiet},
	{"long texts", 8, (*writer).texts},
	{"messages", 7, (*writer).messages},
	{"hot records", 14, (*writer).hotOnes},
	{"tags", 8, (*writer).tagging},
	{"visits", 8, (*writer).visit},
	{"truncate", 2, (*writer).truncates},
	{"huge", 1, (*writer).huge},
}

// draw draws the action's kind. A huge one is rare, and more so where there are many writers.
func (w *writer) draw() kind {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	for {
		n := w.rnd.IntN(total)
		for _, k := range kinds {
			if n -= k.weight; n < 0 {
				if k.name == "huge" && w.rnd.IntN(4) > 0 || k.name == "truncate" && w.id > 0 {
					break
				}
				return k
			}
		}
	}
}

// some are up to n of the writer's own records, in a fixed order.
func (w *writer) some(t *table, n int) []string {
	keys := w.m.keys(t)
	keys = slices.DeleteFunc(keys, func(key string) bool { return len(key) < 8 && t != documents }) // hot ones
	w.rnd.Shuffle(len(keys), func(i, j int) { keys[i], keys[j] = keys[j], keys[i] })
	if len(keys) > n {
		keys = keys[:n]
	}
	slices.Sort(keys)
	return keys
}

func words(rnd *rand.Rand) string {
	return []string{"L'Été à Łódź", "plain", "", "tab\tand \"quote\"", "日本", "back\\slash", "{\"json\": 1}"}[rnd.IntN(7)] + " " + strconv.Itoa(rnd.IntN(1000))
}

// long is a text that is stored out of line, where it may.
func long(rnd *rand.Rand, chunks int) string {
	var b strings.Builder
	for range chunks {
		fmt.Fprintf(&b, "%016x", rnd.Uint64())
	}
	return b.String()
}

func money(rnd *rand.Rand) string { return fmt.Sprintf("%d.%02d", rnd.IntN(5000), rnd.IntN(100)) }

func object(rnd *rand.Rand) string {
	if rnd.IntN(3) == 0 {
		return null
	}
	return fmt.Sprintf(`{"a":%d,"tags":["x","y%d"]}`, rnd.IntN(100), rnd.IntN(10))
}

// order is a new one: inserted half empty, with lines and tags, and completed by several updates.
func (w *writer) order() error {
	id := w.key()
	note := null
	if w.rnd.IntN(3) == 0 {
		note = long(w.rnd, 160)
	}
	if err := w.insert(orders, w.make(orders, 1, id, "New", null, null, note, null, null, null, "true")); err != nil {
		return err
	}
	var some []row
	for range 1 + w.rnd.IntN(5) {
		some = append(some, w.make(lines, 1, w.key(), id, words(w.rnd), null, null, null))
	}
	if err := w.insert(lines, some...); err != nil {
		return err
	}
	if err := w.update(orders, []string{id}, []string{"name", "state", "partner_id", "date_order"}, func(_ row, to func(string, string)) {
		to("name", "SO"+id)
		to("state", "draft")
		to("partner_id", strconv.Itoa(w.rnd.IntN(1000)))
		to("date_order", "2026-0"+strconv.Itoa(1+w.rnd.IntN(9))+"-11T10:20:30.5Z")
	}); err != nil {
		return err
	}
	var ids []string
	for _, r := range some {
		ids = append(ids, lines.key(r))
	}
	if err := w.update(lines, ids, []string{"product_uom_qty", "price_unit", "extra"}, func(_ row, to func(string, string)) {
		to("product_uom_qty", money(w.rnd))
		to("price_unit", fmt.Sprintf("%d.25", w.rnd.IntN(900)))
		to("extra", object(w.rnd))
	}); err != nil {
		return err
	}
	if err := w.tag(id, w.rnd.IntN(3)); err != nil {
		return err
	}
	for range w.rnd.IntN(4) {
		if err := w.change(id); err != nil {
			return err
		}
	}
	return nil
}

// change is what happens to an order.
func (w *writer) change(id string) error {
	return w.update(orders, []string{id}, []string{"state", "amount_total", "meta"}, func(_ row, to func(string, string)) {
		to("state", []string{"draft", "sent", "sale", "cancel", null}[w.rnd.IntN(5)])
		to("amount_total", []string{money(w.rnd), money(w.rnd), null}[w.rnd.IntN(3)])
		to("meta", object(w.rnd))
	})
}

func (w *writer) tag(order string, n int) error {
	var some []row
	for i := range n {
		tag := strconv.Itoa(1 + i)
		if w.m[tags][order+","+tag] == nil {
			some = append(some, w.make(tags, 1, order, tag, money(w.rnd)))
		}
	}
	return w.insert(tags, some...)
}

// nested is savepoints in savepoints.
func (w *writer) nested() error { return w.nest(1 + w.rnd.IntN(3)) }

func (w *writer) nest(depth int) error {
	for range 1 + w.rnd.IntN(2) {
		if err := w.savepoint(depth, func() error {
			within := []func(*writer) error{(*writer).order, (*writer).several, (*writer).deletes, (*writer).tagging, (*writer).hotOnes, (*writer).messages, (*writer).texts, (*writer).rekeys}
			if err := within[w.rnd.IntN(len(within))](w); err != nil || depth == 1 {
				return err
			}
			return w.nest(depth - 1)
		}); err != nil {
			return err
		}
	}
	return nil
}

// several writes many rows in one statement, and some of them again.
func (w *writer) several() error {
	some := w.some(lines, 40)
	discount := func(_ row, to func(string, string)) { to("price_unit", fmt.Sprintf("%d.75", w.rnd.IntN(3))) }
	if err := w.update(lines, some, []string{"price_unit"}, discount); err != nil {
		return err
	}
	if err := w.update(lines, some[:len(some)/3], []string{"price_unit", "name"}, func(r row, to func(string, string)) {
		discount(r, to)
		to("name", words(w.rnd))
	}); err != nil {
		return err
	}
	return w.update(orders, w.some(orders, 6), []string{"state"}, func(_ row, to func(string, string)) { to("state", []string{"sent", "sale"}[w.rnd.IntN(2)]) })
}

// imports brings rows by COPY, and changes some.
func (w *writer) imports() error {
	var some []row
	for range 20 + w.rnd.IntN(100) {
		some = append(some, w.make(items, 1, w.key(), "imported "+strconv.Itoa(w.rnd.IntN(1000)), null))
	}
	if err := w.copyIn(items, some); err != nil {
		return err
	}
	if err := w.update(items, w.some(items, 30), []string{"qty"}, func(_ row, to func(string, string)) { to("qty", money(w.rnd)) }); err != nil {
		return err
	}
	return w.remove(items, w.some(items, 15)...)
}

// deletes are of rows that were, rows just changed, rows of this transaction, and rows that come back.
func (w *writer) deletes() error {
	if err := w.remove(lines, w.some(lines, 3)...); err != nil {
		return err
	}
	some := w.some(orders, 1+w.rnd.IntN(2))
	if len(w.m[orders]) > 40 {
		some = w.some(orders, 10)
	}
	for _, id := range some {
		if err := w.change(id); err != nil {
			return err
		}
	}
	if err := w.remove(orders, some...); err != nil {
		return err
	}
	gone := w.make(items, 1, w.key(), "gone at once", null)
	if err := w.insert(items, gone); err != nil {
		return err
	}
	if err := w.remove(items, items.key(gone)); err != nil {
		return err
	}
	for _, key := range w.some(items, 2) {
		old := w.m[items][key]
		if err := w.remove(items, key); err != nil {
			return err
		}
		if w.rnd.IntN(3) > 0 {
			if err := w.insert(items, w.make(items, items.number(old, "v")+1, key, "back again", null)); err != nil {
				return err
			}
		}
	}
	return nil
}

// rekeys changes primary keys, some of them twice, of one column and of two.
func (w *writer) rekeys() error {
	for _, key := range w.some(items, 2) {
		for range 1 + w.rnd.IntN(2) {
			to := w.key()
			if err := w.rekey(items, key, func(r row) { r[0] = to }); err != nil {
				return err
			}
			key = to
		}
	}
	for _, key := range w.some(lines, 1) {
		if err := w.rekey(lines, key, func(r row) { r[0] = w.key() }); err != nil {
			return err
		}
	}
	for _, key := range w.some(tags, 2) {
		order := tags.get(w.m[tags][key], "order_id")
		if to := strconv.Itoa(10 + w.rnd.IntN(50)); w.m[tags][order+","+to] == nil {
			if err := w.rekey(tags, key, func(r row) { r[1] = to }); err != nil {
				return err
			}
		}
	}
	return nil
}

// quiet writes what is no change.
func (w *writer) quiet() error {
	nothing := func(row, func(string, string)) {}
	if err := w.update(orders, w.some(orders, 5), nil, nothing); err != nil {
		return err
	}
	if err := w.update(tags, w.some(tags, 5), []string{"weight"}, nothing); err != nil {
		return err
	}
	some := w.some(lines, 10)
	if len(some) == 0 {
		return nil
	}
	return w.exec("UPDATE sale_order_line SET name = name WHERE id IN (" + strings.Join(some, ", ") + ")")
}

// texts writes long values, and leaves long values alone.
func (w *writer) texts() error {
	code := fmt.Sprintf("D-%d-%s", w.id, w.key())
	if err := w.insert(documents, w.make(documents, 1, code, words(w.rnd), long(w.rnd, 300+w.rnd.IntN(900)))); err != nil {
		return err
	}
	if err := w.update(documents, w.some(documents, 3), []string{"title"}, func(_ row, to func(string, string)) { to("title", words(w.rnd)) }); err != nil {
		return err
	}
	if err := w.update(documents, w.some(documents, 1), []string{"body"}, func(_ row, to func(string, string)) { to("body", long(w.rnd, 400)) }); err != nil {
		return err
	}
	if len(w.m[documents]) > 12 {
		if err := w.remove(documents, w.some(documents, 4)...); err != nil {
			return err
		}
	}
	return w.update(orders, w.some(orders, 2), []string{"note"}, func(_ row, to func(string, string)) { to("note", long(w.rnd, 160)) })
}

// messages are custom events between writes of the order that they are about.
func (w *writer) messages() error {
	for _, key := range w.some(orders, 2) {
		if err := w.message(key); err != nil {
			return err
		}
		if w.rnd.IntN(2) == 0 {
			if err := w.change(key); err != nil {
				return err
			}
		}
		if err := w.message(key); err != nil {
			return err
		}
		if err := w.never(key); err != nil {
			return err
		}
	}
	return nil
}

// hotOnes writes records that all others write, too.
func (w *writer) hotOnes() error {
	key := strconv.Itoa(1 + w.rnd.IntN(8))
	if err := w.lock(partners, key); err != nil {
		return err
	}
	if err := w.update(partners, []string{key}, []string{"credit", "email", "data"}, func(_ row, to func(string, string)) {
		to("credit", money(w.rnd))
		to("email", words(w.rnd))
		to("data", object(w.rnd))
	}); err != nil {
		return err
	}
	if w.rnd.IntN(2) == 0 {
		return nil
	}
	key = strconv.Itoa(1 + w.rnd.IntN(8))
	if err := w.lock(orders, key); err != nil {
		return err
	}
	if w.rnd.IntN(3) == 0 {
		if err := w.message(key); err != nil {
			return err
		}
	}
	return w.change(key)
}

// tagging writes the table with two key columns, of which every single write is an event.
func (w *writer) tagging() error {
	for _, order := range w.some(orders, 3) {
		if err := w.tag(order, w.rnd.IntN(5)); err != nil {
			return err
		}
	}
	some := w.some(tags, 6)
	if err := w.update(tags, some, []string{"weight"}, func(_ row, to func(string, string)) { to("weight", money(w.rnd)) }); err != nil {
		return err
	}
	return w.remove(tags, some[:len(some)/2]...)
}

// visit writes rows whose write_date is a time.
func (w *writer) visit() error {
	var some []row
	for range 1 + w.rnd.IntN(4) {
		some = append(some, w.make(visits, 1, w.key(), words(w.rnd), null))
	}
	if err := w.insert(visits, some...); err != nil {
		return err
	}
	if err := w.update(visits, w.some(visits, 5), []string{"qty"}, func(_ row, to func(string, string)) { to("qty", money(w.rnd)) }); err != nil {
		return err
	}
	if err := w.update(visits, w.some(visits, 2), nil, func(row, func(string, string)) {}); err != nil { // write_date alone
		return err
	}
	return w.remove(visits, w.some(visits, w.rnd.IntN(3))...)
}

// truncates fills a table and empties it, which makes no events of rows, and goes on.
func (w *writer) truncates() error {
	fill := func() error {
		var some []row
		for range 1 + w.rnd.IntN(5) {
			some = append(some, w.make(scratches, 1, w.key(), words(w.rnd)))
		}
		return w.insert(scratches, some...)
	}
	if err := fill(); err != nil {
		return err
	}
	if w.rnd.IntN(3) > 0 {
		if err := w.truncate(scratches); err != nil {
			return err
		}
	}
	return fill()
}

// huge is a large transaction, which does not fit into memory: rows inserted, written again far apart, deleted, moved to other keys, and much
// of it rolled back.
func (w *writer) huge() error {
	if err := w.remove(items, w.some(items, 1000)...); err != nil {
		return err
	}
	fill := func(n int) error {
		var some []row
		for range n {
			some = append(some, w.make(items, 1, w.key(), "huge", null))
		}
		return w.copyIn(items, some)
	}
	if err := fill(w.rows); err != nil {
		return err
	}
	qty := func(_ row, to func(string, string)) { to("qty", money(w.rnd)) }
	if err := w.savepoint(9, func() error {
		if err := fill(w.rows / 10); err != nil {
			return err
		}
		return w.update(items, w.some(items, w.rows/4), []string{"qty"}, qty)
	}); err != nil {
		return err
	}
	if err := w.update(items, w.some(items, w.rows/3), []string{"qty"}, qty); err != nil {
		return err
	}
	if err := w.remove(items, w.some(items, w.rows*2/3)...); err != nil {
		return err
	}
	if err := w.update(items, w.some(items, w.rows/5), []string{"qty"}, qty); err != nil {
		return err
	}
	for _, key := range w.some(items, 5) {
		if err := w.rekey(items, key, func(r row) { r[0] = w.key() }); err != nil {
			return err
		}
	}
	return nil
}
