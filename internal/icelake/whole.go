package icelake

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/apache/iceberg-go"

	"github.com/pinflow/pinflow/internal/fault"
)

// Whole looks whether every data file of a table's newest snapshot is there, as long as it was written, and whether
// they hold as many rows as the snapshot says. It reads manifests and lists files, but opens none. fault.Corrupt
// lake_file: some are not.
func (l *Lake) Whole(ctx context.Context, name string) error {
	files, err := l.wanting(ctx, name)
	if err != nil || len(files) == 0 {
		return err
	}
	// A compaction and an expiry may have come between: what the table still names has to be there.
	again, err := l.wanting(ctx, name)
	if err != nil {
		return err
	}
	maps.DeleteFunc(files, func(at string, _ amiss) bool { _, still := again[at]; return !still })
	if len(files) == 0 {
		return nil
	}
	at := slices.Min(slices.Collect(maps.Keys(files)))
	rows := int64(0)
	for _, f := range files {
		rows += f.rows
	}
	what := "is gone"
	if files[at].there {
		what = fmt.Sprintf("has %d bytes, %d were written", files[at].bytes, files[at].written)
	}
	return fault.New(fault.Corrupt, "lake_file", "table %s lacks %d of its data files, with %d rows: %s %s", name, len(files), rows, at, what).
		WithAdvice("put the file back as it was, from a backup or a version of the bucket, and start again; what is in no backup can only be sent again")
}

// amiss is a data file that is not as its manifest says.
type amiss struct {
	rows    int64
	written int64
	bytes   int64
	there   bool
}

// wanting lists, by their plain location, the data files of the newest snapshot that are not there or of another size.
func (l *Lake) wanting(ctx context.Context, name string) (map[string]amiss, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	head, err := headOf(tbl)
	if err != nil {
		return nil, err
	}
	files, rows := map[string]amiss{}, int64(0)
	if err := l.liveFiles(tbl, func(df iceberg.DataFile) error {
		rows += df.Count()
		files[plain(df.FilePath())] = amiss{rows: df.Count(), written: df.FileSizeBytes()}
		return ctx.Err()
	}); err != nil {
		return nil, fmt.Errorf("listing the files of table %s: %w", name, err)
	}
	if rows != head.Rows {
		return nil, fault.New(fault.Corrupt, "conservation", "the manifests of table %s hold %d rows, its snapshot %d says %d", name, rows, head.Snapshot, head.Rows).
			WithAdvice("restore log, ledger and lake from one backup")
	}
	if len(files) == 0 {
		return nil, nil
	}
	err = l.files.walk(tbl.Location()+"/data/", true, func(f found) error {
		at := plain(f.at)
		switch x, named := files[at]; {
		case named && x.written == f.bytes:
			delete(files, at)
		case named:
			x.bytes, x.there = f.bytes, true
			files[at] = x
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("listing data files of table %s: %w", name, err)
	}
	return files, nil
}
