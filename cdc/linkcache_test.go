package cdc

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// rowOfTexts makes a row; nil is NULL, "?" is not in WAL.
func rowOfTexts(rel *Relation, image Image, texts ...any) Row {
	values := make([]Value, len(rel.Columns))
	for i, text := range texts {
		switch text {
		case nil:
			values[i].State = Null
		case "?":
		default:
			values[i] = Value{State: Present, Text: []byte(fmt.Sprint(text))}
		}
	}
	row, ok := NewRow(rel, image, AppendTuple(nil, values))
	if !ok {
		panic("the values do not fit the relation")
	}
	return row
}

func relationOf(name string, key []string, columns ...string) *Relation {
	cols := make([]Column, len(columns))
	for i, c := range columns {
		cols[i] = Column{Name: c, Type: BuiltinType(23)}
	}
	return NewRelation(1, "public", name, 'd', cols, key)
}

// cacheBench is a cache with one entry of each kind of link.
type cacheBench struct {
	*linkCache
	partner, lines, tags, first *Link
}

func newCacheBench() *cacheBench {
	b := &cacheBench{linkCache: newLinkCache(1<<20, time.Minute),
		partner: &Link{Schema: "public", Table: "partner", By: "id"},
		lines:   &Link{Schema: "public", Table: "line", By: "order_id"},
		tags:    &Link{Schema: "public", Table: "tag", Rel: &LinkRelation{"public", "rel", "order_id", "tag_id"}},
		first:   &Link{Schema: "public", Table: "tag", Rel: &LinkRelation{"public", "rel", "order_id", "tag_id"}, Limit: 2}}
	for _, l := range []*Link{b.partner, b.lines, b.tags, b.first} {
		b.watch(l)
	}
	at := time.Unix(0, 0)
	b.put(b.partner, 1, Linked{}, at)
	b.put(b.partner, 2, Linked{}, at) // there is no such row
	b.put(b.lines, 10, Linked{members: []int64{100, 101}}, at)
	b.put(b.lines, 11, Linked{}, at)
	b.put(b.tags, 10, Linked{members: []int64{7, 8}}, at)
	b.put(b.tags, 11, Linked{members: []int64{8}}, at)
	b.put(b.first, 10, Linked{members: []int64{7, 8}, partial: true}, at)
	for _, rel := range b.relations() { // the shapes are known
		b.tables[tableName{"public", rel.Name}].rel = rel
	}
	return b
}

var (
	partnerRel  = relationOf("partner", []string{"id"}, "id", "name")
	lineRel     = relationOf("line", []string{"id"}, "id", "order_id")
	tagRel      = relationOf("tag", []string{"id"}, "id", "active")
	pairRel     = relationOf("rel", []string{"order_id", "tag_id"}, "order_id", "tag_id")
	numberedRel = relationOf("rel", []string{"id"}, "id", "order_id", "tag_id")
)

func (b *cacheBench) relations() []*Relation {
	return []*Relation{partnerRel, lineRel, tagRel, pairRel}
}

// left names what is kept: "partner 1 2, lines 10 …".
func (b *cacheBench) left() string {
	var all []string
	for _, l := range []struct {
		name string
		link *Link
	}{{"partner", b.partner}, {"lines", b.lines}, {"tags", b.tags}, {"first", b.first}} {
		var ids []string
		for id := range b.links[l.link].byID {
			ids = append(ids, fmt.Sprint(id))
		}
		if slices.Sort(ids); len(ids) > 0 {
			all = append(all, l.name+" "+strings.Join(ids, " "))
		}
	}
	return strings.Join(all, ", ")
}

