package state

import (
	"context"
	"time"
	"walhook/status"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

var _ delivery.ImageStore = (*DB)(nil)

const imageTables = `SELECT t.id, t.schema_name, t.table_name, t.generation, t.filled_at IS NOT NULL,
	ARRAY(SELECT s.columns FROM {schema}.image_shape s WHERE s.tbl = t.id ORDER BY s.number)
	FROM {schema}.image_table t WHERE t.removed_at IS NULL ORDER BY t.id`

func scanImageTable(row pgx.CollectableRow) (t delivery.ImageTable, err error) {
	return t, row.Scan(&t.ID, &t.Schema, &t.Name, &t.Generation, &t.Filled, &t.Shapes)
}

// ImageTables implements [delivery.ImageStore].
func (db *DB) ImageTables(ctx context.Context) (tables []delivery.ImageTable, err error) {
	err = db.read(ctx, "read the tables of images", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(imageTables))
		if err != nil {
			return err
		}
		tables, err = pgx.CollectRows(rows, scanImageTable)
		return err
	})
	return tables, err
}

// ImageTable names a table that images are to be kept of.
type ImageTable struct{ Schema, Name string }

// KeepImagesOf begins the images of tables that have none, gives up those of others, and returns the tables with what is known of them. Only
// the reader may: what it misses, nobody sees. What is given up is removed by upkeep, and does not count when it is wanted again.
func (r *Reader) KeepImagesOf(ctx context.Context, wanted []ImageTable) (tables []delivery.ImageTable, err error) {
	const remove = `UPDATE {schema}.image_table SET removed_at = now() WHERE removed_at IS NULL AND (SELECT reader FROM {schema}.source) = $1
		AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) w (s, n) WHERE w.s = schema_name AND w.n = table_name)`
	const begin = `INSERT INTO {schema}.image_table (schema_name, table_name) SELECT w.s, w.n FROM unnest($2::text[], $3::text[]) w (s, n)
		WHERE (SELECT reader FROM {schema}.source) = $1 ON CONFLICT (schema_name, table_name) WHERE removed_at IS NULL DO NOTHING`
	const cancel = `UPDATE {schema}.job j SET state = 'cancelled', waits = '', ended_at = now() WHERE kind = 'image' AND state NOT IN ('done', 'cancelled') AND (SELECT reader FROM {schema}.source) = $1
		AND NOT EXISTS (SELECT FROM {schema}.image_table t WHERE t.removed_at IS NULL AND t.schema_name = j.table_schema AND t.table_name = j.table_name)`
	db, schemas, names := r.p.db, make([]string, len(wanted)), make([]string, len(wanted))
	for i, t := range wanted {
		schemas[i], names[i] = t.Schema, t.Name
	}
	err = db.transact(ctx, "begin images", func(t *transaction) error {
		return t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(remove), r.p.id, schemas, names)
			b.Queue(db.sql(begin), r.p.id, schemas, names)
			b.Queue(db.sql(cancel), r.p.id)
			b.Queue(db.sql(fillImages), r.p.id)
			b.Queue(db.sql(imageTables)).Query(func(rows pgx.Rows) (err error) {
				tables, err = pgx.CollectRows(rows, scanImageTable)
				return err
			})
		})
	})
	return tables, err
}

// Images implements [delivery.ImageStore].
func (db *DB) Images(ctx context.Context, asks []delivery.ImageAsk, found func(delivery.Image)) error {
	const read = `SELECT k.key, i.shape, CASE WHEN k.n <= 2 OR sum(octet_length(i.data)) OVER (ORDER BY k.n ROWS UNBOUNDED PRECEDING) <= $4 THEN i.data END
		FROM unnest($3::text[]) WITH ORDINALITY k (key, n) JOIN {schema}.image i ON i.tbl = $1 AND i.generation = $2 AND i.key = k.key ORDER BY k.n`
	b := &pgx.Batch{}
	for _, a := range asks {
		b.Queue(db.sql(read), a.Table, a.Generation, a.Keys, a.Bytes).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				im := delivery.Image{Table: a.Table, Generation: a.Generation}
				if err := rows.Scan(&im.Key, &im.Shape, &im.Data); err != nil {
					return err
				}
				found(im)
			}
			return rows.Err()
		})
	}
	return db.translate("read images", db.pool.SendBatch(ctx, b).Close())
}

