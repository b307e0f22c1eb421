package payload

import (
	"bytes"
	"testing"

	"walhook/cdc"
	"walhook/rules"
)

// A whole record leaves out what the rule excludes, and its changes do.
func TestExcludedFields(t *testing.T) {
	r, m := compile(t, orders(), rules.Config{Exclude: []string{"state", "description", "access_token"}})
	c := write(draft, with(draft, "state", "sale", "name", "S1", "description", "long"))(t, relation(r.Table))
	got, err := Build(nil, m, r, "e", commit, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, absent := range []string{`"state"`, `"description"`, `"access_token"`} {
		if bytes.Contains(got, []byte(absent)) {
			t.Errorf("%s is in %s", absent, got)
		}
	}
	if !bytes.Contains(got, []byte(`"changes":{"name":{`)) || !bytes.Contains(got, []byte(`"name":"S1"`)) {
		t.Errorf("got %s", got)
	}
	c.Op, c.After = cdc.Unlink, cdc.Row{}
	if got, err = Build(nil, m, r, "e", commit, c); err != nil || bytes.Contains(got, []byte(`"state"`)) {
		t.Errorf("%s, %v", got, err)
	}
}