// TestCacheInvalidation: each kind of change drops what it may have made wrong, and little else.
func TestCacheInvalidation(t *testing.T) {
	none, key, full := Row{}, ImageKey, ImageFull
	unknown := Row{Image: ImageUnknown}
	const all = "partner 1 2, lines 10 11, tags 10 11, first 10"
	cases := []struct {
		name string
		c    Change
		want string
	}{
		{"a row is written", Change{Op: Write, Rel: partnerRel, Key: "1", Before: unknown, After: rowOfTexts(partnerRel, full, 1, 5)}, "partner 2, lines 10 11, tags 10 11, first 10"},
		{"a row is deleted", Change{Op: Unlink, Rel: partnerRel, Key: "1", Before: rowOfTexts(partnerRel, key, 1, nil)}, "partner 2, lines 10 11, tags 10 11, first 10"},
		{"a row that was not there is created", Change{Op: Create, Rel: partnerRel, Key: "2", Before: none, After: rowOfTexts(partnerRel, full, 2, 5)}, "partner 1, lines 10 11, tags 10 11, first 10"},
		{"another row is written", Change{Op: Write, Rel: partnerRel, Key: "3", Before: unknown, After: rowOfTexts(partnerRel, full, 3, 5)}, all},
		{"a row without a key", Change{Op: Unlink, Rel: partnerRel, Raw: true}, "lines 10 11, tags 10 11, first 10"},
		{"another key than the id", Change{Op: Write, Rel: relationOf("partner", []string{"name"}, "id", "name"), Key: "x"}, "lines 10 11, tags 10 11, first 10"},
		{"a truncated table", Change{Op: Truncate, Rel: lineRel}, "partner 1 2, tags 10 11, first 10"},
		{"another shape", Change{Op: Write, Rel: relationOf("line", []string{"id"}, "id", "order_id", "new"), Key: "555", After: none}, "partner 1 2, tags 10 11, first 10"},
		{"a table of no link", Change{Op: Truncate, Rel: relationOf("other", []string{"id"}, "id")}, all},

		{"a line is created", Change{Op: Create, Rel: lineRel, Key: "102", After: rowOfTexts(lineRel, full, 102, 11)}, "partner 1 2, lines 10, tags 10 11, first 10"},
		{"a line of nobody is created", Change{Op: Create, Rel: lineRel, Key: "102", After: rowOfTexts(lineRel, full, 102, nil)}, all},
		{"a line of an order that is not kept", Change{Op: Create, Rel: lineRel, Key: "102", After: rowOfTexts(lineRel, full, 102, 12)}, all},
		{"a line is written", Change{Op: Write, Rel: lineRel, Key: "100", Before: unknown, After: rowOfTexts(lineRel, full, 100, 10)}, "partner 1 2, lines 11, tags 10 11, first 10"},
		{"a line moves, identity DEFAULT", Change{Op: Write, Rel: lineRel, Key: "100", Before: unknown, After: rowOfTexts(lineRel, full, 100, 11)}, "partner 1 2, tags 10 11, first 10"},
		{"a line moves away, identity DEFAULT", Change{Op: Write, Rel: lineRel, Key: "100", Before: unknown, After: rowOfTexts(lineRel, full, 100, nil)}, "partner 1 2, lines 11, tags 10 11, first 10"},
		{"a line beyond the limit moves, identity FULL", Change{Op: Write, Rel: lineRel, Key: "900", Before: rowOfTexts(lineRel, full, 900, 10), After: rowOfTexts(lineRel, full, 900, 11)}, "partner 1 2, tags 10 11, first 10"},
		{"a line is deleted, identity DEFAULT", Change{Op: Unlink, Rel: lineRel, Key: "101", Before: rowOfTexts(lineRel, key, 101, nil)}, "partner 1 2, lines 11, tags 10 11, first 10"},
		{"a line is deleted, identity FULL", Change{Op: Unlink, Rel: lineRel, Key: "103", Before: rowOfTexts(lineRel, full, 103, 11)}, "partner 1 2, lines 10, tags 10 11, first 10"},
		{"nobody knows whose line it is", Change{Op: Write, Rel: lineRel, Key: "555", Before: unknown, After: rowOfTexts(lineRel, full, 555, "?")}, "partner 1 2, tags 10 11, first 10"},

		{"a tag is written", Change{Op: Write, Rel: tagRel, Key: "8", Before: unknown, After: rowOfTexts(tagRel, full, 8, 1)}, "partner 1 2, lines 10 11"},
		{"a tag of one order alone", Change{Op: Write, Rel: tagRel, Key: "7", Before: unknown, After: rowOfTexts(tagRel, full, 7, 1)}, "partner 1 2, lines 10 11, tags 11"},
		{"a tag that may lie beyond the limit", Change{Op: Write, Rel: tagRel, Key: "9", Before: unknown, After: rowOfTexts(tagRel, full, 9, 1)}, "partner 1 2, lines 10 11, tags 10 11"},
		{"a tag is deleted", Change{Op: Unlink, Rel: tagRel, Key: "7", Before: rowOfTexts(tagRel, key, 7, nil)}, "partner 1 2, lines 10 11, tags 11"},
		{"a tag beyond the limit is deleted", Change{Op: Unlink, Rel: tagRel, Key: "9", Before: rowOfTexts(tagRel, key, 9, nil)}, all},

		{"a pair is made", Change{Op: Create, Rel: pairRel, Key: "11,7", After: rowOfTexts(pairRel, full, 11, 7)}, "partner 1 2, lines 10 11, tags 10, first 10"},
		{"a pair is deleted", Change{Op: Unlink, Rel: pairRel, Key: "11,8", Before: rowOfTexts(pairRel, key, 11, 8)}, "partner 1 2, lines 10 11, tags 10, first 10"},
		{"a pair is written, its key as it was", Change{Op: Write, Rel: pairRel, Key: "11,8", Before: unknown, After: rowOfTexts(pairRel, full, 11, 8)}, "partner 1 2, lines 10 11, tags 10, first 10"},
		{"a pair of an order that is not kept", Change{Op: Create, Rel: pairRel, Key: "12,7", After: rowOfTexts(pairRel, full, 12, 7)}, all},
		{"pairs are truncated", Change{Op: Truncate, Rel: pairRel}, "partner 1 2, lines 10 11"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := newCacheBench()
			if got := b.left(); got != all {
				t.Fatalf("kept at first: %s", got)
			}
			b.pass(&c.c)
			if got := b.left(); got != c.want {
				t.Errorf("left: %s\nwant: %s", got, c.want)
			}
			b.consistent(t)
		})
	}
	// The table of the pairs may have a key of its own: what is deleted does not name the order then, nor does what has moved.
	for _, c := range []struct {
		name string
		c    Change
		want string
	}{
		{"deleted, identity DEFAULT", Change{Op: Unlink, Rel: numberedRel, Key: "3", Before: rowOfTexts(numberedRel, key, 3, nil, nil)}, "partner 1 2, lines 10 11"},
		{"deleted, identity FULL", Change{Op: Unlink, Rel: numberedRel, Key: "3", Before: rowOfTexts(numberedRel, full, 3, 11, 8)}, "partner 1 2, lines 10 11, tags 10, first 10"},
		{"written, identity DEFAULT", Change{Op: Write, Rel: numberedRel, Key: "3", Before: unknown, After: rowOfTexts(numberedRel, full, 3, 11, 8)}, "partner 1 2, lines 10 11"},
		{"made", Change{Op: Create, Rel: numberedRel, Key: "3", After: rowOfTexts(numberedRel, full, 3, 11, 8)}, "partner 1 2, lines 10 11, tags 10, first 10"},
	} {
		t.Run("numbered pair "+c.name, func(t *testing.T) {
			b := newCacheBench()
			b.tables[tableName{"public", "rel"}].rel = numberedRel
			b.pass(&c.c)
			if got := b.left(); got != c.want {
				t.Errorf("left: %s\nwant: %s", got, c.want)
			}
			b.consistent(t)
		})
	}
}

