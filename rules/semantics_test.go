package rules

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"walhook/cdc"
)

// evaluate runs an expression as a payload entry.
func evaluate(t testing.TB, expr string, c *cdc.Change) (any, error) {
	t.Helper()
	set := mustCompile(t, testCatalog(), Config{Payload: Payload{"x": expr}})
	return set.NewMatcher().Eval(set.Rules()[0], 0, testTx, c)
}

var full = record{
	"id": "42", "name": "S00042", "state": "sale", "amount_total": "1250.50", "amount_tax": "0.10", "weight": "0.1", "priority": "3",
	"big": "9007199254740993", "locked": "t", "date_order": "2026-02-28 23:30:00.5", "validity_date": "2026-03-31", "signed_on": "2026-03-01 01:00:00+02",
	"partner_id": "7", "note": "<p>Größe</p>", "meta": `{"a": {"b": [1, 2.50, "x"]}, "n": 10000000000000000000000.1, "null": null, "t": true}`,
	"tags": `{red,NULL,"dark blue"}`, "sizes": "{38,40}", "blob": `\x00ff`, "ref_uuid": "0a0b0c0d-0000-0000-0000-000000000001", "span": "1 day 02:00:00",
	"at_time": "08:00:00", "write_uid": "2", "create_uid": "1",
}

var draft = func() record {
	v := record{}
	for k := range full {
		v[k] = full[k]
	}
	v["state"], v["amount_total"] = "draft", "1250.5"
	return v
}()

