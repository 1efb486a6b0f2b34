package icelake

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Head reads the state of a table from its newest metadata.
func (l *Lake) Head(ctx context.Context, name string) (lake.Head, error) {
	tbl, err := l.cat.load(ctx, name)
	if err != nil {
		return lake.Head{}, err
	}
	return headOf(tbl)
}

func headOf(tbl *table.Table) (lake.Head, error) {
	p := tbl.Properties()
	h := lake.Head{Seq: p.GetInt64(propSeq, 0), CommitID: p[propID]}
	if s := tbl.CurrentSnapshot(); s != nil {
		h.Snapshot, h.Foreign = s.SnapshotID, seqOf(s) == 0
		if s.Summary != nil {
			h.Rows = s.Summary.Properties.GetInt64("total-records", 0)
			h.Files = s.Summary.Properties.GetInt64("total-data-files", 0)
			h.Deletes = s.Summary.Properties.GetInt64("total-delete-files", 0)
		}
	}
	if doc, ok := p[propLedger]; ok {
		h.Memo = []byte(doc)
	}
	if doc, ok := p[propOffsets]; ok {
		var err error
		if h.Offsets, err = parseVector(doc); err != nil {
			return h, fault.New(fault.Corrupt, "lake_offsets", "reading property %s: %w", propOffsets, err)
		}
	}
	return h, nil
}

// Commit makes commit in.N true, or finds that it is: an append of in's files, or for a skip nothing
// but the number. It may be repeated with the same intent any number of times, by anyone.
// fault.Transient: it has not landed, repeat it. fault.Ambiguous: its outcome is unknown, repeat it.
func (l *Lake) Commit(ctx context.Context, in *ledger.Intent) (lake.Landed, error) {
	switch in.Kind {
	case lake.Append:
		return l.commit(ctx, in, func(tbl *table.Table, tx *table.Transaction) error { return l.add(ctx, tbl, tx, in) })
	case lake.Skip:
		return l.commit(ctx, in, func(*table.Table, *table.Transaction) error { return nil })
	}
	return lake.Landed{}, fmt.Errorf("commit %d of table %s: kind %s has its own method", in.N, in.Table, in.Kind)
}

func (l *Lake) add(ctx context.Context, tbl *table.Table, tx *table.Transaction, in *ledger.Intent) error {
	files := make([]iceberg.DataFile, len(in.Files))
	for i, f := range in.Files {
		df, err := codec.DecodeDataFile(f.Entry, tbl.Spec(), tbl.Schema(), formatVersion)
		if err != nil {
			return fault.New(fault.Corrupt, "lake_entry", "decoding manifest entry of %s: %w", f.Path, err)
		}
		if df.FilePath() != f.Path || df.Count() != f.Records {
			return fault.New(fault.Corrupt, "lake_entry", "manifest entry of %s is of %s with %d rows, not %d", f.Path, df.FilePath(), df.Count(), f.Records)
		}
		files[i] = df
	}
	return tx.AddDataFiles(ctx, files, summary(in), table.WithoutDuplicateCheck())
}

// summary marks a snapshot with the commit that made it.
func summary(in *ledger.Intent) iceberg.Properties {
	return iceberg.Properties{propSeq: strconv.FormatInt(in.N, 10), propID: in.ID}
}

// commit runs one numbered commit: change stages updates on the transaction.
func (l *Lake) commit(ctx context.Context, in *ledger.Intent, change func(*table.Table, *table.Transaction) error) (lake.Landed, error) {
	tbl, err := l.cat.load(ctx, in.Table)
	if err != nil {
		return lake.Landed{}, err
	}
	if landed, done, err := l.landed(tbl, in); done || err != nil {
		return landed, err
	}
	if err := standsOn(tbl, in); err != nil {
		return lake.Landed{}, err
	}
	tbl = table.New(ident(in.Table), tbl.Metadata(), tbl.MetadataLocation(), l.cat.io, numbered{l.cat, in.N})
	tx := tbl.NewTransaction()
	if err := change(tbl, tx); err != nil {
		return lake.Landed{}, fmt.Errorf("preparing commit %d of table %s: %w", in.N, in.Table, err)
	}
	if _, has := tbl.Properties()[propFormer]; has {
		if err := tx.RemoveProperties([]string{propFormer}); err != nil {
			return lake.Landed{}, fmt.Errorf("preparing commit %d of table %s: %w", in.N, in.Table, err)
		}
	}
	if err := tx.SetProperties(l.marks(in)); err != nil {
		return lake.Landed{}, fmt.Errorf("preparing commit %d of table %s: %w", in.N, in.Table, err)
	}
	_, failed := tx.Commit(ctx)
	// Look, whatever the answer was: the table is the only truth, and it gives the figures.
	return l.look(ctx, in, failed)
}

