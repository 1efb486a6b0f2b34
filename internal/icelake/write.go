package icelake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/codec"
	"github.com/apache/iceberg-go/table"
	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
)

// write makes data files of so many rows of one day, given in runs. A file that has so many bytes is ended (0:
// none is) at the end of a run.
func (l *Lake) write(ctx context.Context, tbl *table.Table, name string, rows int, runs iter.Seq2[rowsOf, error], most int64, c *coder) ([]ledger.LakeFile, error) {
	w := &writing{l: l, tbl: tbl, name: name, rows: rows, most: most, coder: c}
	err := w.all(ctx, runs)
	if err == nil {
		err = w.end()
	}
	if err != nil {
		err = errors.Join(fmt.Errorf("writing data files of table %s: %w", name, err), w.file.abort(), l.Discard(ctx, w.files))
		return nil, err
	}
	return w.files, nil
}

// writing is data files on their way.
type writing struct {
	l     *Lake
	tbl   *table.Table
	name  string
	rows  int
	most  int64
	coder *coder    // nil: none
	file  *dataFile // in hand, or nil
	files []ledger.LakeFile
}

func (w *writing) all(ctx context.Context, runs iter.Seq2[rowsOf, error]) error {
	sc, err := arrowSchema(w.tbl)
	if err != nil {
		return err
	}
	for r, err := range runs {
		if err != nil {
			return err
		}
		if err := w.run(ctx, sc, r); err != nil {
			return err
		}
	}
	return nil
}

// run writes a run to the file in hand, or to a new one.
func (w *writing) run(ctx context.Context, sc *arrow.Schema, r rowsOf) (err error) {
	if w.file == nil {
		w.file, err = w.l.begin(w.tbl, sc, r, w.rows, w.coder)
	} else {
		coded, _ := codesOf(w.coder, sc, r)
		w.file.w.use(coded)
	}
	if err != nil {
		return err
	}
	for _, p := range r.pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.file.w.write(ctx, &r.blocks[p.block], p.rows); err != nil {
			return err
		}
	}
	if err := w.file.w.endRun(); err != nil {
		return err
	}
	if w.most > 0 && w.file.size.n >= w.most {
		return w.end()
	}
	return nil
}

// end makes the file in hand durable.
func (w *writing) end() error {
	if w.file == nil {
		return nil
	}
	file, err := w.file.end(w.tbl, w.name)
	if err == nil {
		w.file, w.files = nil, append(w.files, file)
	}
	return err
}

// dataFile is a file that is being written.
type dataFile struct {
	l    *Lake
	day  int64
	at   string
	out  io.Closer
	size *sizedWriter
	w    *columnWriter
}

// sizedWriter counts what is written.
type sizedWriter struct {
	io.Writer
	n int64
}

func (c *sizedWriter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

// begin begins a file for some of so many rows, under a name that no file had before. The rows given choose its
// encodings.
func (l *Lake) begin(tbl *table.Table, sc *arrow.Schema, r rowsOf, rows int, c *coder) (*dataFile, error) {
	if _, ids := tbl.Schema().FindFieldByName(event.ColumnEventID); !ids {
		rows = 0
	}
	coded, plain := codesOf(c, sc, r)
	if r.forms != nil && slices.ContainsFunc(coded, func(c *codes) bool { return c != nil }) {
		rows = min(rows, r.n) // each run becomes a row group, with a filter of its own
	}
	props, err := writerProperties(sc, r, rows, plain...)
	if err != nil {
		return nil, err
	}
	day, err := r.day(partitionColumn(tbl))
	if err != nil {
		return nil, err
	}
	spec := tbl.Spec()
	folder := tbl.Location() + "/data/" + spec.PartitionToPath(partition{day}, tbl.Schema())
	f := &dataFile{l: l, day: day, at: folder + "/" + uuid.NewString() + ".parquet"}
	out, err := l.files.Create(f.at)
	if err != nil {
		return nil, err
	}
	f.out, f.size = out, &sizedWriter{Writer: out}
	levels := &scratch{}
	if c != nil {
		levels = &c.scratch
	}
	if f.w, err = newColumnWriter(sc, f.size, props, coded, levels); err != nil {
		return nil, errors.Join(err, f.abort())
	}
	return f, nil
}

// abort removes a file that was begun; nil is none.
func (f *dataFile) abort() error {
	if f == nil {
		return nil
	}
	return errors.Join(f.out.Close(), f.l.files.Remove(f.at))
}

// partition is the value of a table's only partition field.
type partition struct{ day int64 }

func (p partition) Size() int    { return 1 }
func (p partition) Get(int) any  { return iceberg.Date(p.day) }
func (p partition) Set(int, any) {}

// end makes the file durable.
func (f *dataFile) end(tbl *table.Table, name string) (file ledger.LakeFile, err error) {
	if err := f.w.Close(); err != nil {
		return file, err
	}
	if err := f.out.Close(); err != nil {
		return file, err
	}
	meta, err := f.w.FileMetadata()
	if err != nil {
		return file, err
	}
	spec := tbl.Spec()
	df, err := table.DataFileFromMetadata(table.DataFileArgs{
		Schema: tbl.Schema(), Spec: spec, Format: iceberg.ParquetFile, Metadata: meta, FilePath: f.at, FileSize: f.size.n,
		Content: iceberg.EntryContentData, PartitionValues: map[int]any{spec.Field(0).FieldID: iceberg.Date(f.day)},
		Properties: tbl.Properties(), FormatVersion: formatVersion,
	})
	if err != nil {
		return file, fmt.Errorf("describing %s: %w", f.at, err)
	}
	file = ledger.LakeFile{Table: name, Path: f.at, Records: df.Count(), Bytes: f.size.n}
	if file.Entry, err = codec.EncodeDataFile(df, spec, tbl.Schema(), formatVersion); err != nil {
		return file, fmt.Errorf("encoding manifest entry of %s: %w", f.at, err)
	}
	return file, nil
}
