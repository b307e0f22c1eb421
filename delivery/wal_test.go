package delivery

import (
	"context"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"walhook/cdc"
	"walhook/cdc/catalog"
	"walhook/rules"
)

// wal writes transactions as a server would, and decodes them: tests plan what the source would hand over.
type wal struct {
	t       testing.TB
	decoder *cdc.Decoder
	lsn     uint64
	xid     uint32
}

// newWAL decodes with a limit of memory per transaction; more spills.
func newWAL(t testing.TB, set *rules.Set, memory int64) *wal {
	w := &wal{t: t, decoder: cdc.NewDecoder(walSchema{}, set.Wants, cdc.Limits{Memory: memory, TempDir: t.TempDir()}), lsn: 1000, xid: 700}
	w.decoder.Judge(Judge(set))
	return w
}

type walSchema struct{}

func (walSchema) Type(context.Context, uint32) (*cdc.Type, error) { return nil, nil }
func (walSchema) Describe(context.Context, uint32) (cdc.Description, error) {
	return cdc.Description{Key: []string{"id"}}, nil
}

// write is an insert into or, with before, an update of sale_order (id, name, state, partner_id, access_token). A nil value is NULL,
// "?" is unchanged TOAST.
type write struct {
	table         uint32
	before, after []any
}

const (
	orderOID   = 1
	partnerOID = 2
)

func order(id int, name, state any) write {
	return write{table: orderOID, after: []any{id, name, state, id % 7, "token-secret"}}
}

func (w write) was(name, state any) write {
	w.before = append([]any{w.after[0], name, state}, w.after[3:]...)
	return w
}

func message(tag byte, parts ...any) []byte {
	out := []byte{tag}
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			out = append(out, p)
		case uint16:
			out = binary.BigEndian.AppendUint16(out, p)
		case uint32:
			out = binary.BigEndian.AppendUint32(out, p)
		case uint64:
			out = binary.BigEndian.AppendUint64(out, p)
		case string:
			out = append(append(out, p...), 0)
		case []byte:
			out = append(out, p...)
		}
	}
	return out
}

func walTuple(values []any) []byte {
	out := binary.BigEndian.AppendUint16(nil, uint16(len(values)))
	for _, v := range values {
		switch {
		case v == nil:
			out = append(out, 'n')
		case v == "?":
			out = append(out, 'u')
		default:
			s := fmt.Sprint(v)
			out = append(binary.BigEndian.AppendUint32(append(out, 't'), uint32(len(s))), s...)
		}
	}
	return out
}

func walRelation(oid uint32, name string, columns ...any) []byte {
	parts := []any{oid, "public", name, byte('f'), uint16(len(columns) / 2)}
	for i := 0; i < len(columns); i += 2 {
		parts = append(parts, byte(1), columns[i], uint32(columns[i+1].(int)), uint32(0xffffffff))
	}
	return message('R', parts...)
}

// tx decodes one transaction. It is closed at the end of the test.
func (w *wal) tx(writes ...write) *cdc.Tx {
	w.t.Helper()
	w.lsn += 1000
	w.xid++
	const commitTime = uint64(820_000_000_000_000) // microseconds since 2000
	messages := [][]byte{message('B', w.lsn, commitTime, w.xid),
		walRelation(orderOID, "sale_order", "id", 23, "name", 1043, "state", 1043, "partner_id", 23, "access_token", 1043),
		walRelation(partnerOID, "res_partner", "id", 23, "name", 1043)}
	for _, write := range writes {
		if write.before == nil {
			messages = append(messages, message('I', write.table, byte('N'), walTuple(write.after)))
		} else {
			messages = append(messages, message('U', write.table, byte('O'), walTuple(write.before), byte('N'), walTuple(write.after)))
		}
	}
	messages = append(messages, message('C', byte(0), w.lsn, w.lsn+100, commitTime))
	for _, m := range messages {
		tx, err := w.decoder.Decode(w.t.Context(), m)
		if err != nil {
			w.t.Fatal(err)
		}
		if tx != nil {
			w.t.Cleanup(func() {
				if err := tx.Close(); err != nil {
					w.t.Error(err)
				}
			})
			return tx
		}
	}
	w.t.Fatal("no transaction")
	return nil
}

// compileRules compiles rules for sale.order and res.partner.
func compileRules(t testing.TB, configs ...rules.Config) *rules.Set {
	t.Helper()
	integer, text := cdc.BuiltinType(23), cdc.BuiltinType(1043)
	table := func(oid uint32, name string, columns ...catalog.Column) *catalog.Table {
		return &catalog.Table{OID: oid, Schema: "public", Name: name, Identity: 'f', Columns: columns, PrimaryKey: []string{"id"}}
	}
	orders := table(orderOID, "sale_order", catalog.Column{Name: "id", Type: integer}, catalog.Column{Name: "name", Type: text},
		catalog.Column{Name: "state", Type: text}, catalog.Column{Name: "partner_id", Type: integer}, catalog.Column{Name: "access_token", Type: text})
	partners := table(partnerOID, "res_partner", catalog.Column{Name: "id", Type: integer}, catalog.Column{Name: "name", Type: text})
	model := func(name string, t *catalog.Table) *catalog.Model {
		m := &catalog.Model{Name: name, Table: t}
		for i := range t.Columns {
			c := &t.Columns[i]
			f := &catalog.Field{Name: c.Name, Type: "char", Stored: true, Column: c}
			switch c.Name {
			case "id":
				f.Type = "integer"
			case "partner_id":
				f.Type, f.Relation = "many2one", "res.partner"
			}
			m.Fields = append(m.Fields, f)
		}
		return m
	}
	cat := catalog.New([]*catalog.Table{orders, partners}, []*catalog.Model{model("sale.order", orders), model("res.partner", partners)}, &catalog.Odoo{})
	set, err := rules.Compile(configs, cat)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// partnersLoader knows partners: number n has the name "partner n".
type partnersLoader struct {
	calls, ids int
	begun      int // transactions
	err        error
	note       func(id int64) string   // more of the name; may be nil
	refuse     func(ids []int64) error // may be nil
}

func (l *partnersLoader) Begin(_ context.Context, txs []*cdc.Tx) error {
	l.begun += len(txs)
	return nil
}

func (l *partnersLoader) Load(_ context.Context, link *rules.Link, ids []int64, found func(int64, []cdc.Row) error) error {
	l.calls++
	l.ids = max(l.ids, len(ids))
	if l.err != nil {
		return l.err
	}
	if l.refuse != nil {
		if err := l.refuse(ids); err != nil {
			return err
		}
	}
	if link.Table != "res_partner" {
		return fmt.Errorf("asked for %s", link)
	}
	rel := cdc.NewRelation(partnerOID, "public", "res_partner", 'f', []cdc.Column{{Name: "id", Type: cdc.BuiltinType(23)}, {Name: "name", Type: cdc.BuiltinType(1043)}}, []string{"id"})
	for _, id := range ids {
		name := fmt.Sprintf("partner %d", id)
		if l.note != nil {
			name += l.note(id)
		}
		text := func(s string) cdc.Value { return cdc.Value{State: cdc.Present, Text: []byte(s)} }
		row, _ := cdc.NewRow(rel, cdc.ImageFull, cdc.AppendTuple(nil, []cdc.Value{text(fmt.Sprint(id)), text(name)}))
		if err := found(id, []cdc.Row{row}); err != nil {
			return err
		}
	}
	return nil
}

var testEndpoints = map[string]EndpointConfig{"erp": {}, "shop": {Ordering: OrderEndpoint}, "log": {Ordering: OrderNone}}

var commitTime = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(820_000_000 * time.Second)