func TestExpressions(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	write, create, unlink := wrote(t, rel, draft, full), created(t, rel, full), unlinked(t, rel, full)
	empty, emptied := created(t, rel, record{"id": "42"}), wrote(t, rel, full, record{"id": "42"})
	num := func(s string) cdc.Numeric { return cdc.Numeric(s) }
	tests := []struct {
		change *cdc.Change
		expr   string
		want   any
	}{
		// Rows.
		{write, `before.state`, "draft"}, {write, `after["state"]`, "sale"}, {write, `before?.state`, "draft"},
		{create, `before.state`, nil}, {unlink, `after.state`, nil}, {unlink, `before.state`, "sale"}, {unlink, `state`, "sale"}, {write, `state`, "sale"},
		{create, `before.state == nil`, true}, {create, `before.state != "sale"`, true}, {create, `before?.amount_total > 1`, false},
		// Conditions and NULL.
		{empty, `after.state == "sale"`, false}, {empty, `after.state != "sale"`, true}, {empty, `after.state == nil`, true}, {empty, `after.state == after.name`, true},
		{empty, `after.amount_total < 1`, false}, {empty, `after.amount_total >= 1`, false}, {empty, `1 > after.amount_total`, false},
		{empty, `!after.locked`, true}, {empty, `not after.locked`, true}, {empty, `after.locked && true`, false}, {empty, `after.locked || true`, true},
		{empty, `after.locked ? 1 : 2`, int64(2)}, {empty, `if after.locked { 1 } else { 2 }`, int64(2)},
		{empty, `after.amount_total + 1`, nil}, {empty, `-after.amount_total`, nil}, {empty, `(after.amount_total * 2) ?? 5`, int64(5)}, {empty, `after.name + "x"`, nil},
		{empty, `after.name ?? "none"`, "none"}, {write, `after.name ?? "none"`, "S00042"}, {empty, `lower(after.name)`, ""}, {empty, `len(after.name)`, int64(0)},
		{empty, `after.name contains "x"`, false}, {empty, `after.name startsWith ""`, false}, {empty, `after.name matches "^$"`, false}, {empty, `not (after.name contains "x")`, true},
		{empty, `after.state in ["sale"]`, false}, {empty, `after.state not in ["sale"]`, true}, {empty, `after.state in [nil, "sale"]`, true}, {empty, `"a" in after.tags`, false},
		{empty, `any(after.tags, # == "a")`, false}, {empty, `all(after.tags, # == "a")`, true}, {empty, `count(after.tags)`, int64(0)}, {empty, `after.tags[0]`, nil},
		{empty, `after.meta.a.b`, nil}, {empty, `after.date_order < now()`, false}, {empty, `after.date_order == nil`, true}, {empty, `after.date_order.Year()`, nil},
		{empty, `after.date_order + duration("1h")`, nil}, {empty, `abs(after.amount_total)`, nil}, {empty, `round(after.weight, 1)`, nil}, {empty, `int(after.priority)`, nil},
		{empty, `string(after.amount_total)`, ""}, {empty, `upper(trim(after.note))`, ""}, {empty, `split(after.name, ",")`, []any{}}, {empty, `max(after.amount_total, 5)`, int64(5)},
		{empty, `min(after.amount_total)`, nil}, {empty, `sum([after.amount_total, 5])`, int64(5)}, {empty, `keys(after.meta)`, []any{}}, {empty, `after.blob == nil`, true},
		{empty, `after.name[0:2]`, nil}, {empty, `reduce(after.sizes, #acc + #)`, nil}, {empty, `sortBy(after.sizes, #)`, []any{}}, {empty, `label("state")`, nil},
		// Numbers.
		{write, `after.amount_total == 1250.5`, true}, {write, `before.amount_total == after.amount_total`, true}, {write, `after.amount_total > 1250.49`, true},
		{write, `1250 < after.amount_total`, true}, {write, `after.amount_total in [1, 1250.50]`, true}, {write, `after.weight == 0.1`, true}, {write, `after.amount_tax == 0.10`, true},
		{write, `after.weight == after.amount_tax`, true}, {write, `after.big == 9007199254740993`, true}, {write, `after.big == 9007199254740992`, false},
		{write, `after.big != 9007199254740992`, true}, {write, `after.big > 9007199254740992`, true}, {write, `after.amount_total`, num("1250.50")}, {write, `after.big`, int64(9007199254740993)},
		{write, `after.weight`, 0.1}, {write, `0.1 + 0.2 == 0.3`, true}, {write, `after.amount_total + 1`, num("1251.50")}, {write, `after.amount_total * 2`, num("2501.00")},
		{write, `after.amount_total * 1.5`, num("1875.750")}, {write, `after.amount_total / 4`, num("312.625")}, {write, `after.amount_total - after.amount_tax`, num("1250.40")},
		{write, `1 / 3`, num("0.33333333333333333333")}, {write, `1 / 3 * 3 == 1`, true}, {write, `7 % 4`, int64(3)}, {write, `-7 % 4`, int64(-3)}, {write, `2 ** 10`, int64(1024)},
		{write, `2 ** -1`, num("0.5")}, {write, `10.0 ** 2`, num("100.00")}, {write, `round(after.amount_total)`, int64(1251)}, {write, `round(2.5)`, int64(3)}, {write, `round(-2.5)`, int64(-3)},
		{write, `round(after.amount_total / 3, 2)`, num("416.83")}, {write, `ceil(0.1)`, int64(1)}, {write, `floor(-0.1)`, int64(-1)}, {write, `abs(-after.amount_total)`, num("1250.50")},
		{write, `int(after.amount_total)`, int64(1250)}, {write, `int("12")`, int64(12)}, {write, `float("1.50")`, num("1.50")}, {write, `string(after.amount_total)`, "1250.50"},
		{write, `min(after.amount_total, 3)`, int64(3)}, {write, `max(after.sizes)`, int64(40)}, {write, `sum(after.sizes)`, int64(78)}, {write, `sum(after.sizes, # * 2)`, int64(156)},
		{write, `mean(after.sizes)`, int64(39)}, {write, `median([1, 2, 10])`, int64(2)}, {write, `-after.priority`, int64(-3)}, {write, `+after.priority`, int64(3)}, {write, `-0.5`, num("-0.5")},
		{write, `9223372036854775807 + 1`, num("9223372036854775808")}, {write, `1 < after.priority < 4`, true}, {write, `after.priority in 1..3`, true}, {write, `1_000.50 == 1000.5`, true},
		{write, `bitand(after.priority, 1) == 1`, true}, {write, `bitnot(0)`, int64(-1)},
		// Texts.
		{write, `after.name startsWith "S0" and after.name endsWith "42"`, true}, {write, `after.name matches "^S[0-9]+$"`, true}, {write, `"00" in [after.name]`, false},
		{write, `after.name contains "000"`, true}, {write, `after.name not contains "000"`, false}, {write, `upper(after.note)`, "<P>GRÖßE</P>"}, {write, `len(after.note)`, int64(12)},
		{write, `after.note[3:8]`, "Größe"}, {write, `indexOf(after.note, "e")`, int64(7)}, {write, `replace(after.name, "0", "")`, "S42"}, {write, `after.name + "-" + after.state`, "S00042-sale"},
		{write, `split(after.name, "0")`, []any{"S", "", "", "42"}}, {write, `join(after.tags, "|")`, "red||dark blue"}, {write, `trimPrefix(after.name, "S")`, "00042"}, {write, `repeat("ab", 2)`, "abab"},
		{write, `after.name | lower() | trimPrefix("s")`, "00042"}, {write, `after.state < after.note`, false}, {write, `after.ref_uuid endsWith "1"`, true}, {write, `after.span`, "1 day 02:00:00"},
		{write, `toBase64(after.state)`, "c2FsZQ=="}, {write, `fromBase64("c2FsZQ==")`, "sale"}, {write, `after.at_time == "08:00:00"`, true},
		// Dates.
		{write, `after.date_order < now()`, true}, {write, `now()`, testTx.Time}, {write, `after.validity_date > date("2026-03-30")`, true}, {write, `after.validity_date == date("2026-03-31")`, true},
		{write, `after.signed_on == date("2026-02-28 23:00:00")`, true}, {write, `after.date_order.Year()`, int64(2026)}, {write, `after.date_order.Month() == 2`, true}, {write, `now().Weekday()`, int64(0)},
		{write, `now() - after.date_order`, "10h59m59.5s"}, {write, `now() - after.date_order > duration("10h")`, true}, {write, `(now() - after.date_order).Hours() > 10`, true},
		{write, `after.validity_date - now() < duration("30d")`, true}, {write, `after.date_order + duration("1h") > date("2026-03-01")`, true}, {write, `date(now()) == date("2026-03-01")`, true},
		{write, `now().In(timezone("Europe/Paris")).Hour()`, int64(11)}, {write, `now(timezone("Asia/Tokyo")).Format("15:04")`, "19:30"}, {write, `now().AddDate(0, 1, 0)`, time.Date(2026, 4, 1, 10, 30, 0, 0, time.UTC)},
		{write, `string(after.validity_date)`, "2026-03-31"}, {write, `string(after.date_order)`, "2026-02-28T23:30:00.5Z"}, {write, `duration("1d") == duration("24h")`, true},
		{write, `duration("1h") * 2`, "2h0m0s"}, {write, `date("2026-03-01T10:30:00Z") == now()`, true},
		// JSON and arrays.
		{write, `after.meta.a.b[1] == 2.5`, true}, {write, `after.meta["a"]["b"][-1]`, "x"}, {write, `after.meta.n`, num("10000000000000000000000.1")}, {write, `after.meta.nothing.deeper`, nil},
		{write, `"a" in after.meta`, true}, {write, `after.meta.t && true`, true}, {write, `after.meta?.null == nil`, true}, {write, `len(after.meta.a.b)`, int64(3)}, {write, `keys(after.meta)`, []any{"a", "n", "null", "t"}},
		{write, `after.meta`, json.RawMessage(full["meta"])}, {write, `meta.a.b[0]`, int64(1)}, {write, `after.tags`, []any{"red", nil, "dark blue"}}, {write, `"red" in after.tags`, true}, {write, `38 in after.sizes`, true},
		{write, `any(after.sizes, # > 39)`, true}, {write, `filter(after.sizes, # > 39)`, []any{int64(40)}}, {write, `map(after.tags, upper(#))`, []any{"RED", "", "DARK BLUE"}}, {write, `first(after.tags)`, "red"},
		{write, `count(after.tags, # != nil)`, int64(2)}, {write, `find(after.sizes, # > 38)`, int64(40)}, {write, `findIndex(after.sizes, # > 38)`, int64(1)}, {write, `one(after.sizes, # == 38)`, true}, {write, `none(after.sizes, # == 0)`, true},
		{write, `sort([3, nil, 1.5], "desc")`, []any{int64(3), num("1.5"), nil}}, {write, `sortBy(after.sizes, -#)`, []any{int64(40), int64(38)}}, {write, `reduce(after.sizes, #acc + #, 0)`, int64(78)}, {write, `reduce(after.sizes, #acc + #)`, int64(78)},
		{write, `groupBy(after.sizes, # > 38)`, map[string]any{"false": []any{int64(38)}, "true": []any{int64(40)}}}, {write, `uniq([1, 1.0, "1"])`, []any{int64(1), "1"}}, {write, `after.sizes[0:1]`, []any{int64(38)}},
		{write, `concat(after.sizes, [1])`, []any{int64(38), int64(40), int64(1)}}, {write, `flatten([[1], [[2]]])`, []any{int64(1), int64(2)}}, {write, `reverse(after.sizes)`, []any{int64(40), int64(38)}}, {write, `take(after.sizes, 1)`, []any{int64(38)}},
		{write, `{"a": after.amount_total, "b": [after.name]}`, map[string]any{"a": num("1250.50"), "b": []any{"S00042"}}}, {write, `{(after.name): 1}`, map[string]any{"S00042": int64(1)}}, {write, `toPairs({"a": 1})`, []any{[]any{"a", int64(1)}}},
		{write, `fromJSON("[1.50]")[0]`, num("1.50")}, {write, `after.blob`, []byte{0, 255}}, {write, `len(after.blob)`, int64(2)}, {write, `let x = after.priority; x * x`, int64(9)}, {write, `[after.priority, 1][0]`, int64(3)},
		{write, `all(after.sizes, any(after.tags, # == "red") && # > 1)`, true}, {write, `map(after.sizes, {let h = # / 2; h + 1})`, []any{int64(20), int64(21)}}, {write, `map(filter(after.sizes, # > 38), {#index})`, []any{int64(0)}},
		// Around the row.
		{write, `op`, "write"}, {create, `op == "create"`, true}, {unlink, `op`, "unlink"}, {write, `model`, "sale.order"}, {write, `id`, int64(42)}, {write, `id + 1`, int64(43)}, {write, `user.id`, int64(2)}, {unlink, `user.id`, nil},
		{empty, `user.id`, nil}, {write, `tx.xid`, int64(4711)}, {write, `tx.lsn`, "0/16B3748"}, {write, `tx.time == now()`, true}, {write, `label("state")`, "Sales Order"}, {unlink, `label("state")`, "Sales Order"},
		// Transitions.
		{write, `changed("state")`, true}, {write, `changed("amount_total")`, false}, {write, `changed("name", "state")`, true}, {write, `changed("name")`, false}, {create, `changed("state")`, true}, {empty, `changed("state")`, false},
		{unlink, `changed("state")`, true}, {emptied, `changed("name")`, true}, {emptied, `changed("locked")`, true}, {write, `became("state", "sale")`, true}, {create, `became("state", "sale")`, true}, {unlink, `became("state", "sale")`, false},
		{emptied, `became("state", "sale")`, false}, {emptied, `became("name", nil)`, true}, {write, `became("state", "sent")`, false}, {write, `entered("state", ["sale", "done"])`, true}, {create, `entered("state", ["sent", "sale"])`, true},
		{write, `entered("state", ["draft", "sale"])`, false}, {write, `became("amount_total", 1250.5)`, false}, {create, `became("amount_total", 1250.5)`, true},
	}
	for _, tc := range tests {
		t.Run(tc.change.Op.String()+" "+tc.expr, func(t *testing.T) {
			got, err := evaluate(t, tc.expr, tc.change)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What raises all the same: the event is parked.
func TestExpressionErrors(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	write := wrote(t, rel, draft, full)
	unknown := func(column string) *cdc.Change {
		after := record{"id": "42", column: absent}
		c := created(t, rel, after)
		c.Op, c.Before = cdc.Write, cdc.Row{Image: cdc.ImageUnknown}
		return c
	}
	tests := []struct {
		change *cdc.Change
		expr   string
		want   string
		offset int
	}{
		{write, `1 / (after.priority - 3)`, "division by zero", 2},
		{write, `after.priority % (after.priority - 3)`, "division by zero", 15},
		{write, `after.meta.a < 5`, "cannot compare object with number", 13},
		{write, `after.meta.a.b[2] < 5`, "cannot compare text with number", 18},
		{write, `lower(after.meta.n)`, "lower needs a text, not number", 0},
		{write, `int("abc")`, `int cannot read "abc" as a number`, 0},
		{write, `date(after.name) > now()`, `"S00042" is no date`, 0},
		{write, `after.meta.a ? 1 : 2`, "a condition must be true or false, this is object", 11},
		{write, `repeat("x", 100000000)`, "repeat makes at most 262144 bytes", 0},
		{write, `reduce(1..99, #acc + #acc, "xxxxxxxx")`, "a text of more than 262144 bytes", 19},
		{write, `reduce(1..99, #acc * #acc, 10)`, "number too large", 19},
		{write, `10 ** 4000 ** 4000`, "number too large", 11},
		{write, `(-8) ** 0.5`, "no real number has this power", 5},
		{write, `1..1000000`, "a range of more than 20000 numbers", 1},
		{write, `all(1..100, all(1..500, true))`, "the expression visits or makes too many elements", 12},
		{write, `let a = 1..5000; map(a, a)`, "the expression visits or makes too many elements", 17},
		{write, `reduce(1..9999, #acc + "xxxxxxxxxxxxxxxxxxxxxxxx", "")`, "the expression visits or makes too many elements", 21},
		{write, `all(1..9999, upper(repeat("x", 9999)) != "")`, "the expression visits or makes too many elements", 19},
		{write, `any(1..9999, sha256(repeat("x", 200000)) == "")`, "the expression visits or makes too many elements", 20},
		{write, `reduce(1..99, [#acc, #acc], "x")`, "the expression visits or makes too many elements", 14},
		{write, `reduce(1..99, concat(#acc, #acc), [["x"]])`, "the expression visits or makes too many elements", 14},
		{write, `fromJSON("{")`, "cannot read JSON: unexpected EOF", 0},
		{write, `ref("partner_id").name + ""`, `ref("partner_id"): no related rows were fetched`, 18},
		{unknown("note"), `after.note == "x"`, "after.note: " + cdc.ErrUnknown.Error(), 11},
		{unknown("note"), `before.note`, "before.note: the old row is not in WAL", 7},
		{unknown("name"), `changed("state")`, "before.state: the old row is not in WAL", 0},
	}
	for _, tc := range tests {
		t.Run(tc.expr, func(t *testing.T) {
			got, err := evaluate(t, tc.expr, tc.change)
			var e *EvalError
			if !errors.As(err, &e) {
				t.Fatalf("got %v, %v", got, err)
			}
			if e.Err.Error() != tc.want {
				t.Errorf("got %q, want %q", e.Err, tc.want)
			}
			if e.Offset != tc.offset {
				t.Errorf("at %d, want %d:\n%s", e.Offset, tc.offset, e.Snippet())
			}
			if want := fmt.Sprintf("rule %q, payload.x: %s", "r", tc.want); err.Error() != want {
				t.Errorf("got %q, want %q", err, want)
			}
		})
	}
}

// Unchanged TOAST is not changed, though its value is not known.
func TestUnknownIsNotChanged(t *testing.T) {
	rel := relationOf(testCatalog().Table("public", "sale_order"))
	c := blind(t, rel, record{"id": "42", "note": absent})
	if got, err := evaluate(t, `changed("note")`, c); err != nil || got != false {
		t.Errorf("got %v, %v", got, err)
	}
	_, err := evaluate(t, `before.note == "x"`, c)
	if !errors.Is(err, ErrNoOldRow) || !errors.Is(err, cdc.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	var hint interface{ Hint() string }
	if !errors.As(err, &hint) || !strings.Contains(hint.Hint(), `ALTER TABLE "public"."sale_order" REPLICA IDENTITY FULL`) {
		t.Errorf("no remedy in %v", err)
	}
}
