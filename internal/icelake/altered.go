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
	"github.com/pinflow/pinflow/internal/span"
)

// Altered looks what other engines made of a table since pinflow's newest commit of rows: nil if nothing. It reads where
// the rows of the files came from that were taken out or brought, or of which rows were deleted; and all of these rows, if
// there are as many as before and it was no compaction.
func (l *Lake) Altered(ctx context.Context, name string) (*lake.Altered, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return nil, err
	}
	base, seq := baseOf(tbl)
	now := tbl.CurrentSnapshot()
	if base == nil || now == nil || now.SnapshotID == base.SnapshotID {
		return nil, nil
	}
	a := &lake.Altered{Table: name, Base: base.SnapshotID, Now: now.SnapshotID, Seq: seq}
	for at := now; at != nil && seqOf(at) == 0 && at.SnapshotID != base.SnapshotID; at = parent(tbl, at) {
		a.Made = append(a.Made, foreign(at))
	}
	slices.Reverse(a.Made)
	a.Unread = l.compare(ctx, a)
	return a, ctx.Err()
}

// seqOf is the number of the commit that made a snapshot; 0: another engine made it.
func seqOf(s *table.Snapshot) int64 {
	if s.Summary == nil {
		return 0
	}
	return s.Summary.Properties.GetInt64(propSeq, 0)
}

// baseOf is the snapshot by which rows are judged, the newest that pinflow made or accepted (nil: none), and the number of
// its newest commit of rows.
func baseOf(tbl *table.Table) (base *table.Snapshot, seq int64) {
	for _, s := range tbl.Metadata().Snapshots() {
		if n := seqOf(&s); n > seq {
			base, seq = &s, n
		}
	}
	var snapshot, then int64
	if _, err := fmt.Sscanf(tbl.Properties()[propAccepted], "%d@%d", &snapshot, &then); err != nil || seq > then {
		return base, seq // nothing was accepted, or a commit came after
	}
	if accepted := tbl.SnapshotByID(snapshot); accepted != nil {
		base = accepted
	}
	return base, seq
}

// Accept takes what other engines made of a table for what it has to have from now on: nothing before is missed. Done
// again it does nothing.
func (l *Lake) Accept(ctx context.Context, name string) error {
	err := l.tag(ctx, name, func(tbl *table.Table) ([]table.Update, error) {
		base, _ := baseOf(tbl)
		now := tbl.CurrentSnapshot()
		if now == nil || base != nil && base.SnapshotID == now.SnapshotID {
			return nil, nil
		}
		as := fmt.Sprintf("%d@%d", now.SnapshotID, tbl.Properties().GetInt64(propSeq, 0))
		return []table.Update{table.NewSetPropertiesUpdate(iceberg.Properties{propAccepted: as})}, nil
	})
	if err != nil {
		return fmt.Errorf("accepting table %s as it is: %w", name, err)
	}
	return nil
}

func parent(tbl *table.Table, s *table.Snapshot) *table.Snapshot {
	if s.ParentSnapshotID == nil {
		return nil
	}
	return tbl.SnapshotByID(*s.ParentSnapshotID)
}

// engines are the properties by which those who commit to tables may be known.
var engines = []struct{ name, version, called string }{
	{"engine-name", "engine-version", ""},
	{"spark.app.id", "", "spark"},
	{"trino_query_id", "", "trino"},
	{"app-id", "", ""},
}

func foreign(s *table.Snapshot) lake.Foreign {
	f := lake.Foreign{Snapshot: s.SnapshotID, At: time.UnixMilli(s.TimestampMs).UTC()}
	if s.Summary == nil {
		return f
	}
	f.Operation = string(s.Summary.Operation)
	p := s.Summary.Properties
	for _, e := range engines {
		if by := p[e.name]; by != "" && f.Engine == "" {
			if e.called != "" {
				by = e.called
			}
			f.Engine = strings.TrimSpace(by + " " + p[e.version])
		}
	}
	for _, figure := range []string{"added-records", "deleted-records", "added-position-deletes", "added-equality-deletes", "added-data-files", "deleted-data-files", "added-delete-files"} {
		if n := p.GetInt64(figure, 0); n != 0 {
			f.Figures = append(f.Figures, fmt.Sprintf("%s %d", figure, n))
		}
	}
	return f
}