// consistent checks that the cache's books agree.
func (b *linkCache) consistent(t *testing.T) {
	t.Helper()
	var bytes, entries int64
	listed := 0
	for e := b.newest; e != nil; e = e.older {
		listed++
		if e.older == nil && e != b.oldest {
			t.Error("the list does not end at the oldest entry")
		}
	}
	for _, of := range b.links {
		partial, members := 0, 0
		for id, e := range of.byID {
			bytes, entries = bytes+e.bytes, entries+1
			if e.id != id || e.of != of {
				t.Errorf("entry %d is under %d", e.id, id)
			}
			if e.got.partial {
				partial++
			}
			for _, m := range e.got.members {
				if members++; !slices.Contains(of.holders[m], e) {
					t.Errorf("member %d of %d is not known", m, id)
				}
			}
		}
		held := 0
		for _, list := range of.holders {
			held += len(list)
		}
		if partial != of.partial || held != members {
			t.Errorf("%d partial entries, counted %d; %d members, held %d", partial, of.partial, members, held)
		}
	}
	if b.bytes.Load() != bytes || b.entries.Load() != entries || int64(listed) != entries {
		t.Errorf("%d bytes of %d entries, counted %d of %d, %d listed", bytes, entries, b.bytes.Load(), b.entries.Load(), listed)
	}
}

