package icelake

import (
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
)

// ParquetWriter writes rows as one Parquet file of the lake's columns, without being part of a table.
type ParquetWriter struct {
	out  io.Writer
	sc   *arrow.Schema
	meta map[string]string
	w    *pqarrow.FileWriter // nil: no rows yet
}

// NewParquetWriter begins a file on w; meta becomes its key-value metadata.
func NewParquetWriter(w io.Writer, columns []lake.Column, meta map[string]string) (*ParquetWriter, error) {
	sc, err := table.SchemaToArrowSchemaWithOptions(schemaOf(lake.Table{Columns: columns}), table.ArrowSchemaOptions{})
	if err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	return &ParquetWriter{out: w, sc: sc, meta: meta}, nil
}

// begin begins the file, whose first rows are given: they choose the encodings.
func (p *ParquetWriter) begin(r rowsOf) error {
	props, err := writerProperties(p.sc, r, 0)
	if err != nil {
		return err
	}
	if p.w, err = pqarrow.NewFileWriter(p.sc, struct{ io.Writer }{p.out}, props, arrowProperties()); err != nil {
		return fmt.Errorf("beginning a Parquet file: %w", err)
	}
	for _, k := range slices.Sorted(maps.Keys(p.meta)) {
		if err := p.w.AppendKeyValueMetadata(k, p.meta[k]); err != nil {
			return fmt.Errorf("beginning a Parquet file: %w", err)
		}
	}
	return nil
}

// Write writes the rows of a block at the indexes given as a row group.
func (p *ParquetWriter) Write(b *lake.Block, rows []int32) error {
	if p.w == nil {
		one := piece{rows: rows}
		r := rowsOf{blocks: []lake.Block{*b}, pieces: []piece{one}}
		r.n = one.len(r.blocks)
		if err := p.begin(r); err != nil {
			return err
		}
	}
	rec, err := record(p.sc, b, rows)
	if err != nil {
		return err
	}
	defer rec.Release()
	if err := p.w.Write(rec); err != nil {
		return fmt.Errorf("writing a Parquet file: %w", err)
	}
	return nil
}

// Close ends the file; what it is written on stays open.
func (p *ParquetWriter) Close() error {
	if p.w == nil {
		if err := p.begin(rowsOf{}); err != nil {
			return err
		}
	}
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("ending a Parquet file: %w", err)
	}
	return nil
}

// Upload puts a local file into a bucket, in place of what is there.
func Upload(cfg Config, file, to string) error {
	name, key, err := splitS3(to)
	if err != nil {
		return err
	}
	b, err := newBucket(cfg.S3, name, cfg.Log)
	if err != nil {
		return err
	}
	defer b.close()
	err = b.upload(file, key)
	if fault.CodeOf(err) == "no_bucket" { // its advice speaks of the lake's
		return fault.New(fault.Config, "no_bucket", "writing %s: S3 has no bucket %s", to, name).
			WithAdvice("make bucket %s with your S3 tools, or name one that is there with --to", name)
	}
	return err
}