// writeImages changes images in the transaction of the position (invariant 2).
func (db *DB) writeImages(ctx context.Context, t *transaction, w *delivery.ImageBatch) error {
	const (
		shape = `INSERT INTO {schema}.image_shape (tbl, number, columns) VALUES ($1, $2, $3) ON CONFLICT (tbl, number) DO UPDATE SET columns = excluded.columns`
		begin = `UPDATE {schema}.image_table SET generation = $2, since = now(), filled_at = now(), compare = NULL WHERE id = $1`
		lack  = `UPDATE {schema}.image_table SET filled_at = NULL, since = now() WHERE id = ANY ($1::integer[])`
		put   = `INSERT INTO {schema}.image (tbl, key, generation, shape, data)
			SELECT unnest($1::integer[]), unnest($2::text[]), unnest($3::bigint[]), unnest($4::integer[]), unnest($5::bytea[])
			ON CONFLICT (tbl, key) DO UPDATE SET generation = excluded.generation, shape = excluded.shape, data = excluded.data`
		remove = `DELETE FROM {schema}.image i USING unnest($1::integer[], $2::text[]) r (tbl, key) WHERE i.tbl = r.tbl AND i.key = r.key`
	)
	if w == nil {
		return nil
	}
	var kept, gone imageColumns
	flush := func() error {
		if len(kept.key)+len(gone.key) == 0 {
			return nil
		}
		err := t.send(ctx, func(b *pgx.Batch) {
			if len(gone.key) > 0 {
				b.Queue(db.sql(remove), gone.table, gone.key)
			}
			if len(kept.key) > 0 {
				b.Queue(db.sql(keepBefore), kept.table, kept.key)
				b.Queue(db.sql(put), kept.table, kept.key, kept.generation, kept.shape, kept.data)
			}
		})
		kept, gone = imageColumns{}, imageColumns{}
		return err
	}
	if err := t.send(ctx, func(b *pgx.Batch) {
		if w.More != nil {
			b.Queue(patient)
		}
		for _, s := range w.Shapes {
			b.Queue(db.sql(shape), s.Table, s.Number, s.Columns)
		}
		for table, generation := range w.Generations {
			b.Queue(db.sql(begin), table, generation) // it was emptied: there is nothing to be filled
		}
		if len(w.Lacking) > 0 {
			b.Queue(db.sql(lack), w.Lacking)
			b.Queue(db.sql(fillImages), 0)
		}
	}); err != nil {
		return err
	}
	for i := range w.Images {
		if im := &w.Images[i]; im.Data == nil {
			gone.add(im)
		} else {
			kept.add(im)
		}
		if kept.bytes >= imagePiece || len(gone.key) >= imagePieceRows {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil || w.More == nil {
		return err
	}
	for more, err := range w.More {
		if err != nil {
			return err
		}
		if len(more.Images) == 0 { // a sign of life at least
			if err := t.send(ctx, letGo); err != nil {
				return err
			}
		}
		if err := db.writeImages(ctx, t, more); err != nil {
			return err
		}
	}
	return nil
}

// patient lets a transaction idle for longer than others may, while a large transaction is read from its file. Pieces or signs of life come every
// second; that the machine is slow must not end it each time anew. It holds locks on images alone, not on the position: another process can take the role over, and
// where it meets them it waits. The server notices at once when the process ends, and within seconds when its machine has vanished: only one that
// was stopped holds them for so long.
const patient = `SET LOCAL idle_in_transaction_session_timeout = '2min'`

// Images are written in pieces: the driver holds the arguments of a statement twice (invariant 9).
const (
	imagePiece     = 1 << 20
	imagePieceRows = 5000
)

// imageColumns are images, laid out in columns.
type imageColumns struct {
	table, shape []int32
	key          []string
	generation   []int64
	data         [][]byte
	bytes        int
}

func (c *imageColumns) add(im *delivery.Image) {
	c.table, c.shape = append(c.table, im.Table), append(c.shape, im.Shape)
	c.key, c.generation, c.data = append(c.key, im.Key), append(c.generation, im.Generation), append(c.data, im.Data)
	c.bytes += len(im.Key) + len(im.Data) + 32
}

// forgetImages lets all tables begin anew: changes were missed, and what images say of the rows before later ones may not be true. They stay until
// the tables are filled again; where every row had one, a resync may want to know what was missed, and they are kept until it does.
func (db *DB) forgetImages(ctx context.Context, t *transaction) error {
	const begin = `UPDATE {schema}.image_table SET generation = generation + 1, since = now(), filled_at = NULL,
		compare = coalesce(compare, CASE WHEN filled_at IS NOT NULL THEN generation END) WHERE removed_at IS NULL`
	return t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(begin)) })
}

// noteFilled takes note, in its transaction, that a job has gone through a table: every row has an image, unless the table has begun anew since the
// job was asked for.
func (db *DB) noteFilled(ctx context.Context, t *transaction, step *delivery.JobStep) error {
	const fill = `UPDATE {schema}.image_table t SET filled_at = now() FROM {schema}.job j WHERE j.id = $1 AND j.kind = 'image' AND t.removed_at IS NULL
		AND t.schema_name = j.table_schema AND t.table_name = j.table_name AND t.filled_at IS NULL AND t.since <= j.made_at`
	if step == nil || !step.Done {
		return nil
	}
	return t.send(ctx, func(b *pgx.Batch) { b.Queue(db.sql(fill), step.Job) })
}