// side is the files of one of two snapshots in which they differ.
type side struct {
	snapshot int64
	files    []string
}

// compare compares the rows of two snapshots by the files in which they differ.
func (l *Lake) compare(ctx context.Context, a *lake.Altered) error {
	before, after, err := l.between(ctx, a)
	if err != nil {
		return err
	}
	a.Rows = map[span.Key]int64{}
	equal := false // of some partition there are as many as before
	for _, s := range []struct {
		side
		by int64
	}{{before, -1}, {after, 1}} {
		if len(s.files) == 0 {
			continue
		}
		sel := lake.Selection{Table: a.Table, Snapshot: s.snapshot, Files: s.files}
		if err := l.origins(ctx, sel, func(k span.Key, _ int64) { a.Rows[k] += s.by }); err != nil {
			return fmt.Errorf("reading the files that differ: %w", err)
		}
	}
	for _, n := range a.Rows {
		equal = equal || n == 0
	}
	if !equal || a.Replaced() {
		return nil
	}
	a.Changed, err = l.changed(ctx, a, before, after)
	return err
}

// between finds the files in which two snapshots differ, or of which another engine has deleted rows.
func (l *Lake) between(ctx context.Context, a *lake.Altered) (before, after side, err error) {
	files := func(snapshot int64) (map[string]bool, error) {
		list, _, err := l.Files(ctx, lake.Selection{Table: a.Table, Snapshot: snapshot})
		plain := map[string]bool{}
		for _, f := range list {
			plain[f.At] = f.Plain
		}
		return plain, err
	}
	was, errWas := files(a.Base)
	is, errIs := files(a.Now)
	if err := errors.Join(errWas, errIs); err != nil {
		return before, after, err
	}
	before.snapshot, after.snapshot = a.Base, a.Now
	for at := range was {
		plain, still := is[at]
		if !still {
			a.Lacks = append(a.Lacks, at)
		}
		if !still || !plain {
			before.files = append(before.files, at)
		}
	}
	for at, plain := range is {
		_, had := was[at]
		if !had {
			a.Brings = append(a.Brings, at)
		}
		if !had || !plain {
			after.files = append(after.files, at)
		}
	}
	slices.Sort(a.Lacks)
	slices.Sort(a.Brings)
	return before, after, nil
}

// Undo puts a table back on the snapshot that pinflow's newest commit of rows left, from the one that another engine
// made of it. It is no numbered commit, as what it undoes is none: the table is then as its number says. Done again it does
// nothing. fault.Transient: the table is on neither by now.
func (l *Lake) Undo(ctx context.Context, a *lake.Altered) error {
	err := l.tag(ctx, a.Table, func(tbl *table.Table) ([]table.Update, error) {
		switch now := tbl.CurrentSnapshot(); {
		case now != nil && now.SnapshotID == a.Base:
			return nil, nil
		case now == nil || now.SnapshotID != a.Now:
			return nil, fault.New(fault.Transient, "table_moved", "table %s has moved on from snapshot %d", a.Table, a.Now)
		case tbl.SnapshotByID(a.Base) == nil:
			return nil, noSnapshot(a.Table, a.Base)
		}
		return []table.Update{table.NewSetSnapshotRefUpdate(table.MainBranch, a.Base, table.BranchRef, 0, 0, 0)}, nil
	})
	if err != nil {
		return fmt.Errorf("undoing snapshot %d of table %s: %w", a.Now, a.Table, err)
	}
	return nil
}

// LiveRows counts the rows of a snapshot. Of files from which another engine deleted rows they are read.
func (l *Lake) LiveRows(ctx context.Context, name string, snapshot int64) (int64, error) {
	files, _, err := l.Files(ctx, lake.Selection{Table: name, Snapshot: snapshot})
	if err != nil {
		return 0, err
	}
	rows := int64(0)
	var some []string
	for _, f := range files {
		if f.Plain {
			rows += f.Rows
		} else {
			some = append(some, f.At)
		}
	}
	if len(some) == 0 {
		return rows, nil
	}
	if err := l.origins(ctx, lake.Selection{Table: name, Snapshot: snapshot, Files: some}, func(span.Key, int64) { rows++ }); err != nil {
		return 0, fmt.Errorf("counting the rows of table %s: %w", name, err)
	}
	return rows, nil
}
