package icelake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// pinTries bounds how often a tag is tried again because a commit came first.
const pinTries = 20

// Newest returns the table's newest snapshot; 0: the table is empty. Nothing keeps it but that it is new: expiry
// leaves the newest ones alone.
func (l *Lake) Newest(ctx context.Context, name string) (int64, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return 0, err
	}
	if snap := tbl.CurrentSnapshot(); snap != nil {
		return snap.SnapshotID, nil
	}
	return 0, nil
}

// Pin names a snapshot of the table by a tag, which keeps it from being expired, and returns it; a tag that is
// there is moved. Snapshot 0 is the newest; an empty table has none, and 0 is returned. A tag is no numbered
// commit: it changes no row, and whoever is committing meanwhile does it again. fault.Config no_snapshot: it
// was expired before.
func (l *Lake) Pin(ctx context.Context, name, tag string, snapshot int64) (int64, error) {
	return l.PinFor(ctx, name, tag, snapshot, 0)
}

// PinFor pins for so long at most (0: until Unpin): then the next expiry takes the tag away, for whoever made it
// may have been killed. Iceberg counts the age of a tag from its snapshot's.
func (l *Lake) PinFor(ctx context.Context, name, tag string, snapshot int64, most time.Duration) (int64, error) {
	var pinned int64
	err := l.tag(ctx, name, func(tbl *table.Table) ([]table.Update, error) {
		pinned = snapshot
		if snap := tbl.CurrentSnapshot(); snapshot == 0 && snap != nil {
			pinned = snap.SnapshotID
		}
		at := tbl.SnapshotByID(pinned)
		switch {
		case pinned == 0:
			return nil, nil
		case at == nil:
			return nil, noSnapshot(name, pinned)
		}
		age := int64(0)
		if most > 0 {
			age = max(0, time.Now().UnixMilli()-at.TimestampMs) + most.Milliseconds()
		}
		return []table.Update{table.NewSetSnapshotRefUpdate(tag, pinned, table.TagRef, age, 0, 0)}, nil
	})
	if err != nil {
		return 0, fmt.Errorf("pinning table %s as %s: %w", name, tag, err)
	}
	return pinned, nil
}

func noSnapshot(table string, snapshot int64) error {
	return fault.New(fault.Config, "no_snapshot", "table %s has no snapshot %d any more", table, snapshot)
}

// Unpin removes tags. Those that are not there are no fault.
func (l *Lake) Unpin(ctx context.Context, name string, tags ...string) error {
	err := l.tag(ctx, name, func(tbl *table.Table) ([]table.Update, error) {
		var updates []table.Update
		for _, ref := range tagsOf(tbl) {
			if slices.Contains(tags, ref) {
				updates = append(updates, table.NewRemoveSnapshotRefUpdate(ref))
			}
		}
		return updates, nil
	})
	if err != nil {
		return fmt.Errorf("unpinning table %s: %w", name, err)
	}
	return nil
}

// Pins lists the table's tags that begin with a prefix, sorted.
func (l *Lake) Pins(ctx context.Context, name, prefix string) ([]string, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tagsOf(tbl), func(tag string) bool { return !strings.HasPrefix(tag, prefix) }), nil
}

func tagsOf(tbl *table.Table) []string {
	var tags []string
	for name, ref := range tbl.Metadata().Refs() {
		if ref.SnapshotRefType == table.TagRef {
			tags = append(tags, name)
		}
	}
	slices.Sort(tags)
	return tags
}

// tag makes updates of the table's newest metadata until they land. Each is the same however often it is
// made, so an unclear outcome is tried again, too.
func (l *Lake) tag(ctx context.Context, name string, updates func(*table.Table) ([]table.Update, error)) error {
	var failed error
	for range pinTries {
		tbl, err := l.cat.load(ctx, name)
		if err != nil {
			return err
		}
		changes, err := updates(tbl)
		if err != nil || len(changes) == 0 {
			return err
		}
		_, _, failed = l.cat.update(ctx, name, []table.Requirement{table.AssertTableUUID(tbl.Metadata().TableUUID())}, changes)
		if failed == nil || ctx.Err() != nil {
			return failed
		}
	}
	if errors.Is(failed, errRefused) {
		failed = fault.New(fault.Transient, "commit_failed", "other commits came first: %w", failed)
	}
	return failed
}

// Days lists the days of the table (UTC) that have rows, oldest first, from the manifests.
func (l *Lake) Days(ctx context.Context, name string) ([]lake.DayFiles, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	spec := tbl.Spec()
	field := spec.Field(0).FieldID
	days := map[int64]*lake.DayFiles{}
	if err := l.liveFiles(tbl, func(df iceberg.DataFile) error { return addDay(days, df, field) }); err != nil {
		return nil, err
	}
	out := make([]lake.DayFiles, 0, len(days))
	for _, d := range days {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b lake.DayFiles) int { return strings.Compare(a.Day, b.Day) })
	return out, nil
}

func addDay(days map[int64]*lake.DayFiles, f iceberg.DataFile, field int) error {
	at, ok := dayOf(f.Partition()[field])
	if !ok {
		return fault.New(fault.Corrupt, "lake_entry", "file %s has no day", f.FilePath())
	}
	d := days[at]
	if d == nil {
		d = &lake.DayFiles{Day: time.Unix(at*86400, 0).UTC().Format(time.DateOnly)}
		days[at] = d
	}
	d.Rows += f.Count()
	d.Bytes += f.FileSizeBytes()
	d.Files++
	return nil
}
