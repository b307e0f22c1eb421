package delivery

import (
	"context"
	"iter"

	"walhook/cdc"
	"walhook/rules"
)

// Loader fetches rows that rules refer to, as they are now. Package cdc implements it.
type Loader interface {
	Load(ctx context.Context) error
}

type related struct {
	loader  Loader
	matcher *rules.Matcher
}

func (r *related) prepare(ctx context.Context, txs []*cdc.Tx) error { return nil }

func (r *related) changes(ctx context.Context, tx *cdc.Tx, from uint64) iter.Seq2[*cdc.Change, error] {
	return func(yield func(*cdc.Change, error) bool) {
		for c, err := range tx.Changes() {
			if err == nil && c.Ordinal < from {
				continue
			}
			if !yield(c, err) || err != nil {
				return
			}
		}
	}
}

func (r *related) info(tx *cdc.Tx) rules.TxInfo {
	return rules.TxInfo{XID: tx.XID, LSN: tx.CommitLSN, Time: tx.CommitTime}
}
