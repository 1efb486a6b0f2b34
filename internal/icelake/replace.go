package icelake

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Replace is the commit that puts a rewrite's files in the place of its inputs. fault.Lost inputs_gone:
// some input is no longer in the table, or has lost rows, so that this rewrite can never be committed.
//
// The snapshot is made here and not by iceberg-go's transaction, which reads every manifest of the table
// twice: what merging a few files costs would grow with all files there are. What a failed try leaves
// behind goes with the next expiry.
func (l *Lake) Replace(ctx context.Context, in *ledger.Intent, r *lake.Rewrite) (lake.Landed, error) {
	if err := conserve(r); err != nil {
		return lake.Landed{}, err
	}
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
	snap, err := l.replacing(tbl, in, r)
	if err != nil {
		return lake.Landed{}, fmt.Errorf("preparing commit %d of table %s: %w", in.N, in.Table, err)
	}
	_, _, failed := numbered{l.cat, in.N}.CommitTable(ctx, ident(in.Table), []table.Requirement{
		table.AssertTableUUID(tbl.Metadata().TableUUID()), table.AssertRefSnapshotID(table.MainBranch, snap.ParentSnapshotID),
	}, []table.Update{
		table.NewAddSnapshotUpdate(snap),
		table.NewSetSnapshotRefUpdate(table.MainBranch, snap.SnapshotID, table.BranchRef, 0, 0, 0),
		table.NewSetPropertiesUpdate(l.marks(in)),
	})
	return l.look(ctx, in, failed)
}

// replacing writes the manifests of the snapshot in which a rewrite's files stand for its inputs.
func (l *Lake) replacing(tbl *table.Table, in *ledger.Intent, r *lake.Rewrite) (*table.Snapshot, error) {
	all, err := l.holdings(in.Table, tbl, 0)
	if err != nil {
		return nil, err
	}
	inputs := map[string]bool{}
	for _, at := range r.Inputs {
		inputs[at] = true
	}
	head := tbl.CurrentSnapshot()
	w := newSnapshotWriter(l, tbl)
	for _, f := range r.Files {
		df, err := codec.DecodeDataFile(f.Entry, tbl.Spec(), tbl.Schema(), formatVersion)
		if err != nil {
			return nil, fault.New(fault.Corrupt, "lake_entry", "decoding manifest entry of %s: %w", f.Path, err)
		}
		if err := w.add(df); err != nil {
			return nil, err
		}
	}
	found := 0
	for _, h := range all {
		if h.ManifestContent() != iceberg.ManifestContentData && h.SequenceNum() > r.Sequence {
			return nil, fault.New(fault.Lost, "inputs_gone", "another engine deleted rows of table %s after its files were read", r.Table)
		}
		if !h.has(inputs) {
			w.list = append(w.list, h.ManifestFile)
			continue
		}
		n, err := w.without(h.ManifestFile, inputs)
		if err != nil {
			return nil, err
		}
		found += n
	}
	if found != len(inputs) {
		return nil, fault.New(fault.Lost, "inputs_gone", "%d of %d files to be replaced are no longer in table %s", len(inputs)-found, len(inputs), r.Table)
	}
	return w.snapshot(head, in)
}

// snapshotWriter writes manifests of a new snapshot: what is added, dropped and kept of those that are
// taken up goes into one, until it is large.
type snapshotWriter struct {
	l    *Lake
	tbl  *table.Table
	id   int64
	uuid uuid.UUID

	text *bytes.Buffer
	open *iceberg.ManifestWriter
	took int64 // bytes of the manifests that went into the open one

	written []iceberg.ManifestFile
	list    []iceberg.ManifestFile // those that stay as they are

	added, dropped tally
}

// tally counts data files.
type tally struct{ files, rows, bytes int64 }

func (t *tally) count(df iceberg.DataFile) {
	t.files, t.rows, t.bytes = t.files+1, t.rows+df.Count(), t.bytes+df.FileSizeBytes()
}

func newSnapshotWriter(l *Lake, tbl *table.Table) *snapshotWriter {
	w := &snapshotWriter{l: l, tbl: tbl, uuid: uuid.New()}
	for w.id == 0 || tbl.SnapshotByID(w.id) != nil {
		id := uuid.New()
		w.id = 0
		for i := range 8 {
			w.id = w.id<<8 | int64(id[i]^id[i+8])
		}
		w.id &= 1<<63 - 1
	}
	return w
}

// manifest is the writer of the open manifest.
func (w *snapshotWriter) manifest() (*iceberg.ManifestWriter, error) {
	if w.open != nil {
		return w.open, nil
	}
	var err error
	w.text, w.took = &bytes.Buffer{}, 0
	w.open, err = iceberg.NewManifestWriter(formatVersion, w.text, w.tbl.Spec(), w.tbl.Schema(), w.id)
	return w.open, err
}

