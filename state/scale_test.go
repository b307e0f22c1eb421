package state

import (
	"fmt"
	"strings"
	"testing"
)

// stock writes n deliveries as if they had been enqueued, of which the first pending ones wait, each in a lane of its own, and the others were delivered.
func stock(b *testing.B, db *DB, n, pending int) {
	b.Helper()
	for _, sql := range []string{
		`INSERT INTO {schema}.delivery (seq, day, id, endpoint, lane, rule, event, model, record, op, late, commit_lsn, xid, commit_at, enqueued_at, content_type, body, epoch, sequence)
			SELECT n, (now() AT TIME ZONE 'UTC')::date, 'msg_' || md5(n::text), 'a', 'sale.order/' || n, 'rule', 'sale.order.write', 'sale.order', n::text, 'write', false,
				'0/1000'::pg_lsn + n, n, now(), now(), 'application/json', convert_to(repeat('x', 500), 'UTF8'), s.epoch, n
			FROM {schema}.source s, generate_series(1, $1::bigint) n`,
		`INSERT INTO {schema}.attempt (day, seq, number, at, endpoint, process, result, reason, class, method, url, request_headers, status, response_headers, response_body, response_cut,
				error, dns_us, connect_us, tls_us, first_byte_us, total_us)
			SELECT (now() AT TIME ZONE 'UTC')::date, n, 1, now(), 'a', 1, 'delivered', '', '', 'POST', 'https://example.com/hook', '{"Webhook-Id":["msg"]}', 200, '{"Server":["x"]}', 'ok', false, '', 0, 0, 0, 100, 200
			FROM generate_series($2::bigint + 1, $1::bigint) n`,
		`INSERT INTO {schema}.queue (endpoint, lane, seq, day, bytes, attempts) SELECT 'a', 'sale.order/' || n, n, (now() AT TIME ZONE 'UTC')::date, 500, n % 2 FROM generate_series(1, $2::bigint) n`,
		`INSERT INTO {schema}.lane (endpoint, key, due) SELECT 'a', 'sale.order/' || n, now() FROM generate_series(1, $2::bigint) n`,
		`INSERT INTO {schema}.tally (endpoint, pending, pending_bytes) VALUES ('a', $2::bigint, $2::bigint * 500)`,
		`UPDATE {schema}.source SET last_seq = $1::bigint, numbers = jsonb_build_object('a', ($1::bigint)::text)`,
	} {
		args := []any{n, pending}
		switch {
		case !strings.Contains(sql, "$1"):
			args, sql = args[1:], strings.ReplaceAll(sql, "$2", "$1")
		case !strings.Contains(sql, "$2"):
			args = args[:1]
		}
		exec(b, db, sql, args...)
	}
	exec(b, db, "ANALYZE")
}

// BenchmarkStatus shows that a look at what waits costs the same however much it is.
func BenchmarkStatus(b *testing.B) {
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			db := openLedger(b, nil)
			stock(b, db, n, n)
			db.oldest.watch(true)
			if err := db.lookForOldest(b.Context()); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(db.oldest.took.Microseconds())/1000, "ms/look-for-oldest")
			for b.Loop() {
				if list, err := db.Endpoints(b.Context()); err != nil || list[0].Pending != int64(n) || list[0].OldestPending.IsZero() {
					b.Fatal(list, err)
				}
			}
		})
	}
}

// BenchmarkVerify verifies a million deliveries that were delivered, and a million that wait.
func BenchmarkVerify(b *testing.B) {
	const n = 1_000_000
	for name, pending := range map[string]int{"delivered": 0, "pending": n} {
		b.Run(name, func(b *testing.B) {
			db := openLedger(b, nil)
			stock(b, db, n, pending)
			for b.Loop() {
				if v := verify(b, db, VerifyOptions{}); !v.Intact || v.Ledgers[0].Matched != n {
					b.Fatal(v.Findings)
				}
			}
		})
	}
}
