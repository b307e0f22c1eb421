package state

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"walhook/delivery"
)

var _ delivery.BeforeStore = (*DB)(nil)

// imagesBefore are the images from before changes were missed: those that lie where they were, and those that a change has replaced since.
const imagesBefore = `(SELECT i.tbl, i.key, i.shape, i.data FROM {schema}.image i JOIN {schema}.image_table c ON c.id = i.tbl AND i.generation = c.compare
	UNION ALL SELECT b.tbl, b.key, b.shape, b.data FROM {schema}.image_before b)`

// ImagesBefore implements [delivery.BeforeStore].
func (db *DB) ImagesBefore(ctx context.Context, schema, table string, keys []string) (b *delivery.ImagesBefore, err error) {
	const kept = `SELECT id, compare IS NOT NULL, ARRAY(SELECT s.columns FROM {schema}.image_shape s WHERE s.tbl = t.id ORDER BY s.number)
		FROM {schema}.image_table t WHERE schema_name = $1 AND table_name = $2 AND removed_at IS NULL`
	const read = `SELECT key, shape, data FROM ` + imagesBefore + ` b WHERE tbl = $1 AND key = ANY ($2::text[])`
	b = &delivery.ImagesBefore{}
	err = db.read(ctx, "read images from before a gap", func(tx pgx.Tx) error {
		var id int32
		switch err := tx.QueryRow(ctx, db.sql(kept), schema, table).Scan(&id, &b.Comparing, &b.Shapes); {
		case noRows(err):
			return nil
		case err != nil:
			return err
		}
		b.Kept = true
		if len(keys) == 0 || !b.Comparing {
			return nil
		}
		rows, err := tx.Query(ctx, db.sql(read), id, keys)
		if err != nil {
			return err
		}
		b.Images, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (im delivery.Image, err error) {
			im.Table = id
			return im, row.Scan(&im.Key, &im.Shape, &im.Data)
		})
		return err
	})
	return b, err
}

// Comparable lists the tables of which every row has an image as of the stored position, or had one when changes were missed before: a resync can
// compare them.
func (db *DB) Comparable(ctx context.Context) (tables []ImageTable, err error) {
	const list = `SELECT schema_name, table_name FROM {schema}.image_table WHERE removed_at IS NULL AND (filled_at IS NOT NULL OR compare IS NOT NULL) ORDER BY 1, 2`
	err = db.read(ctx, "look for images to compare with", func(tx pgx.Tx) error {
		rows, err := tx.Query(ctx, db.sql(list))
		if err == nil {
			tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[ImageTable])
		}
		return err
	})
	return tables, err
}

// ComparableKeys hands over, page by page, which rows of such a table there were before a gap that is not on record yet, or before one that is still
// being compared.
func (db *DB) ComparableKeys(ctx context.Context, t ImageTable, page func(keys []string) error) error {
	const read = `SELECT k.key FROM {schema}.image_table t CROSS JOIN LATERAL (
			SELECT i.key FROM {schema}.image i WHERE i.tbl = t.id AND i.generation = coalesce(t.compare, t.generation) AND i.key > $3
			UNION SELECT b.key FROM {schema}.image_before b WHERE b.tbl = t.id AND b.key > $3 ORDER BY 1 LIMIT $4) k
		WHERE t.schema_name = $1 AND t.table_name = $2 AND t.removed_at IS NULL ORDER BY 1`
	for after := ""; ; {
		var keys []string
		err := db.read(ctx, "read the keys of images", func(tx pgx.Tx) error {
			rows, err := tx.Query(ctx, db.sql(read), t.Schema, t.Name, after, toldPage)
			if err == nil {
				keys, err = pgx.CollectRows(rows, pgx.RowTo[string])
			}
			return err
		})
		if err != nil || len(keys) == 0 {
			return err
		}
		if err := page(keys); err != nil {
			return err
		}
		after = keys[len(keys)-1]
	}
}

// errNotComparable says that images are not there any more that a resync was going to compare rows with.
var errNotComparable = errors.New("the images that rows were to be compared with are gone")

// mayCompare makes sure that the tables of jobs which compare rows have the images for it. It comes behind forgetImages.
func (db *DB) mayCompare(ctx context.Context, t *transaction, jobs []*delivery.Job) error {
	const ask = `SELECT EXISTS (SELECT FROM {schema}.image_table WHERE schema_name = $1 AND table_name = $2 AND removed_at IS NULL AND compare IS NOT NULL)`
	for _, j := range jobs {
		if !j.Compares() {
			continue
		}
		there := false
		if err := t.send(ctx, func(b *pgx.Batch) {
			b.Queue(db.sql(ask), j.Schema, j.Table).QueryRow(func(row pgx.Row) error { return row.Scan(&there) })
		}); err != nil {
			return err
		}
		if !there {
			return errors.Join(ErrMovedOn, errNotComparable)
		}
	}
	return nil
}

// keepBefore keeps images that are about to be replaced and that a resync has still to compare rows with.
const keepBefore = `INSERT INTO {schema}.image_before (tbl, key, generation, shape, data)
	SELECT i.tbl, i.key, i.generation, i.shape, i.data FROM {schema}.image_table t JOIN unnest($1::integer[], $2::text[]) k (tbl, key) ON k.tbl = t.id
	JOIN {schema}.image i ON i.tbl = k.tbl AND i.key = k.key WHERE i.generation = t.compare ON CONFLICT (tbl, key) DO NOTHING`

// endCompare lets go of the images from before a gap once no resync needs them: it has gone through the rows, and told of those that are gone.
const endCompare = `UPDATE {schema}.image_table t SET compare = NULL WHERE compare IS NOT NULL AND NOT EXISTS (SELECT FROM {schema}.resync_gone)
	AND NOT EXISTS (SELECT FROM {schema}.job j WHERE j.kind = 'resync' AND j.state NOT IN ('done', 'cancelled') AND j.table_schema = t.schema_name AND j.table_name = t.table_name)`

// dropBefore removes what was kept for that.
const dropBefore = `DELETE FROM {schema}.image_before b USING {schema}.image_table t WHERE t.id = b.tbl AND t.compare IS NULL`