func (w *snapshotWriter) add(df iceberg.DataFile) error {
	m, err := w.manifest()
	if err != nil {
		return err
	}
	w.added.count(df)
	return m.Add(iceberg.NewManifestEntry(iceberg.EntryStatusADDED, &w.id, nil, nil, df))
}

// without takes a manifest up, and marks its entries of the inputs as deleted: so many.
func (w *snapshotWriter) without(m iceberg.ManifestFile, inputs map[string]bool) (int, error) {
	if w.took > 0 && w.took+m.Length() > w.l.manifestBytes {
		if err := w.end(); err != nil {
			return 0, err
		}
	}
	to, err := w.manifest()
	if err != nil {
		return 0, err
	}
	w.took += m.Length()
	found := 0
	for e, err := range m.Entries(w.l.files, true) {
		if err != nil {
			return 0, fmt.Errorf("reading manifest %s: %w", m.FilePath(), err)
		}
		if df := e.DataFile(); inputs[df.FilePath()] {
			found++
			w.dropped.count(df)
			err = to.Delete(e)
		} else {
			err = to.Existing(e)
		}
		if err != nil {
			return 0, err
		}
	}
	return found, nil
}

// end writes the open manifest down.
func (w *snapshotWriter) end() error {
	if w.open == nil {
		return nil
	}
	if err := w.open.Close(); err != nil {
		return err
	}
	at, err := w.place(fmt.Sprintf("%s-m%d.avro", w.uuid, len(w.written)))
	if err != nil {
		return err
	}
	m, err := w.open.ToManifestFile(at, int64(w.text.Len()))
	if err != nil {
		return err
	}
	if err := w.l.files.WriteFile(at, w.text.Bytes()); err != nil {
		return err
	}
	w.open, w.written = nil, append(w.written, m)
	return nil
}

// place is where a file of metadata lies.
func (w *snapshotWriter) place(name string) (string, error) {
	provider, err := table.LoadLocationProvider(w.tbl.Location(), w.tbl.Properties())
	if err != nil {
		return "", err
	}
	return provider.NewMetadataLocation(name), nil
}

// snapshot writes the list and describes the snapshot that follows head.
func (w *snapshotWriter) snapshot(head *table.Snapshot, in *ledger.Intent) (*table.Snapshot, error) {
	if err := w.end(); err != nil {
		return nil, err
	}
	meta := w.tbl.Metadata()
	sequence, schema := meta.LastSequenceNumber()+1, meta.CurrentSchema().ID
	at, err := w.place(fmt.Sprintf("snap-%d-0-%s.avro", w.id, w.uuid))
	if err != nil {
		return nil, err
	}
	var list bytes.Buffer
	if err := iceberg.WriteManifestList(formatVersion, &list, w.id, &head.SnapshotID, &sequence, 0, slices.Concat(w.written, w.list)); err != nil {
		return nil, err
	}
	if err := w.l.files.WriteFile(at, list.Bytes()); err != nil {
		return nil, err
	}
	return &table.Snapshot{
		SnapshotID: w.id, ParentSnapshotID: &head.SnapshotID, SequenceNumber: sequence, TimestampMs: time.Now().UnixMilli(),
		ManifestList: at, SchemaID: &schema, Summary: &table.Summary{Operation: table.OpReplace, Properties: w.summary(head, in)},
	}, nil
}

// summary counts what the snapshot has, in the words of Iceberg's specification.
func (w *snapshotWriter) summary(head *table.Snapshot, in *ledger.Intent) iceberg.Properties {
	props := iceberg.Properties{
		"added-data-files": number(w.added.files), "added-records": number(w.added.rows), "added-files-size": number(w.added.bytes),
		"deleted-data-files": number(w.dropped.files), "deleted-records": number(w.dropped.rows), "removed-files-size": number(w.dropped.bytes),
	}
	var before iceberg.Properties
	if head.Summary != nil {
		before = head.Summary.Properties
	}
	for key, more := range map[string]int64{
		"total-data-files": w.added.files - w.dropped.files, "total-records": w.added.rows - w.dropped.rows,
		"total-files-size": w.added.bytes - w.dropped.bytes, "total-delete-files": 0, "total-position-deletes": 0, "total-equality-deletes": 0,
	} {
		props[key] = number(before.GetInt64(key, 0) + more)
	}
	maps.Copy(props, summary(in))
	maps.Copy(props, iceberg.EnvironmentContext())
	return props
}

func number(n int64) string { return strconv.FormatInt(n, 10) }
