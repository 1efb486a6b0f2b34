package icelake

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/iceberg-go/table"

	"github.com/pinflow/pinflow/internal/lake"
)

// ParquetWriter writes rows as one Parquet file of the lake's columns, without being part of a table.
type ParquetWriter struct {
	sc *arrow.Schema
	w  *pqarrow.FileWriter
}

// NewParquetWriter begins a file on w; meta becomes its key-value metadata.
func NewParquetWriter(w io.Writer, columns []lake.Column, meta map[string]string) (*ParquetWriter, error) {
	sc, err := table.SchemaToArrowSchemaWithOptions(schemaOf(lake.Table{Columns: columns}), table.ArrowSchemaOptions{})
	if err != nil {
		return nil, fmt.Errorf("describing a Parquet file: %w", err)
	}
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCreatedBy("pinflow"))
	fw, err := pqarrow.NewFileWriter(sc, struct{ io.Writer }{w}, props, pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("beginning a Parquet file: %w", err)
	}
	for k, v := range meta {
		if err := fw.AppendKeyValueMetadata(k, v); err != nil {
			return nil, fmt.Errorf("beginning a Parquet file: %w", err)
		}
	}
	return &ParquetWriter{sc: sc, w: fw}, nil
}

// Write writes the rows of a block at the indexes given as a row group.
func (p *ParquetWriter) Write(b *lake.Block, rows []int32) error {
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

// Close ends the file; w stays open.
func (p *ParquetWriter) Close() error {
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
	return b.upload(file, key)
}
