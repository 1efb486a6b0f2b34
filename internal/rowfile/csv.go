package rowfile

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/text/transform"

	"github.com/pinflow/pinflow/internal/event"
)

// table reads CSV with a header that names the members. Every value is a text, as a form would send it, for
// the stream's schema to read; an empty one is a member that the event does not have.
type table struct {
	f      *File
	in     io.Closer
	part   *part
	rows   *csv.Reader
	keys   [][]byte // `"name":` of each column; nil: not a member
	id     int      // column of the event id that pinflow gave, of the received time; -1: none
	got    int
	buffer []byte
}

func openCSV(f *File, in io.Closer, text io.Reader, comma rune) (*table, error) {
	p := &part{f: f, in: text, left: maxLine}
	b := bufio.NewReaderSize(p, 1<<20)
	if head, err := b.Peek(3); err == nil && string(head) == "\xef\xbb\xbf" {
		if _, err := b.Discard(3); err != nil {
			return nil, errors.Join(f.failed(err), in.Close())
		}
	}
	t := &table{f: f, in: in, part: p, rows: csv.NewReader(transform.NewReader(b, &returns{})), id: -1, got: -1}
	t.rows.Comma, t.rows.ReuseRecord = comma, true
	if err := t.header(); err != nil {
		return nil, errors.Join(err, in.Close())
	}
	return t, nil
}

func (t *table) header() error {
	names, err := t.rows.Read()
	if errors.Is(err, io.EOF) {
		return bad(t.f.Path, 1, "is empty").WithAdvice("a CSV file begins with the names of its columns")
	}
	if err != nil {
		return t.failed(err)
	}
	if slices.Contains(names, event.ColumnExtra) && slices.Contains(names, event.ColumnSchema) {
		return bad(t.f.Path, 1, "was exported by pinflow as CSV, which does not give the events back").
			WithAdvice("export the day as jsonl or parquet and import that")
	}
	if len(names) == 1 && strings.ContainsAny(names[0], ";\t|") {
		return bad(t.f.Path, 1, "is not separated by %q: its only column would be %.40q", t.rows.Comma, names[0]).
			WithAdvice("of tabs: --format tsv; of others convert the file")
	}
	for i, name := range names {
		if slices.Index(names, name) < i {
			return bad(t.f.Path, 1, "names the column %q twice", name).WithAdvice("rename one of them")
		}
		switch name {
		case event.ColumnEventID:
			t.id = i
		case event.ColumnReceivedAt:
			t.got = i
		}
		key, err := json.Marshal(name)
		if err != nil || name == event.ColumnEventID || name == event.ColumnReceivedAt {
			key = nil
		}
		t.keys = append(t.keys, append(key, ':'))
	}
	if !slices.ContainsFunc(t.keys, func(k []byte) bool { return len(k) > 1 }) {
		return bad(t.f.Path, 1, "has no column that an event could have")
	}
	return t.texts(names)
}

func (t *table) next() (row, error) {
	t.part.left = maxLine
	values, err := t.rows.Read()
	if err != nil {
		return row{}, t.failed(err)
	}
	if err := t.texts(values); err != nil {
		return row{}, err
	}
	var x row
	b := append(t.buffer[:0], '{')
	for i, v := range values {
		switch {
		case i == t.id:
			x.id = strings.Clone(v)
		case i == t.got:
			if x.received, err = momentOf(v); err != nil {
				line, _ := t.rows.FieldPos(i)
				return row{}, bad(t.f.Path, int64(line), "%s %q is no time", event.ColumnReceivedAt, v).WithAdvice("write it like 2026-11-22T10:00:01Z")
			}
		case v != "":
			if len(b) > 1 {
				b = append(b, ',')
			}
			text, err := json.Marshal(v)
			if err != nil {
				return row{}, t.failed(err)
			}
			b = append(append(b, t.keys[i]...), text...)
		}
	}
	t.buffer = append(b, '}')
	x.value = t.buffer
	return x, nil
}

// part lets a row be only so long: a quote that is never closed would take the whole file into memory.
type part struct {
	f    *File
	in   io.Reader
	left int
}

func (p *part) Read(b []byte) (int, error) {
	if p.left <= 0 {
		return 0, bad(p.f.Path, 0, "has a row of more than %d MiB", maxLine>>20).WithAdvice("a quote may be open: each \" within a value is written as \"\"")
	}
	n, err := p.in.Read(b)
	p.left -= n
	return n, err
}

// returns doubles the \r of each \r\n within quotes: encoding/csv takes one away, and a text is kept as it is. Each
// quote opens or closes, as the "" that stands for one does both.
type returns struct {
	quoted bool
	last   byte
}

func (r *returns) Reset() { *r = returns{} }

func (r *returns) Transform(dst, src []byte, _ bool) (nDst, nSrc int, err error) {
	for ; nSrc < len(src); nSrc++ {
		c := src[nSrc]
		twice := c == '\n' && r.last == '\r' && r.quoted
		if nDst == len(dst) || twice && nDst+1 == len(dst) {
			return nDst, nSrc, transform.ErrShortDst
		}
		if twice {
			dst[nDst] = '\r'
			nDst++
		}
		dst[nDst] = c
		nDst++
		r.last, r.quoted = c, r.quoted != (c == '"')
	}
	return nDst, nSrc, nil
}

// texts makes sure that what is read is text: what is not would become other text unnoticed.
func (t *table) texts(values []string) error {
	for i, v := range values {
		if !utf8.ValidString(v) {
			line, _ := t.rows.FieldPos(i)
			return bad(t.f.Path, int64(line), "is not UTF-8: %.40q", v).WithAdvice("convert the file, for example with: iconv -f latin1 -t utf-8")
		}
	}
	return nil
}

func (t *table) failed(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return bad(t.f.Path, int64(parse.Line), "column %d: %w", parse.Column, parse.Err).
			WithAdvice("the file is refused as a whole: mend the line and import it again")
	}
	return t.f.failed(err)
}

func (t *table) skip(rows int64) error { return skipRows(t, rows) }

func (t *table) Close() error { return t.in.Close() }
