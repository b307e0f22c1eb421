package state

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

// The hot statements reach rows by index or by place, also when the planner last saw empty tables: a scan of the queue
// would make every batch pay for the backlog.
func TestHotStatementsScanNoTable(t *testing.T) {
	db := openState(t, nil)
	exec(t, db, "ANALYZE {schema}.queue, {schema}.lane, {schema}.delivery, {schema}.source, {schema}.process")
	p := register(t, db)
	f := newFeed(t, p)
	f.enqueue(t, all, f.delivery("a", "m/1"))
	d := f.delivery("a", "m/2")
	batch := &delivery.Batch{From: f.at, To: delivery.Position{LSN: f.at.LSN + 1}, Deliveries: []*delivery.Delivery{d}}
	one, key, seq := []string{"a"}, []string{"m/1"}, []int64{1}
	for name, tc := range map[string]struct {
		sql   string
		args  []any
		plans []string // what must be in the plan
	}{
		"enqueue":  {enqueueAtTID, append(p.enqueueArgs(batch, groupByLane(batch.Deliveries), []bool{true}), []int64{0}, one, seq, seq, seq, []int32{1}, []int16{0}, []string{}, []string{}), []string{"Tid Scan on source"}},
		"claim":    {claimLanes, []any{"a", 10, p.id, 1, 0, -1, time.Time{}, time.Time{}, time.Time{}}, []string{"Index Scan using lane_due", "Index Scan using lane_pkey"}},
		"lock":     {lockLanes, []any{one, key, p.id}, []string{"Index Scan using lane_pkey"}},
		"next":     {nextInLanes, []any{one, key, []int64{0}, 5}, []string{"using queue_pkey"}},
		"end":      {endQueued, []any{one, key, seq}, []string{"Index Scan using queue_pkey"}},
		"drop":     {oldestPending, []any{"a", int64(0), 10}, []string{"_seq_idx", "using queue_pkey"}},
		"retry":    {retryQueued, []any{one, key, seq}, []string{"Index Scan using queue_pkey"}},
		"delete":   {deleteLanes, []any{[]string{"(0,1)"}}, []string{"Tid Scan on lane"}},
		"release":  {releaseLanes, []any{one, key, []float64{0}, []bool{false}}, []string{"Index Scan using lane_pkey"}},
		"delivery": {`SELECT ` + logColumns + ` FROM {schema}.delivery WHERE day = $1 AND seq = ANY($2)`, []any{time.Now(), seq}, []string{"_seq_idx"}},
	} {
		rows, err := db.pool.Query(t.Context(), "EXPLAIN "+expand(tc.sql, db.cfg.Schema), tc.args...)
		if err != nil {
			t.Fatal(err)
		}
		lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		plan := strings.Join(lines, "\n") + "\n" + genericPlan(t, db, tc.sql, len(tc.args))
		if regexp.MustCompile(`Seq Scan on (queue|lane|delivery|process|dead)`).MatchString(plan) {
			t.Errorf("%s scans a table:\n%s", name, plan)
		}
		for _, want := range tc.plans {
			if !strings.Contains(plan, want) {
				t.Errorf("%s has no %q:\n%s", name, want, plan)
			}
		}
	}
}

// genericPlan is the plan of a statement for any parameters.
func genericPlan(t *testing.T, db *DB, sql string, args int) string {
	t.Helper()
	conn, err := db.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback(context.Background()) }()
	unknown := strings.TrimSuffix(strings.Repeat("NULL, ", args), ", ")
	for _, statement := range []string{generic, "PREPARE any_of_it AS " + expand(sql, db.cfg.Schema)} {
		if _, err := tx.Exec(t.Context(), statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	rows, err := tx.Query(t.Context(), "EXPLAIN EXECUTE any_of_it("+unknown+")", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		t.Fatal(err)
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "DEALLOCATE any_of_it"); err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