// standsOn asserts that nobody has changed the rows of the table since the committer looked at it: what another engine did
// can be undone as long as nothing stands on it. iceberg-go and Replace assert that it stays so until the commit lands.
func standsOn(tbl *table.Table, in *ledger.Intent) error {
	if now := tbl.CurrentSnapshot(); in.Base != 0 && (now == nil || now.SnapshotID != in.Base) {
		return fault.New(fault.Transient, "table_moved", "table %s is no longer on snapshot %d, on which commit %d was to stand", in.Table, in.Base, in.N)
	}
	return nil
}

// marks are the properties that a commit leaves at the table.
func (l *Lake) marks(in *ledger.Intent) iceberg.Properties {
	props := summary(in)
	if in.Offsets != nil {
		props[propOffsets] = formatVector(in.Offsets)
	}
	if in.Memo != nil {
		props[propLedger] = string(in.Memo)
	}
	props[table.ManifestTargetSizeBytesKey] = strconv.FormatInt(l.manifestBytes, 10) // of older tables, too
	return props
}

// look reads the table after an attempt to commit and says how it ended.
func (l *Lake) look(ctx context.Context, in *ledger.Intent, failed error) (lake.Landed, error) {
	tbl, err := l.cat.load(context.WithoutCancel(ctx), in.Table)
	if err != nil {
		return lake.Landed{}, fault.New(fault.Ambiguous, "commit_unclear", "commit %d of table %s: %w", in.N, in.Table, errors.Join(failed, err))
	}
	landed, done, err := l.landed(tbl, in)
	switch {
	case done || err != nil:
		return landed, err
	case ctx.Err() != nil:
		return lake.Landed{}, context.Cause(ctx)
	case failed == nil:
		return lake.Landed{}, fault.New(fault.Corrupt, "commit_lost", "commit %d of table %s was confirmed and is not there", in.N, in.Table)
	}
	return lake.Landed{}, fault.New(fault.Transient, "commit_failed", "commit %d of table %s has not landed: %w", in.N, in.Table, failed)
}

// landed tells whether commit in.N is in the table, and what it wrote.
func (l *Lake) landed(tbl *table.Table, in *ledger.Intent) (lake.Landed, bool, error) {
	head, err := headOf(tbl)
	if err != nil {
		return lake.Landed{}, false, err
	}
	switch {
	case head.Seq == in.N-1:
		return lake.Landed{}, false, nil
	case head.Seq != in.N || head.CommitID != in.ID:
		return lake.Landed{}, false, lake.Mismatch(in.Table, head, in)
	}
	got, err := l.figures(tbl, in)
	return got, true, err
}

// figures reads what commit in added from the manifests of its snapshot.
func (l *Lake) figures(tbl *table.Table, in *ledger.Intent) (lake.Landed, error) {
	snap := tbl.CurrentSnapshot()
	for snap != nil && seqOf(snap) == 0 { // another engine was there since
		snap = parent(tbl, snap)
	}
	if snap == nil || snap.Summary.Properties[propID] != in.ID {
		return lake.Landed{}, nil // it made no snapshot
	}
	got := lake.Landed{Snapshot: snap.SnapshotID}
	manifests, err := snap.Manifests(l.files)
	if err != nil {
		return got, fmt.Errorf("reading manifests of commit %d of table %s: %w", in.N, in.Table, err)
	}
	for _, m := range manifests {
		if m.SnapshotID() != snap.SnapshotID || !m.HasAddedFiles() {
			continue
		}
		for e, err := range m.Entries(l.files, true) {
			if err != nil {
				return got, fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
			}
			if e.Status() == iceberg.EntryStatusADDED && e.SnapshotID() == snap.SnapshotID {
				got.Files++
				got.Records += e.DataFile().Count()
			}
		}
	}
	return got, nil
}

func formatVector(v span.Vector) string {
	m := make(map[string]int64, len(v))
	for k, at := range v {
		m[k.String()] = at
	}
	doc, _ := json.Marshal(m) // numbers by text: cannot fail
	return string(doc)
}

func parseVector(doc string) (span.Vector, error) {
	var m map[string]int64
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		return nil, err
	}
	v := make(span.Vector, len(m))
	for text, at := range m {
		var k span.Key
		if _, err := fmt.Sscanf(text, "%d/%d", &k.Log, &k.Partition); err != nil {
			return nil, fmt.Errorf("partition %q: %w", text, err)
		}
		v[k] = at
	}
	return v, nil
}
