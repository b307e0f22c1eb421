package cdc

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// PublicationLook is what a publication publishes as of now. The oids tell whether one that is as it was has been made anew meanwhile.
type PublicationLook struct {
	OID       uint32 // 0: there is none
	AllTables bool
	Complete  bool              // it publishes INSERT, UPDATE, DELETE and TRUNCATE
	Tables    map[string]Member // by schema.table
}

// Member is a table's membership in a publication.
type Member struct {
	OID   uint32 // of the entry in pg_publication_rel
	Whole bool   // all rows and columns
}

// Publication reads what a publication publishes. It is one cheap query.
func (l *Live) Publication(ctx context.Context, name string) (*PublicationLook, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var look PublicationLook
	err := l.use(ctx, func(conn *pgx.Conn) error {
		look = PublicationLook{Tables: map[string]Member{}}
		whole := "true"
		if serverMajor(conn.PgConn()) >= 15 {
			whole = "r.prattrs IS NULL AND r.prqual IS NULL"
		}
		rows, err := conn.Query(ctx, `SELECT p.oid, p.puballtables, p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate,
				coalesce(r.oid, 0), coalesce(n.nspname || '.' || c.relname, ''), `+whole+`
			FROM pg_catalog.pg_publication p LEFT JOIN pg_catalog.pg_publication_rel r ON r.prpubid = p.oid
			LEFT JOIN pg_catalog.pg_class c ON c.oid = r.prrelid LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
			WHERE p.pubname = $1`, name)
		if err != nil {
			return err
		}
		var m Member
		var table string
		_, err = pgx.ForEachRow(rows, []any{&look.OID, &look.AllTables, &look.Complete, &m.OID, &table, &m.Whole}, func() error {
			if table != "" {
				look.Tables[table] = m
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

// publicationMemory is how long an alarm tells of a publication that is well again: what was not streamed meanwhile is still missing.
const publicationMemory = time.Hour

// PublicationWatch notices what somebody else does to a publication while it is streamed from: a table that is not published is not in the
// stream, and nothing in the stream says so. It is pure. The zero value has seen nothing.
type PublicationWatch struct {
	at        time.Time // of the last look
	seen      time.Time // of the last one that saw the publication
	oid       uint32    // as of then
	tables    map[string]Member
	lacking   map[string]lack
	incidents []incident
}

// lack is what a table is not, so that not all of its changes are streamed, and since when.
type lack struct {
	what  string
	since time.Time
}

type incident struct {
	text  string
	until time.Time
}

// Look takes a look into account, and says what is wrong, and what was until a short time ago; "" when nothing is. needed are the tables, as
// schema.table, whose changes must be streamed: those that were never seen in the publication are not its concern (partitions of one that is).
func (w *PublicationWatch) Look(now time.Time, look *PublicationLook, needed []string) string {
	if w.at.IsZero() {
		w.at, w.lacking = now, map[string]lack{}
	}
	anew := look.OID != 0 && w.oid != 0 && look.OID != w.oid
	if anew {
		w.madeAnew(now, "between "+instantText(w.seen)+" and "+instantText(now))
	}
	var mended []string
	over := map[lack][]string{}
	entries := map[uint32]bool{}
	for _, m := range look.Tables {
		entries[m.OID] = true
	}
	for _, name := range needed {
		was, known := w.tables[name]
		is, ok := look.Tables[name]
		if look.AllTables {
			is, ok = Member{Whole: true}, true
		}
		what := ""
		switch {
		case look.OID == 0, ok && is.Whole && look.Complete:
		case !ok && known && entries[was.OID]: // it has another name, under which it is published
		case !ok && known:
			what = "in the publication"
		case ok && !is.Whole:
			what = "in the publication with all rows and columns"
		case ok:
			what = "published with every operation"
		}
		old, lacked := w.lacking[name]
		switch {
		case what != "" && !lacked:
			w.lacking[name] = lack{what, w.at}
		case what != "":
			w.lacking[name] = lack{what, old.since}
		case lacked && look.OID != 0:
			delete(w.lacking, name)
			over[old] = append(over[old], name)
		case ok && known && !anew && is.OID != was.OID:
			mended = append(mended, name)
		}
	}
	for l, names := range over {
		w.note(now, fmt.Sprintf("not %s from %s at the earliest to %s: %s; changes of then were not streamed", l.what, instantText(l.since), instantText(now), strings.Join(names, ", ")))
	}
	if len(mended) > 0 {
		w.note(now, fmt.Sprintf("taken out of the publication and put back between %s and %s: %s; changes of meanwhile were not streamed", instantText(w.at), instantText(now), strings.Join(mended, ", ")))
	}
	for name := range w.lacking {
		if !slices.Contains(needed, name) {
			delete(w.lacking, name)
		}
	}
	if look.OID != 0 {
		w.oid, w.seen = look.OID, now
		if w.tables == nil {
			w.tables = map[string]Member{}
		}
		maps.Copy(w.tables, look.Tables) // also those that are gone now stay known
	}
	w.at = now
	return w.text(now, look)
}

// Earlier tells of the oid that an earlier process saw last; [PublicationWatch.Look] says from now on if that was another publication.
func (w *PublicationWatch) Earlier(now time.Time, oid uint32) {
	if w.oid != 0 && oid != w.oid {
		w.madeAnew(now, "since walhook was here last")
	}
}

func (w *PublicationWatch) madeAnew(now time.Time, when string) {
	w.note(now, "the publication was dropped and made anew "+when+": the server may have left out changes of transactions that were open then")
}

func (w *PublicationWatch) note(now time.Time, text string) {
	w.incidents = append(w.incidents, incident{text, now.Add(publicationMemory)})
}

func (w *PublicationWatch) text(now time.Time, look *PublicationLook) string {
	var parts []string
	if look.OID == 0 {
		parts = append(parts, "there is no such publication any more: nothing is streamed")
	}
	alike := map[lack][]string{}
	for _, name := range slices.Sorted(maps.Keys(w.lacking)) {
		alike[w.lacking[name]] = append(alike[w.lacking[name]], name)
	}
	for l, names := range alike {
		parts = append(parts, fmt.Sprintf("not %s since %s at the earliest: %s; their changes are not streamed", l.what, instantText(l.since), strings.Join(names, ", ")))
	}
	slices.Sort(parts)
	w.incidents = slices.DeleteFunc(w.incidents, func(i incident) bool { return !now.Before(i.until) })
	for _, i := range w.incidents {
		parts = append(parts, i.text)
	}
	return strings.Join(parts, "; ")
}

func instantText(t time.Time) string { return t.UTC().Format(time.RFC3339) }
