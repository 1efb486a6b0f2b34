package icelake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Found are the tables of a lake by the metadata that holds of each: what the catalog names, or what is in
// the warehouse if the catalog has none, or one that is older by more than an attempt at a commit.
func (r *Remains) Found() map[string]string {
	all := maps.Clone(r.Newest)
	if all == nil {
		all = map[string]string{}
	}
	for t, at := range r.Named {
		if metadataVersion(all[t]) <= metadataVersion(at)+1 {
			all[t] = at
		}
	}
	return all
}

// Register makes the catalog name a table's metadata.
func (l *Lake) Register(ctx context.Context, name, at string) error {
	_, err := l.cat.db.ExecContext(ctx, l.cat.bind(`INSERT INTO iceberg_tables VALUES (?, ?, ?, 'TABLE', ?, NULL)
		ON CONFLICT (catalog_name, table_namespace, table_name) DO UPDATE SET metadata_location = excluded.metadata_location`),
		CatalogName, Namespace, name, at)
	if err != nil {
		return l.cat.unavailable("registering table "+name, err)
	}
	return nil
}

// Offsets are the rows of a table by partition of the log: those below a position, and how many are not.
type Offsets struct {
	Below  map[span.Key]int64
	Beyond map[span.Key]int64
}

// CountOffsets reads where the rows of a table came from. Those of partitions that at does not name are beyond.
func (l *Lake) CountOffsets(ctx context.Context, name string, at span.Vector) (*Offsets, error) {
	o := &Offsets{Below: map[span.Key]int64{}, Beyond: map[span.Key]int64{}}
	err := l.origins(ctx, lake.Selection{Table: name}, func(k span.Key, offset int64) {
		if end, ok := at[k]; ok && offset < end {
			o.Below[k]++
		} else {
			o.Beyond[k]++
		}
	})
	if err != nil {
		return nil, fmt.Errorf("counting the rows of table %s: %w", name, err)
	}
	return o, nil
}

// Withdraw is the commit that takes rows at or beyond a position out of a table: they are read again.
func (l *Lake) Withdraw(ctx context.Context, in *ledger.Intent, at span.Vector, of []span.Key) error {
	var filter iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, k := range slices.SortedFunc(slices.Values(of), span.Key.Compare) {
		filter = iceberg.NewOr(filter, iceberg.NewAnd(
			iceberg.EqualTo(iceberg.Reference(event.ColumnLog), int64(k.Log)),
			iceberg.EqualTo(iceberg.Reference(event.ColumnPartition), int64(k.Partition)),
			iceberg.GreaterThanEqual(iceberg.Reference(event.ColumnOffset), at[k])))
	}
	_, err := l.commit(ctx, in, func(_ *table.Table, tx *table.Transaction) error {
		return tx.Delete(ctx, filter, summary(in))
	})
	if err != nil {
		return fmt.Errorf("taking rows that are read again out of table %s: %w", in.Table, err)
	}
	return nil
}
