package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// readerTook is what the reader needed from the start of streaming to the end, in seconds.
type readerTook struct{ Seconds, CPU float64 }

// beReader is the role of the least that reads a slot in Go: pglogrepl's usual loop, which receives messages up to a position, and does nothing with them.
func beReader() error {
	ctx := context.Background()
	conn, err := pgconn.Connect(ctx, os.Getenv("BENCH_DSN")+"&replication=database")
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	end, err := pglogrepl.ParseLSN(os.Getenv("BENCH_END"))
	if err != nil {
		return err
	}
	err = pglogrepl.StartReplication(ctx, conn, os.Getenv("BENCH_SLOT"), 0, pglogrepl.StartReplicationOptions{PluginArgs: []string{
		"proto_version '1'", "publication_names '" + os.Getenv("BENCH_PUBLICATION") + "'"}})
	if err != nil {
		return err
	}
	began, cpu := time.Now(), ownCPU()
	if err := readTo(ctx, conn, end); err != nil {
		return err
	}
	text, err := json.Marshal(readerTook{time.Since(began).Seconds(), ownCPU() - cpu})
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	return orphaned()
}

// readTo receives messages up to the commit that ends at a position, and confirms it.
func readTo(ctx context.Context, conn *pgconn.PgConn, end pglogrepl.LSN) error {
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
		if len(x.WALData) != 26 || x.WALData[0] != 'C' {
			continue
		}
		if at := pglogrepl.LSN(binary.BigEndian.Uint64(x.WALData[10:])); at >= end {
			return pglogrepl.SendStandbyStatusUpdate(ctx, conn, pglogrepl.StandbyStatusUpdate{WALWritePosition: at})
		}
	}
}

// ownCPU is the CPU time of this process, in seconds.
func ownCPU() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(errors.New("getrusage: " + err.Error()))
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
