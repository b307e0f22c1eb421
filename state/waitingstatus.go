package state

// countWaiting counts what waits for its window, of each endpoint and rule up to a bound. It goes from one pair to the next along the index, so
// that the rows of none of them are all read.
const countWaiting = `WITH RECURSIVE pairs AS (
		(SELECT endpoint, rule FROM {schema}.waiting ORDER BY endpoint, rule LIMIT 1)
		UNION ALL
		SELECT n.endpoint, n.rule FROM pairs p CROSS JOIN LATERAL (
			SELECT w.endpoint, w.rule FROM {schema}.waiting w WHERE (w.endpoint, w.rule) > (p.endpoint, p.rule) ORDER BY w.endpoint, w.rule LIMIT 1) n
	)
	SELECT p.endpoint, p.rule, (SELECT count(*) FROM (SELECT FROM {schema}.waiting w WHERE w.endpoint = p.endpoint AND w.rule = p.rule LIMIT 10000) counted) FROM pairs p`

// lookAtWaiting tells of each endpoint and rule how much waits.
func (db *DB) lookAtWaiting(add func(endpoint, rule string, n int64)) look {
	var endpoint, rule string
	var n int64
	return look{db.sql(countWaiting), []any{&endpoint, &rule, &n}, func() { add(endpoint, rule, n) }}
}
