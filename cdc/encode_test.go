package cdc

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// changesOf decodes messages as one transaction.
func changesOf(t testing.TB, want func(string, string) (bool, bool), messages ...wire) []*Change {
	t.Helper()
	messages = slices.Concat([]wire{begin(1)}, messages, []wire{commit()})
	txs := play(t, NewDecoder(testSchema(), want, Limits{}), messages...)
	return txs[0].changes
}

// A change read back is the same in everything that a rule or a payload can see.
func TestEncodeChange(t *testing.T) {
	for _, c := range coalesceCases {
		t.Run(c.name, func(t *testing.T) {
			for _, change := range slices.Concat(changesOf(t, wantNet, c.messages...), changesOf(t, wantRaw, c.messages...)) {
				data, err := EncodeChange(change, nil)
				if err != nil {
					t.Fatal(err)
				}
				back, err := DecodeChange(data)
				if err != nil {
					t.Fatalf("%v\n%s", err, data)
				}
				if diff := cmp.Diff(show(change), show(back)); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(encodeRelation(change.Rel), encodeRelation(back.Rel)); diff != "" {
					t.Error(diff)
				}
				if back.Before.rel != nil && (change.Before.rel == change.Rel) != (back.Before.rel == back.Rel) {
					t.Error("the row before has another relation")
				}
				again, err := EncodeChange(back, nil)
				if err != nil || string(again) != string(data) {
					t.Errorf("%v\n%s\n%s", err, data, again)
				}
			}
		})
	}
}

func TestEncodeChangeTypesAndText(t *testing.T) {
	wide := shape{oid: 100, name: "p", identity: 'f', cols: []string{"*id:23", "tags:1009", "price:1700", "boxes:1020", "mood:99999"}}
	c := changesOf(t, wantNet, wide.relation(), wide.insert(row(1, `{a,NULL,"€"}`, "1.50", "{(1,1),(0,0)}", "a\xffb")))[0]
	data, err := EncodeChange(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeChange(data)
	if err != nil {
		t.Fatal(err)
	}
	for i, col := range c.Rel.Columns {
		got, want := back.After.Value(i), c.After.Value(i)
		if !got.Equal(want) {
			t.Errorf("%s: %q, want %q", col.Name, got.Text, want.Text)
		}
		if diff := cmp.Diff(want.Type, got.Type); diff != "" {
			t.Errorf("%s: %s", col.Name, diff)
		}
	}
	got, err := back.After.Value(1).Any()
	if diff := cmp.Diff([]any{"a", nil, "€"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

// Secrets: what keep refuses is not in the bytes, and is unknown when read back.
func TestEncodeChangeWithoutSecrets(t *testing.T) {
	c := changesOf(t, wantNet, full.relation(), full.updateOld('O', row(1, "hush", "x"), row(1, "hush2", "y")))[0]
	data, err := EncodeChange(c, func(column string) bool { return column != "a" })
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "hush") {
		t.Errorf("the secret is in %s", data)
	}
	back, err := DecodeChange(data)
	if err != nil {
		t.Fatal(err)
	}
	if want := "0 write p 1 {id=1 a=? b=x} → {id=1 a=? b=y}"; show(back) != want {
		t.Errorf("%s, want %s", show(back), want)
	}
}

func TestDecodeChangeRefuses(t *testing.T) {
	c := changesOf(t, wantNet, full.relation(), full.insert(row(1, "x", "y")))[0]
	good, err := EncodeChange(c, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range []struct{ old, new, want string }{
		{`{"op"`, `["op"`, "invalid character"},
		{`"create"`, `"upsert"`, `unknown operation "upsert"`},
		{`"kind":"text"`, `"kind":"blob"`, `unknown kind "blob"`},
		{`"full"`, `"half"`, `unknown image "half"`},
		{`"relation":0`, `"relation":7`, "no relation 7"},
		{`"values":["1",`, `"values":[`, "2 values for 3 columns"},
		{`"key":["id"]`, `"key":["nope"]`, "primary key is missing"},
		{`"identity":"f"`, `"identity":"ff"`, `replica identity "ff"`},
		{`"relations":[`, `"relations":[],"x":[`, "no relation"},
	} {
		bad := strings.Replace(string(good), edit.old, edit.new, 1)
		if bad == string(good) {
			t.Fatalf("%s is not in %s", edit.old, good)
		}
		if _, err := DecodeChange([]byte(bad)); err == nil || !strings.Contains(err.Error(), edit.want) {
			t.Errorf("%s: %v, want %q", edit.new, err, edit.want)
		}
	}
	if _, err := EncodeChange(&Change{Op: Create}, nil); err == nil {
		t.Error("a change without a relation is encoded")
	}
}
