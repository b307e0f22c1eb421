package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// queueBatch is how many rows a transaction of the queue table copies in, or completes.
const queueBatch = 1000

const queueSchema = `DROP TABLE IF EXISTS queue_table;
	CREATE TABLE queue_table (id bigint PRIMARY KEY, endpoint text NOT NULL, body bytea NOT NULL)`

// queued is what the queue table has done.
type queued struct{ Copy, Complete float64 } // seconds

// beQueue is the role of a queue table and nothing else: rows are copied in and completed again, in
// batches, each in a durable transaction. Nobody sends them.
func beQueue() error {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, os.Getenv("BENCH_DSN"))
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	rows, err := strconv.Atoi(os.Getenv("BENCH_ROWS"))
	if err != nil {
		return err
	}
	body := []byte(strings.Repeat("x", 400))
	var done queued
	began := time.Now()
	for first := 0; first < rows; first += queueBatch {
		n := min(queueBatch, rows-first)
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{"queue_table"}, []string{"id", "endpoint", "body"}, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			return []any{int64(first + i), "erp", body}, nil
		})); err != nil {
			return err
		}
	}
	done.Copy = time.Since(began).Seconds()
	began = time.Now()
	ids := make([]int64, 0, queueBatch)
	for first := 0; first < rows; first += queueBatch {
		ids = ids[:0]
		for i := range min(queueBatch, rows-first) {
			ids = append(ids, int64(first+i))
		}
		if _, err := conn.Exec(ctx, "DELETE FROM queue_table WHERE id = ANY($1)", ids); err != nil {
			return err
		}
	}
	done.Complete = time.Since(began).Seconds()
	text, err := json.Marshal(done)
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return orphaned()
}
