package rowfile

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// maxLine is how much of a line is held: more is no event under any limit that could be set.
const maxLine = 64 << 20

// lines reads JSON Lines: each line that is not blank is a row, whatever it holds.
type lines struct {
	f    *File
	in   io.Closer
	text *bufio.Reader
	line []byte
	at   int64 // number of the line
}

func openLines(f *File, in io.Closer, text io.Reader) *lines {
	l := &lines{f: f, in: in, text: bufio.NewReaderSize(text, 1<<20)}
	return l
}

func (l *lines) next() (row, error) {
	for {
		line, err := l.read()
		if err != nil {
			return row{}, err
		}
		if l.at == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return row{value: line}, nil
		}
	}
}

// read returns the next line; io.EOF after the last.
func (l *lines) read() ([]byte, error) {
	l.line = l.line[:0]
	l.at++
	for {
		part, err := l.text.ReadSlice('\n')
		switch {
		case err == nil && len(l.line) == 0:
			return part, nil
		case len(l.line)+len(part) > maxLine:
			return nil, bad(l.f.Path, l.at, "is longer than %d MiB", maxLine>>20)
		}
		l.line = append(l.line, part...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(l.line) > 0:
			return l.line, nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		default:
			return nil, l.f.failed(err)
		}
	}
}

func (l *lines) skip(rows int64) error { return skipRows(l, rows) }

func (l *lines) Close() error { return l.in.Close() }

// skipRows reads rows that nobody needs.
func skipRows(r reader, rows int64) error {
	for range rows {
		if _, err := r.next(); err != nil {
			return err
		}
	}
	return nil
}
