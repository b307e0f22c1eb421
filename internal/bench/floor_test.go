package bench

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// floorWorkers is how many requests the floor has under way, unless the scenario says otherwise.
const floorWorkers = 32

// posting is a webhook that the floor sends.
type posting struct {
	id   string
	body []byte
}

// beFloor is the role of the least that could be called a webhook sender: it reads a slot with pglogrepl and posts every row. It keeps
// nothing, orders nothing, signs nothing, confirms nothing and retries nothing.
func beFloor() error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		_ = orphaned() // whatever ends it
		cancel()
	}()
	conn, err := pgconn.Connect(ctx, os.Getenv("BENCH_DSN")+"&replication=database")
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	err = pglogrepl.StartReplication(ctx, conn, os.Getenv("BENCH_SLOT"), 0, pglogrepl.StartReplicationOptions{PluginArgs: []string{
		"proto_version '1'", "publication_names '" + os.Getenv("BENCH_PUBLICATION") + "'"}})
	if err != nil {
		return err
	}
	workers, err := strconv.Atoi(os.Getenv("BENCH_WORKERS"))
	if err != nil {
		return err
	}
	work := make(chan posting, 4*workers)
	failed := make(chan error, workers)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers}}
	for range workers {
		go func() {
			for p := range work {
				if err := p.post(ctx, client, os.Getenv("BENCH_URL")); err != nil && ctx.Err() == nil {
					failed <- err
					return
				}
			}
		}()
	}
	err = read(ctx, conn, work, failed)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (p posting) post(ctx context.Context, client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(p.body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Webhook-Id", p.id)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// read passes on what the slot says.
func read(ctx context.Context, conn *pgconn.PgConn, work chan<- posting, failed <-chan error) error {
	relations := map[uint32]*pglogrepl.RelationMessage{}
	var begun *pglogrepl.BeginMessage
	n := 0
	row := func(relation uint32, op string, tuple *pglogrepl.TupleData) error {
		r := relations[relation]
		p := posting{id: fmt.Sprintf("floor_%s_%d", begun.FinalLSN, n)}
		n++
		b := append(p.body, `{"type":"`...)
		b = append(append(b, r.RelationName...), '.')
		b = append(append(b, op...), `","timestamp":"`...)
		b = begun.CommitTime.UTC().AppendFormat(b, time.RFC3339Nano)
		b = append(b, `","data":{"record":{`...)
		for i, c := range r.Columns {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(strconv.AppendQuote(b, c.Name), ':')
			switch v := tuple.Columns[i]; {
			case v.DataType != pglogrepl.TupleDataTypeText:
				b = append(b, "null"...)
			case c.DataType == 23: // int4
				b = append(b, v.Data...)
			default:
				b = strconv.AppendQuote(b, string(v.Data))
			}
		}
		p.body = append(b, `}}}`...)
		select {
		case work <- p:
			return nil
		case err := <-failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for {
		raw, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		if e, ok := raw.(*pgproto3.ErrorResponse); ok {
			return pgconn.ErrorResponseToPgError(e)
		}
		data, ok := raw.(*pgproto3.CopyData)
		if !ok || data.Data[0] != pglogrepl.XLogDataByteID {
			continue // a run is shorter than wal_sender_timeout
		}
		x, err := pglogrepl.ParseXLogData(data.Data[1:])
		if err != nil {
			return err
		}
		message, err := pglogrepl.Parse(x.WALData)
		if err != nil {
			return err
		}
		switch m := message.(type) {
		case *pglogrepl.RelationMessage:
			relations[m.RelationID] = m
		case *pglogrepl.BeginMessage:
			begun = m
		case *pglogrepl.InsertMessage:
			err = row(m.RelationID, "create", m.Tuple)
		case *pglogrepl.UpdateMessage:
			err = row(m.RelationID, "write", m.NewTuple)
		}
		if err != nil {
			return err
		}
	}
}
