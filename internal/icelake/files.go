package icelake

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"
	"github.com/minio/minio-go/v7"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// Files lists the data files that may hold rows of the selection, and its columns as the files number them, for an
// engine that reads the files itself.
func (l *Lake) Files(ctx context.Context, sel lake.Selection) ([]lake.DataFile, []lake.FileColumn, error) {
	tbl, err := l.cat.load(ctx, sel.Table)
	if err != nil {
		return nil, nil, err
	}
	snap := tbl.SnapshotByID(sel.Snapshot)
	if snap == nil {
		return nil, nil, noSnapshot(sel.Table, sel.Snapshot)
	}
	asks := conditions(sel, partitionColumn(tbl))
	sc, _, opts := scanOptions(sel, tbl, snap, asks)
	scan := l.planned(tbl).Scan(opts...)
	defer scan.Close()
	plain, other, err := l.plan(ctx, tbl, snap, scan, asks)
	if err != nil {
		return nil, nil, fmt.Errorf("listing the files of table %s: %w", sel.Table, err)
	}
	files := make([]lake.DataFile, 0, len(plain)+len(other))
	for i, t := range slices.Concat(plain, other) {
		files = append(files, lake.DataFile{
			At: t.File.FilePath(), Rows: t.File.Count(), Bytes: t.File.FileSizeBytes(), Plain: i < len(plain),
			Logs: within(sc, t, event.ColumnLog), Schemas: within(sc, t, event.ColumnSchema),
		})
	}
	var columns []lake.FileColumn
	for _, name := range sel.Columns {
		// A column younger than the snapshot is known by the table's newest schema; no file has it.
		f, ok := sc.FindFieldByName(name)
		id := f.ID
		if !ok {
			if f, ok = tbl.Schema().FindFieldByName(name); !ok {
				return nil, nil, fault.New(fault.Corrupt, "lake_column", "table %s has no column %s", sel.Table, name)
			}
			id = 0
		}
		columns = append(columns, lake.FileColumn{Column: lake.Column{Name: name, Kind: kindOf(f), Required: f.Required}, ID: id})
	}
	return files, columns, nil
}

// within is what the manifest says of a long column of a file.
func within(sc *iceberg.Schema, t table.FileScanTask, name string) lake.Within {
	out := lake.Within{Least: math.MinInt64, Most: math.MaxInt64}
	f, ok := sc.FindFieldByName(name)
	if !ok {
		return out
	}
	if v, ok := bound(t.File.LowerBoundValues()[f.ID]); ok {
		out.Least = v
	}
	if v, ok := bound(t.File.UpperBoundValues()[f.ID]); ok {
		out.Most = v
	}
	return out
}

// stagingFolder is the warehouse's folder of what other engines write for us. No table lies in it.
const stagingFolder = "engine-states"

// Staged is where another engine leaves what it makes for a job of that name.
func (l *Lake) Staged(name string) string { return l.cat.warehouse + "/" + stagingFolder + "/" + name }

// OpenStaged opens a file that lies below Staged. It has to be closed.
func (l *Lake) OpenStaged(at string) (parquet.ReaderAtSeeker, error) {
	if !strings.HasPrefix(at, l.Staged("")) {
		return nil, fmt.Errorf("file %s does not lie in %s", at, l.Staged(""))
	}
	return l.files.Open(at)
}

// Abandoned are the jobs below Staged of which nothing was written since the moment: whoever had them done was
// killed. What has not the name of a job is not ours.
func (l *Lake) Abandoned(ctx context.Context, before time.Time) ([]string, error) {
	newest := map[string]time.Time{}
	root := l.cat.warehouse + "/" + stagingFolder + "/"
	err := l.files.walk(root, true, func(f found) error {
		name, _, _ := strings.Cut(strings.TrimPrefix(plain(f.at), plain(root)), "/")
		if f.modified.After(newest[name]) {
			newest[name] = f.modified
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("listing what engines left: %w", err)
	}
	var jobs []string
	for name, at := range newest {
		if at.Before(before) && isJob(name) {
			jobs = append(jobs, name)
		}
	}
	slices.Sort(jobs)
	return jobs, nil
}

// isJob tells whether a name is one that Staged is given.
func isJob(name string) bool { return name != "" && !strings.ContainsAny(name, "/.") }

// RemoveStaged removes all that lies below Staged of the name. What is not there is no error.
func (l *Lake) RemoveStaged(name string) error {
	if !isJob(name) {
		return fmt.Errorf("%q is not the name of a job", name)
	}
	at := l.Staged(name)
	b, remote := l.files.(*bucket)
	if !remote {
		path, err := localPath(at)
		if err != nil {
			return err
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("removing %s: %w", path, err)
		}
		return nil
	}
	return b.removeAll(at + "/")
}

// removeAll deletes the objects under a prefix, and those that stand for its folders, deepest first.
func (b *bucket) removeAll(prefix string) error {
	key, err := b.key(prefix)
	if err != nil {
		return err
	}
	var keys []string
	err = b.tryFor(b.ctx, 10*b.pace.attempt, "listing "+prefix, func(ctx context.Context) error {
		keys = keys[:0]
		for o := range b.client.Client.ListObjects(ctx, b.name, minio.ListObjectsOptions{Prefix: key, Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			keys = append(keys, o.Key)
		}
		return nil
	})
	errs := []error{err}
	slices.Sort(keys)
	for _, k := range slices.Backward(keys) {
		errs = append(errs, b.Remove("s3://"+b.name+"/"+k))
	}
	return errors.Join(errs...)
}
