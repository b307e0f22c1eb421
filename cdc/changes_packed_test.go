package cdc

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Changes read back from a run are the same in everything that a rule or a payload can see, and share their shapes.
func TestPackedChanges(t *testing.T) {
	for _, c := range coalesceCases {
		t.Run(c.name, func(t *testing.T) {
			changes := slices.Concat(changesOf(t, wantNet, c.messages...), changesOf(t, wantRaw, c.messages...))
			packer, unpacker := NewChangePacker(nil), ChangeUnpacker{}
			shapes := map[*Relation]*Relation{}
			for _, change := range append(changes, changes...) {
				data, err := packer.Append(nil, change)
				if err != nil {
					t.Fatal(err)
				}
				back, err := unpacker.Next(data)
				if err != nil {
					t.Fatalf("%v\n%q", err, data)
				}
				if diff := cmp.Diff(show(change), show(back)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(encodeRelation(change.Rel), encodeRelation(back.Rel)); diff != "" {
					t.Error(diff)
				}
				if had := shapes[change.Rel]; had != nil && had != back.Rel {
					t.Error("a shape is there twice")
				}
				shapes[change.Rel] = back.Rel
			}
		})
	}
}

// Of a table's second change only the values are packed, those of the row before once; secrets are not, and are unknown when read back.
func TestPackedChangesAreSmallAndWithoutSecrets(t *testing.T) {
	c := changesOf(t, wantNet, full.relation(), full.updateOld('O', row(1, "hush", "long text"), row(1, "hush2", "long text")))[0]
	c.Cascade = &Cascade{"public", "parent", "7"}
	packer := NewChangePacker(func(_ *Relation, column string) bool { return column != "a" })
	first, err := packer.Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	second, err := packer.Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(second, []byte("bigint")) || bytes.Contains(second, []byte(c.Rel.Name+`"`)) || bytes.Count(second, []byte("long text")) != 1 || len(second) > 60 {
		t.Errorf("the second change is %q", second)
	}
	var unpacker ChangeUnpacker
	for _, data := range [][]byte{first, second} {
		if bytes.Contains(data, []byte("hush")) {
			t.Errorf("the secret is in %q", data)
		}
		back, err := unpacker.Next(data)
		if err != nil {
			t.Fatal(err)
		}
		if want := "0 write p 1 {id=1 a=? b=long text} → {id=1 a=? b=long text}"; show(back) != want {
			t.Errorf("%s, want %s", show(back), want)
		}
		if back.Cascade == nil || *back.Cascade != *c.Cascade {
			t.Errorf("the cascade is %+v", back.Cascade)
		}
	}
	packer.Reset()
	again, err := packer.Append(nil, c)
	if err != nil || !bytes.Equal(again, first) {
		t.Errorf("a new run begins with %q, %v, not with %q", again, err, first)
	}
}

// Damaged changes are errors, wherever they are cut off or changed.
func TestDamagedPackedChanges(t *testing.T) {
	c := changesOf(t, wantNet, full.relation(), full.updateOld('O', row(1, "x", "y"), row(1, "x", "z")))[0]
	good, err := NewChangePacker(nil).Append(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := new(ChangeUnpacker).Next(good[:n]); err == nil {
			t.Errorf("%d of %d bytes are a change", n, len(good))
		}
	}
	for _, edit := range []struct{ old, new, want string }{
		{string(good[:1]), "\x63", "unknown operation"},
		{string(good[2:3]), "\x07", "no relation 7"},
		{`"kind":"text"`, `"kind":"blob"`, `unknown kind "blob"`},
		{"t\x00\x00\x00\x01y", "t\x7f\x00\x00\x01y", "too early"},
		{"t\x00\x00\x00\x01y", "s\x00\x00\x00\x01y", "no row before"},
		{"t\x00\x00\x00\x01y", "x\x00\x00\x00\x01y", "unknown value tag"},
		{string(good), string(good) + "\x00", "bytes after it"},
	} {
		bad := strings.Replace(string(good), edit.old, edit.new, 1)
		if edit.old == string(good[2:3]) {
			bad = string(good[:2]) + edit.new + string(good[3:])
		}
		if _, err := new(ChangeUnpacker).Next([]byte(bad)); err == nil || !strings.Contains(err.Error(), edit.want) {
			t.Errorf("%q: %v, want %q", edit.new, err, edit.want)
		}
	}
	if _, err := NewChangePacker(nil).Append(nil, &Change{Op: Create}); err == nil {
		t.Error("a change without a relation is packed")
	}
}

// FuzzUnpackChange reads any bytes as a change. What can be read can be written and read again.
func FuzzUnpackChange(f *testing.F) {
	for _, c := range coalesceCases {
		for _, change := range changesOf(f, wantNet, c.messages...) {
			data, err := NewChangePacker(nil).Append(nil, change)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := new(ChangeUnpacker).Next(data)
		if err != nil {
			return
		}
		again, err := NewChangePacker(nil).Append(nil, c)
		if err != nil {
			t.Fatal(err)
		}
		back, err := new(ChangeUnpacker).Next(again)
		if err != nil {
			t.Fatalf("%v\n%q", err, again)
		}
		if diff := cmp.Diff(show(c), show(back)); diff != "" {
			t.Fatal(diff)
		}
	})
}
