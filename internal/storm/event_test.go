package storm

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// document is the body of an event, as far as it matters.
type document struct {
	Data struct {
		ID                   json.RawMessage
		Model, Op, Rule, LSN string
		XID                  uint32
		Resync               bool
		Record               map[string]json.RawMessage
		Changes              map[string]struct{ Before, After json.RawMessage }
		Lines                map[string]struct {
			Added, Changed, Removed []struct{ ID json.RawMessage }
		}
		Cascade *struct {
			Model string
			ID    json.RawMessage
		}
		Omitted []string
	}
}

// parseRequest reads the events of a request: one, or those of a batch.
func parseRequest(endpoint string, header http.Header, body []byte) (all []*event, err error) {
	if header.Get("webhook-batch") == "" {
		n, err := strconv.Atoi(header.Get("webhook-sequence"))
		if err != nil {
			return nil, err
		}
		e, err := parse(endpoint, body)
		if err != nil {
			return nil, err
		}
		e.ID, e.number, e.late = header.Get("webhook-id"), number{endpoint, header.Get("webhook-epoch"), n}, header.Get("webhook-late") == "true"
		return []*event{e}, nil
	}
	var batch []struct {
		ID       string
		Epoch    json.Number
		Sequence int
		Late     bool
		Event    json.RawMessage
	}
	if err := json.Unmarshal(body, &batch); err != nil {
		return nil, err
	}
	for _, one := range batch {
		e, err := parse(endpoint, one.Event)
		if err != nil {
			return all, err
		}
		e.ID, e.number, e.late = one.ID, number{endpoint, one.Epoch.String(), one.Sequence}, one.Late
		all = append(all, e)
	}
	return all, nil
}

// parse reads an event, and finds what can't be by itself.
func parse(endpoint string, body []byte) (_ *event, err error) {
	var d document
	if err := json.Unmarshal(body, &d); err != nil {
		return nil, err
	}
	if len(d.Data.Omitted) > 0 && d.Data.Rule != "rolled" && !d.Data.Resync {
		return nil, fmt.Errorf("omitted: %q", d.Data.Omitted)
	}
	e := &event{identity: identity{Endpoint: endpoint, Rule: d.Data.Rule, Table: d.Data.Model, Op: d.Data.Op}, XID: d.Data.XID, body: maphash.Bytes(hashSeed, body)}
	e.again = d.Data.Resync || e.Op == "resync" || e.Op == "snapshot"
	var hi, lo uint64
	if _, err := fmt.Sscanf(d.Data.LSN, "%X/%X", &hi, &lo); err != nil {
		return nil, fmt.Errorf("lsn %q: %w", d.Data.LSN, err)
	}
	e.LSN = hi<<32 | lo
	t := tableNamed(d.Data.Model)
	if t == nil {
		return nil, fmt.Errorf("model %q", d.Data.Model)
	}
	e.Table = t.name
	switch d.Data.Rule {
	case "notes":
		e.Key, e.New = string(d.Data.ID), string(d.Data.Record["token"])
		return e, nil
	case "rolled":
		e.Key, e.New = string(d.Data.ID), strconv.FormatUint(uint64(d.Data.XID), 10)
		l := d.Data.Lines["order_line"]
		var marks []string
		for _, some := range []struct {
			mark string
			all  []struct{ ID json.RawMessage }
		}{{"+", l.Added}, {"~", l.Changed}, {"-", l.Removed}} {
			for _, one := range some.all {
				marks = append(marks, some.mark+string(one.ID))
			}
		}
		slices.Sort(marks)
		e.Lines = strings.Join(marks, " ")
		return e, nil
	}
	if e.Op == "unlink" && d.Data.Resync { // nothing is known but the key
		e.Key, err = keyOf(d.Data.ID)
		return e, err
	}
	last, err := t.fromRecord(d.Data.Record)
	if err != nil {
		return nil, err
	}
	e.Key = t.key(last)
	first, changed := map[string]json.RawMessage{}, false
	for name, raw := range d.Data.Record {
		first[name] = raw
	}
	for name, c := range d.Data.Changes {
		if string(c.After) != string(d.Data.Record[name]) {
			return nil, fmt.Errorf("%s changes to %s, the record has %s", name, c.After, d.Data.Record[name])
		}
		first[name], changed = c.Before, true
	}
	switch e.Op {
	case "create", "snapshot", "resync":
		e.New, e.NewDigest = last.written(), t.digest(last)
	case "unlink":
		e.Old, e.OldDigest = last.written(), t.digest(last)
	case "write":
		before, err := t.fromRecord(first)
		if err != nil {
			return nil, err
		}
		if !changed {
			return nil, fmt.Errorf("a write without changes")
		}
		e.New, e.OldDigest, e.NewDigest = last.written(), t.digest(before), t.digest(last)
	}
	if c := d.Data.Cascade; c != nil {
		e.Cascade = string(c.ID)
	}
	return e, nil
}

// keyOf makes a key of an id.
func keyOf(id json.RawMessage) (key string, err error) {
	if strings.HasPrefix(string(id), `"`) {
		err = json.Unmarshal(id, &key)
		return key, err
	}
	return string(id), nil
}

// fromRecord makes a row of a record.
func (t *table) fromRecord(record map[string]json.RawMessage) (row, error) {
	var r row
	for _, c := range t.columns {
		v, err := c.fromJSON(record[c.name])
		if err != nil {
			return nil, err
		}
		r = append(r, v)
	}
	var at time.Time
	if err := json.Unmarshal(record["write_date"], &at); err != nil {
		return nil, fmt.Errorf("write_date: %w", err)
	}
	if t.timed {
		return append(r, t.get(r, "stamp")), nil
	}
	return append(r, numberOf(at)), nil
}