// fillImages asks for a walk through each table whose rows may have no image, unless there is one, or a person has cancelled it. A process does so while it
// reads; 0 stands for the one that does for certain.
const fillImages = `INSERT INTO {schema}.job (kind, table_schema, table_name)
	SELECT 'image', t.schema_name, t.table_name FROM {schema}.image_table t WHERE t.removed_at IS NULL AND t.filled_at IS NULL AND ($1 = 0 OR (SELECT reader FROM {schema}.source) = $1)
	AND NOT EXISTS (SELECT FROM {schema}.job j WHERE j.kind = 'image' AND j.table_schema = t.schema_name AND j.table_name = t.table_name AND j.made_at >= t.since)`

// keepImages is the upkeep of images.
func (p *Process) keepImages(ctx context.Context) error {
	if _, err := p.db.pool.Exec(ctx, p.db.sql(fillImages), p.id); err != nil {
		return p.db.translate("ask for images to be filled", err)
	}
	for _, sql := range []string{endCompare, dropBefore} {
		if _, err := p.db.pool.Exec(ctx, p.db.sql(sql)); err != nil {
			return p.db.translate("let go of images from before a gap", err)
		}
	}
	return p.sweepImages(ctx)
}

// Upkeep looks at so many images in one transaction, and pauses before the next: what is live comes first.
const (
	sweptAtOnce = 2000
	sweepPause  = 50 * time.Millisecond
)

// sweepImages removes images that do not count any more: of tables that are not in the configuration, and of earlier generations of those
// that are filled. An image that is written meanwhile is of a later generation, and stays: the row itself is asked, not what was seen of it before.
func (p *Process) sweepImages(ctx context.Context) error {
	const next = `SELECT t.id, t.generation - CASE WHEN t.removed_at IS NULL THEN 1 ELSE 0 END, t.removed_at IS NOT NULL FROM {schema}.image_table t
		WHERE (t.removed_at IS NOT NULL OR t.filled_at IS NOT NULL AND t.compare IS NULL AND t.swept < t.generation - 1) AND EXISTS (SELECT FROM {schema}.source WHERE reader = $1)
		ORDER BY t.id LIMIT 1`
	const sweep = `WITH looked AS (SELECT key FROM {schema}.image WHERE tbl = $1 AND key > $2 ORDER BY key LIMIT $4),
		gone AS (DELETE FROM {schema}.image i USING looked l WHERE i.tbl = $1 AND i.key = l.key AND i.generation <= $3)
		SELECT coalesce(max(key), ''), count(*) FROM looked`
	const done = `UPDATE {schema}.image_table SET swept = $2 WHERE id = $1 AND removed_at IS NULL`
	const drop = `DELETE FROM {schema}.image_table WHERE id = $1 AND removed_at IS NOT NULL`
	for {
		var table int32
		var generation int64
		var removed bool
		err := p.db.pool.QueryRow(ctx, p.db.sql(next), p.id).Scan(&table, &generation, &removed)
		if noRows(err) {
			return nil
		}
		if err != nil {
			return p.db.translate("look for images to remove", err)
		}
		for key, n := "", sweptAtOnce; n == sweptAtOnce; {
			if err := p.db.pool.QueryRow(ctx, p.db.sql(sweep), table, key, generation, sweptAtOnce).Scan(&key, &n); err != nil {
				return p.db.translate("remove images", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(sweepPause):
			}
		}
		if _, err := p.db.pool.Exec(ctx, p.db.sql(done), table, generation); err != nil {
			return p.db.translate("remove images", err)
		}
		if removed {
			if _, err := p.db.pool.Exec(ctx, p.db.sql(drop), table); err != nil {
				return p.db.translate("remove images", err)
			}
		}
	}
}

// ImageStates says how far the images of each table have come; nil when none are kept.
func (db *DB) ImageStates(ctx context.Context) (s *status.ImagesState, err error) {
	const read = `SELECT t.schema_name, t.table_name, t.since, t.filled_at, coalesce(j.rows, 0), coalesce(j.total, 0), coalesce(j.state, ''), coalesce(nullif(j.error, ''), j.waits, '')
		FROM {schema}.image_table t LEFT JOIN LATERAL (SELECT * FROM {schema}.job j WHERE j.kind = 'image' AND j.table_schema = t.schema_name AND j.table_name = t.table_name
			AND j.made_at >= t.since ORDER BY j.id DESC LIMIT 1) j ON t.filled_at IS NULL
		WHERE t.removed_at IS NULL ORDER BY 1, 2`
	const size = `SELECT pg_catalog.pg_total_relation_size('{schema}.image'), (SELECT greatest(reltuples, 0)::bigint FROM pg_catalog.pg_class WHERE oid = '{schema}.image'::regclass)`
	err = db.read(ctx, "look at images", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(read))
		if err != nil {
			return err
		}
		tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (s status.ImageState, err error) {
			var filled *time.Time
			err = row.Scan(&s.Schema, &s.Table, &s.Since, &filled, &s.Rows, &s.Total, &s.Job, &s.Waits)
			s.Since, s.Filled = s.Since.UTC(), timeOf(filled)
			return s, err
		})
		if err != nil || len(tables) == 0 {
			return err
		}
		s = &status.ImagesState{Tables: tables}
		return tx.QueryRow(ctx, db.sql(size)).Scan(&s.Bytes, &s.Rows)
	})
	return s, err
}
