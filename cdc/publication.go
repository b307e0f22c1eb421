package cdc

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// PublicationLook is what a publication publishes as of now. The oids tell whether what is as it was has been made anew meanwhile.
type PublicationLook struct {
	At     time.Time // by the server's clock
	OID    uint32    // 0: there is none
	tables map[tableName]publishing
}

// publishing says how a table is published.
type publishing struct {
	table, entry uint32 // oids in pg_class and in pg_publication_rel; 0: there is none
	lack         string // why not all of its changes are streamed under its name; "" when they are, or when there is no such table
}

// Publication reads how a publication publishes tables. It is one cheap query.
func (l *Live) Publication(ctx context.Context, name string, tables []TableNeed) (*PublicationLook, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	schemas, names := make([]string, len(tables)), make([]string, len(tables))
	for i, n := range tables {
		schemas[i], names[i] = n.Schema, n.Table
	}
	var look PublicationLook
	err := l.use(ctx, func(conn *pgx.Conn) error {
		look = PublicationLook{tables: make(map[tableName]publishing, len(tables))}
		viaRoot, part, schema := "false", "false", "false"
		major := serverMajor(conn.PgConn())
		if major >= 13 {
			viaRoot = "p.pubviaroot"
		}
		if major >= 15 {
			part = "r.prattrs IS NOT NULL OR r.prqual IS NOT NULL"
			schema = "EXISTS (SELECT FROM pg_catalog.pg_publication_namespace s WHERE s.pnpubid = p.oid AND s.pnnspid = c.relnamespace)"
		}
		rows, err := conn.Query(ctx, `SELECT pg_catalog.clock_timestamp(), coalesce(p.oid, 0), coalesce(t.s, ''), coalesce(t.n, ''), coalesce(c.oid, 0), coalesce(r.oid, 0),
				CASE WHEN p.oid IS NULL OR c.oid IS NULL THEN ''
					WHEN r.oid IS NULL AND NOT p.puballtables AND NOT `+schema+` THEN 'in the publication'
					WHEN `+part+` THEN 'in the publication with all rows and columns'
					WHEN NOT (p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate) THEN 'published with every operation'
					WHEN c.relkind = 'p' AND NOT `+viaRoot+` THEN 'published under its own name (publish_via_partition_root)'
					ELSE '' END
			FROM (SELECT 1) AS one LEFT JOIN pg_catalog.pg_publication p ON p.pubname = $1
			LEFT JOIN unnest($2::text[], $3::text[]) AS t (s, n) ON true
			LEFT JOIN pg_catalog.pg_namespace ns ON ns.nspname = t.s LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = ns.oid AND c.relname = t.n
			LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid AND r.prrelid = c.oid`, name, schemas, names)
		if err != nil {
			return err
		}
		var n tableName
		var p publishing
		_, err = pgx.ForEachRow(rows, []any{&look.At, &look.OID, &n.schema, &n.table, &p.table, &p.entry, &p.lack}, func() error {
			if n.table != "" {
				look.tables[n] = p
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read publication %q: %w", name, err)
	}
	return &look, nil
}

// PublicationMemory is what one process leaves of a publication to the next one.
type PublicationMemory struct {
	Name   string               `json:"name"`
	OID    uint32               `json:"oid"`
	Tables map[string][2]uint32 `json:"tables"` // by schema.table: oids of the table and of its entry in the publication
}

// publicationPast is how long is told of a publication that is well again: what was not streamed meanwhile is still missing.
const publicationPast = time.Hour

// PublicationWatch notices what somebody else does to a publication while it is streamed from: what is not published is not in the stream, and nothing
// in the stream says so. What happens between two looks is seen by the oids; operations that were left out for less than that are not seen. It is pure.
// The zero value has seen nothing.
type PublicationWatch struct {
	oid       uint32               // of the publication that was seen last
	seen      time.Time            // when
	gone      bool                 // the last look saw none
	good      map[tableName]wholly // the needed tables as they were when all was well with them
	lacking   map[tableName]lack
	incidents []incident
	news      int
}

// wholly is a table of which everything was streamed, as of the last look that saw it so.
type wholly struct {
	table, entry uint32
	at           time.Time
}

// lack is what a table is not, so that not all of its changes are streamed, and since when at the earliest.
type lack struct {
	what  string
	since time.Time
}

type incident struct {
	text  string
	until time.Time
}

// Look takes a look at the tables whose changes must be streamed into account, and says what is wrong, and what was until a short time ago; "" when
// nothing is. news counts what it has found: when it grows, there is something new in the text.
func (w *PublicationWatch) Look(look *PublicationLook) (text string, news int) {
	now := look.At
	if w.seen.IsZero() {
		w.seen, w.good, w.lacking = now, map[tableName]wholly{}, map[tableName]lack{}
	}
	if look.OID == 0 {
		if !w.gone {
			w.gone = true
			w.news++
		}
		return w.text(now), w.news
	}
	another := w.oid != 0 && look.OID != w.oid
	switch {
	case w.gone:
		w.note(now, fmt.Sprintf("there was no such publication between %s and %s: changes of then, and of transactions that were open then, were not streamed", instantText(w.seen), instantText(now)))
	case another:
		w.madeAnew(now, fmt.Sprintf("between %s and %s", instantText(w.seen), instantText(now)))
	}
	whole := another || w.gone // all entries are new ones then
	w.oid, w.seen, w.gone = look.OID, now, false
	w.forget(look)

	var back []string
	since := now // when all was well with these
	over := map[lack][]string{}
	for _, name := range sortedTables(look.tables) {
		p := look.tables[name]
		was, known := w.good[name]
		old, lacked := w.lacking[name]
		switch {
		case p.table == 0: // others tell of tables that are gone
			continue
		case p.lack != "" && !lacked:
			l := lack{p.lack, now}
			if known {
				l.since = was.at
			}
			w.lacking[name] = l
			w.news++
			continue
		case p.lack != "":
			w.lacking[name] = lack{p.lack, old.since}
			continue
		case lacked:
			delete(w.lacking, name)
			over[old] = append(over[old], name.String())
		case known && !whole && (p.entry != was.entry || p.table != was.table) && p.entry != 0 && was.entry != 0:
			back = append(back, name.String())
			if was.at.Before(since) {
				since = was.at
			}
		}
		w.good[name] = wholly{p.table, p.entry, now}
	}
	for _, l := range sortedLacks(over) {
		w.note(now, fmt.Sprintf("not %s between %s and %s: %s; changes of then were not streamed", l.what, instantText(l.since), instantText(now), strings.Join(over[l], ", ")))
	}
	if len(back) > 0 {
		w.note(now, fmt.Sprintf("taken out of the publication and put back between %s and %s: %s; changes of meanwhile were not streamed", instantText(since), instantText(now), strings.Join(back, ", ")))
	}
	return w.text(now), w.news
}

// forget lets go of tables that need not be streamed any more.
func (w *PublicationWatch) forget(look *PublicationLook) {
	maps.DeleteFunc(w.good, func(name tableName, _ wholly) bool { _, needed := look.tables[name]; return !needed })
	maps.DeleteFunc(w.lacking, func(name tableName, _ lack) bool { _, needed := look.tables[name]; return !needed })
}

// Memory is what the process after this one is to know.
func (w *PublicationWatch) Memory(name string) PublicationMemory {
	m := PublicationMemory{Name: name, OID: w.oid, Tables: make(map[string][2]uint32, len(w.good))}
	for n, g := range w.good {
		m.Tables[n.String()] = [2]uint32{g.table, g.entry}
	}
	return m
}

// Recall compares what an earlier process has left with the first look of this one; later looks tell what came of it.
func (w *PublicationWatch) Recall(m PublicationMemory, name string) {
	switch {
	case m.Name != name || m.OID == 0 || w.oid == 0:
	case m.OID != w.oid:
		w.madeAnew(w.seen, "since walhook was here last")
	default:
		var back []string
		for n, g := range w.good {
			if was, known := m.Tables[n.String()]; known && was != [2]uint32{g.table, g.entry} && was[1] != 0 && g.entry != 0 {
				back = append(back, n.String())
			}
		}
		if slices.Sort(back); len(back) > 0 {
			w.note(w.seen, fmt.Sprintf("taken out of the publication and put back since walhook was here last: %s; changes of meanwhile were not streamed", strings.Join(back, ", ")))
		}
	}
}

func (w *PublicationWatch) madeAnew(now time.Time, when string) {
	w.note(now, "the publication was dropped and made anew "+when+": the server may have left out changes of transactions that were open then")
}

func (w *PublicationWatch) note(now time.Time, text string) {
	w.incidents = append(w.incidents, incident{text, now.Add(publicationPast)})
	w.news++
}

func (w *PublicationWatch) text(now time.Time) string {
	var parts []string
	if w.gone {
		parts = append(parts, fmt.Sprintf("there is no such publication, since %s at the earliest: nothing is streamed", instantText(w.seen)))
	}
	alike := map[lack][]string{}
	for _, name := range sortedTables(w.lacking) {
		alike[w.lacking[name]] = append(alike[w.lacking[name]], name.String())
	}
	for _, l := range sortedLacks(alike) {
		parts = append(parts, fmt.Sprintf("not %s since %s at the earliest: %s; their changes are not streamed", l.what, instantText(l.since), strings.Join(alike[l], ", ")))
	}
	w.incidents = slices.DeleteFunc(w.incidents, func(i incident) bool { return !now.Before(i.until) })
	for _, i := range w.incidents {
		parts = append(parts, i.text)
	}
	return strings.Join(parts, "; ")
}

func sortedTables[V any](m map[tableName]V) []tableName {
	return slices.SortedFunc(maps.Keys(m), func(a, b tableName) int { return strings.Compare(a.String(), b.String()) })
}

func sortedLacks(m map[lack][]string) []lack {
	return slices.SortedFunc(maps.Keys(m), func(a, b lack) int {
		return cmp.Or(a.since.Compare(b.since), strings.Compare(a.what, b.what))
	})
}

func instantText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
