package rowfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
)

// Formats of files.
const (
	JSONL   = "jsonl"
	CSV     = "csv"
	TSV     = "tsv"
	Parquet = "parquet"
)

// Formats lists them.
func Formats() []string { return []string{JSONL, CSV, TSV, Parquet} }

// File is a file that was looked at as a whole.
type File struct {
	Path   string
	Format string
	Rows   int64
	Bytes  int64  // of the file as it is
	Hash   string // SHA-256 of what is in it, decompressed; of Parquet of the file

	schemas map[int64]*event.Schema // of the stream, for rows that pinflow exported
	seen    fs.FileInfo
}

// Config says how files are read.
type Config struct {
	Format  string // "": by the file's name
	MaxRow  int    // most bytes of an event
	Schemas map[int64]*event.Schema
}

// reader gives rows one after another; io.EOF after the last. A row is valid until the next call.
type reader interface {
	next() (row, error)
	skip(rows int64) error
	Close() error
}

// row is an event of a file.
type row struct {
	value    []byte // JSON
	id       string // "": as the event says
	received int64  // microseconds; 0: as the event says
}

// Look reads a file from one end to the other, counts its rows and makes sure that each can be read.
func Look(ctx context.Context, path string, cfg Config) (*File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fault.New(fault.Config, "no_file", "%w", err).WithAdvice("name files that are there").WithExit(fault.ExitFailed)
	}
	if !info.Mode().IsRegular() {
		return nil, bad(path, 0, "is no regular file").WithAdvice("name files; a folder's are DIR/*")
	}
	f := &File{Path: path, Format: cfg.Format, Bytes: info.Size(), schemas: cfg.Schemas, seen: info}
	if f.Format == "" {
		if f.Format = formatOf(path); f.Format == "" {
			return nil, bad(path, 0, "its name does not say what it is").WithAdvice("give --format %s", strings.Join(Formats(), "|"))
		}
	}
	hash := sha256.New()
	err = f.count(ctx, hash, cfg.MaxRow)
	f.Hash = hex.EncodeToString(hash.Sum(nil))
	return f, err
}

// formatOf guesses by the name, "" if it cannot.
func formatOf(path string) string {
	name := strings.ToLower(filepath.Base(path))
	for _, packed := range []string{".gz", ".zst", ".bz2", ".lz4"} {
		name = strings.TrimSuffix(name, packed)
	}
	switch filepath.Ext(name) {
	case ".jsonl", ".ndjson", ".json":
		return JSONL
	case ".csv":
		return CSV
	case ".tsv":
		return TSV
	case ".parquet", ".pq":
		return Parquet
	}
	return ""
}

// count reads all rows, into the hash what is in the file.
func (f *File) count(ctx context.Context, hash io.Writer, most int) error {
	r, err := f.open(hash)
	if err != nil {
		return err
	}
	err = f.countRows(ctx, r, most)
	if err == nil {
		if f.Format == Parquet {
			err = f.all(hash)
		} else {
			err = f.unchanged()
		}
	}
	return errors.Join(err, r.Close())
}

func (f *File) countRows(ctx context.Context, r reader, most int) error {
	for {
		if f.Rows%1000 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		x, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(x.value) > most {
			return bad(f.Path, f.Rows+1, "row %d has %d bytes, an event may have %d", f.Rows+1, len(x.value), most).
				WithAdvice("take it out, or raise limits.event")
		}
		if begin := bytes.TrimSpace(x.value); f.Rows == 0 && f.Format == JSONL && (!bytes.HasPrefix(begin, []byte("{")) || len(begin) == 1) {
			return bad(f.Path, 1, "is not JSON Lines: it begins with %.20q", x.value).
				WithAdvice("one JSON object a line; of objects over several lines: jq -c . FILE; of an array: jq -c '.[]' FILE; of another format: --format %s",
					strings.Join(Formats()[1:], "|"))
		}
		f.Rows++
	}
}

// all hashes the file as it is.
func (f *File) all(hash io.Writer) error {
	in, err := os.Open(f.Path)
	if err != nil {
		return f.failed(err)
	}
	_, err = io.Copy(hash, in)
	if err = errors.Join(err, in.Close()); err != nil {
		return f.failed(err)
	}
	return f.unchanged()
}

// unchanged makes sure that the file is the one that was looked at.
func (f *File) unchanged() error {
	info, err := os.Stat(f.Path)
	if err != nil {
		return f.failed(err)
	}
	if info.Size() != f.seen.Size() || !info.ModTime().Equal(f.seen.ModTime()) {
		return bad(f.Path, 0, "was changed while it was read").WithAdvice("rows that were taken stay: put the file back as it was and repeat the command, or end its import where it is with --abandon, as pinflow status says")
	}
	return nil
}

// open opens the file at its first row; what is read goes into the hash, too, unless it is nil.
func (f *File) open(hash io.Writer) (reader, error) {
	if f.Format == Parquet {
		return openParquet(f)
	}
	in, err := unpack(f.Path)
	if err != nil {
		return nil, err
	}
	var text io.Reader = in
	if hash != nil {
		text = io.TeeReader(in, hash)
	}
	switch f.Format {
	case CSV:
		return openCSV(f, in, text, ',')
	case TSV:
		return openCSV(f, in, text, '\t')
	}
	return openLines(f, in, text), nil
}

func (f *File) failed(err error) error {
	if fault.KindOf(err) != fault.Unknown || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return fault.New(fault.Config, "bad_file", "reading %s: %w", f.Path, err).
		WithAdvice("the file is damaged or cannot be read: nothing of it was taken that is not complete").WithExit(fault.ExitFailed)
}

// bad is the fault of a file, and of a line of it if that is above 0.
func bad(path string, line int64, format string, args ...any) *fault.Error {
	e := fault.New(fault.Config, "bad_file", format, args...).WithExit(fault.ExitFailed)
	if line > 0 {
		return e.At("%s:%d", path, line)
	}
	return e.At("%s", path)
}

// rowID names a row of a file whose event has no id of its own: the same whenever the file is read.
func (f *File) rowID(offset int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", f.Hash, offset))
	return "import-" + hex.EncodeToString(sum[:12])
}
