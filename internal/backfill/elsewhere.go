package backfill

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

// watching is how often a lease is looked after while Spark works: so long it goes on after a cancel.
const watching = 2 * time.Second

// Tables that show Spark a snapshot of the stream's are called as those of states, and rows. They have another
// name for a column, see icelake.
const (
	rowsSuffix  = "_rows"
	partitionAs = "_log_partition"
)

// tableOf names the table of states that Spark writes for a task held under this lease.
func tableOf(t *ledger.Task) string { return fmt.Sprintf("task_%d_%d", t.ID, t.Number) }

// elsewhere has Spark fold the rows of the day, and takes the states in. Rows that only the kernel can fold
// (see history.Elsewhere) are added by it.
func (d *day) elsewhere(ctx context.Context, sel lake.Selection) error {
	name := tableOf(&d.t.Task)
	rows := metric.Rows{Table: "pinflow.`_states`.`" + name + rowsSuffix + "`", Partition: partitionAs, Below: d.cuts()}
	unixDay := sel.From / (24 * time.Hour).Microseconds()
	rows.Day = &unixDay
	defer d.drop(ctx, name+rowsSuffix)
	if err := d.w.lake.ClaimStates(ctx, name+rowsSuffix); err != nil {
		return err
	}
	metadata, err := d.w.lake.RowsAs(ctx, sel.Table, sel.Snapshot, name+rowsSuffix)
	if err != nil {
		return err
	}
	if _, err := d.wait(ctx, func(ctx context.Context) ([]string, error) {
		return nil, d.w.spark.Register(ctx, name+rowsSuffix, metadata)
	}); err != nil {
		return err
	}
	present, err := d.present(ctx, rows)
	if err != nil {
		return err
	}
	parts, err := d.r.Elsewhere(rows, present)
	if err != nil {
		return err
	}
	sparks := int64(0)
	for _, p := range parts {
		for _, v := range p.Schemas {
			sparks += present[v]
		}
	}
	if len(parts) > 0 {
		if err := d.bySpark(ctx, parts); err != nil {
			return err
		}
	}
	d.r.Rows += sparks
	d.w.m.Rows.Add(float64(sparks))
	all := int64(0)
	for _, n := range present {
		all += n
	}
	if sparks == all {
		return nil
	}
	d.w.log.InfoContext(ctx, "the kernel folds rows that are older than a field of the view", "view", d.t.View, "day", d.t.Day, "rows", all-sparks)
	d.r.Only(parts)
	_, err = d.w.lake.Scan(ctx, sel, func(b *lake.Block) error { return d.block(ctx, b) })
	if err == nil && d.r.Rows != all {
		err = fault.New(fault.Corrupt, "spark_rows", "day %s has %d rows of view %s for Spark, %d for the kernel", d.t.Day, all, d.t.View, d.r.Rows)
	}
	return err
}

// cuts are the bounds as a statement has them.
func (d *day) cuts() []metric.Cut {
	out := []metric.Cut{}
	if d.t.Log != 0 { // an imported file is one partition
		return append(out, metric.Cut{Log: int64(d.t.Log), Offset: d.bounds(span.Key{Log: d.t.Log}).To})
	}
	for k := range d.r.Version.Cut {
		if to := d.bounds(k).To; to > 0 {
			out = append(out, metric.Cut{Log: int64(k.Log), Partition: k.Partition, Offset: to})
		}
	}
	slices.SortFunc(out, func(a, b metric.Cut) int {
		return cmp.Or(cmp.Compare(a.Log, b.Log), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

// present counts the rows of the history by the schema that judged them.
func (d *day) present(ctx context.Context, rows metric.Rows) (map[int32]int64, error) {
	lines, err := d.run(ctx, metric.CountSQL(rows))
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, line := range lines {
		var x struct {
			Schema int32
			N      int64
		}
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			return nil, fmt.Errorf("reading Spark's answer %q: %w", line, err)
		}
		if !d.r.Knows(x.Schema) {
			return nil, fault.New(fault.Corrupt, "no_schema", "%d rows of %s were judged under schema %d, which the ledger does not have", x.N, d.t.Day, x.Schema)
		}
		out[x.Schema] = x.N
	}
	return out, nil
}

// bySpark has Spark write the states into a table of their own, reads it and drops it.
func (d *day) bySpark(ctx context.Context, parts []history.Elsewhere) error {
	name := tableOf(&d.t.Task)
	sql := fmt.Sprintf("CREATE TABLE pinflow.`_states`.`%s` USING iceberg AS\n", name)
	for i, p := range parts {
		if i > 0 {
			sql += "\nUNION ALL\n"
		}
		sql += "SELECT * FROM (" + p.SQL + ")"
	}
	if err := d.w.lake.ClaimStates(ctx, name); err != nil {
		return err
	}
	defer d.drop(ctx, name)
	if _, err := d.run(ctx, sql); err != nil {
		return err
	}
	written, err := d.run(ctx, fmt.Sprintf("SELECT file FROM pinflow.`_states`.`%s`.metadata_log_entries ORDER BY timestamp DESC, file DESC LIMIT 1", name))
	if err != nil {
		return err
	}
	var entry struct{ File string }
	if len(written) != 1 || json.Unmarshal([]byte(written[0]), &entry) != nil || entry.File == "" {
		return fault.New(fault.Unknown, "spark_failed", "Spark does not say where table %s is: %.200q", name, written)
	}
	return d.w.lake.States(ctx, entry.File, func(b *lake.Block) error {
		if err := d.r.AddStates(b); err != nil {
			return err
		}
		if err := d.unload(ctx); err != nil {
			return err
		}
		return d.renew(ctx)
	})
}

// drop drops a table of the states' namespace; what cannot be dropped now the manager does.
func (d *day) drop(ctx context.Context, name string) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := d.w.lake.DropStates(last, name); err != nil {
		d.w.log.Info("a table of states is left for later", "table", name, "error", err)
	}
}

// run has Spark run a statement, and keeps the lease meanwhile. When the lease is lost, for the back-fill was
// cancelled or the worker too slow, the statement is cancelled.
func (d *day) run(ctx context.Context, sql string) ([]string, error) {
	told := time.Now()
	return d.wait(ctx, func(ctx context.Context) ([]string, error) {
		return d.w.spark.Run(ctx, sql, func(done, of int) {
			d.w.m.Spark.Set(float64(done) / float64(max(of, 1)))
			if time.Since(told) > 10*time.Second {
				told = time.Now()
				d.w.log.Info("Spark folds a day", "view", d.t.View, "day", d.t.Day, "tasks", of, "done", done)
			}
		})
	})
}

// wait keeps the lease while fn works, and ends it when the lease is lost.
func (d *day) wait(ctx context.Context, fn func(ctx context.Context) ([]string, error)) ([]string, error) {
	type answer struct {
		rows []string
		err  error
	}
	working, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	answered := make(chan answer, 1)
	go func() {
		rows, err := fn(working)
		answered <- answer{rows, err}
	}()
	tick := time.NewTicker(watching)
	defer tick.Stop()
	for {
		select {
		case a := <-answered:
			return a.rows, a.err
		case <-tick.C:
		}
		if working.Err() != nil {
			continue
		}
		err := d.w.store.RenewTask(ctx, *d.t, leaseTTL)
		switch {
		case err == nil:
			d.renewed = time.Now()
		case fault.Is(err, fault.Lost), time.Since(d.renewed) > leaseTTL:
			cancel(err)
		}
	}
}