// Invariant 9: what is not used goes when there is no more room, what is too large is not kept, what is too old is read again.
func TestCacheBounds(t *testing.T) {
	c := newLinkCache(20*entryCost, time.Minute)
	link := &Link{Schema: "public", Table: "partner", By: "id"}
	other := &Link{Schema: "public", Table: "other", By: "id"}
	c.watch(link)
	at := time.Unix(1000, 0)
	for id := range int64(100) {
		c.put(link, id, Linked{}, at)
		if c.get(c.links[link], 0, at) == nil {
			t.Fatalf("what is used is dropped, at %d", id)
		}
	}
	c.consistent(t)
	if c.entries.Load() != 20 || c.bytes.Load() > c.max || c.evicted.Load() != 80 || c.get(c.links[link], 99, at) == nil || c.get(c.links[link], 50, at) != nil {
		t.Errorf("%d entries of %d bytes, %d evicted", c.entries.Load(), c.bytes.Load(), c.evicted.Load())
	}
	c.put(link, 7, Linked{Rows: []Row{rowOfTexts(partnerRel, ImageFull, 7, strings.Repeat("9", 3000))}}, at)
	c.put(other, 8, Linked{}, at)
	if c.links[link].byID[7] != nil || c.links[other] != nil {
		t.Error("what is too large, or of a table that the stream does not bring, is kept")
	}
	c.put(link, 99, Linked{}, at.Add(time.Second)) // read again
	c.consistent(t)
	if c.get(c.links[link], 0, at.Add(time.Minute+1)) != nil || c.get(c.links[link], 99, at.Add(time.Minute+1)) == nil {
		t.Error("age")
	}
	c.clear()
	c.consistent(t)
	if !c.empty() || c.bytes.Load() != 0 {
		t.Error("not empty after clear")
	}
}

// A tag that is a member of one order may be one of another, too, which does not know all of its own.
func TestCacheInvalidationBeyondTheLimit(t *testing.T) {
	b := newCacheBench()
	b.put(b.first, 12, Linked{members: []int64{5, 6}, partial: true}, time.Unix(0, 0))
	b.put(b.first, 13, Linked{members: []int64{5}}, time.Unix(0, 0))
	if got, want := b.left(), "partner 1 2, lines 10 11, tags 10 11, first 10 12 13"; got != want {
		t.Fatalf("kept at first: %s", got)
	}
	b.pass(&Change{Op: Write, Rel: tagRel, Key: "8", Before: Row{Image: ImageUnknown}, After: rowOfTexts(tagRel, ImageFull, 8, 1)})
	if got, want := b.left(), "partner 1 2, lines 10 11, first 13"; got != want {
		t.Errorf("left: %s\nwant: %s", got, want)
	}
	b.consistent(t)
}
