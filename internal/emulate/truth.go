package emulate

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/pinflow/pinflow/internal/fault"
)

// The truth file is JSON lines, appended to and never rewritten. A run begins with its header, from which
// and from the batches every event can be made again. A batch is noted before its first attempt, and its
// fates when they are known; so a file whose writer was killed says what may or may not have arrived.

// truthFormat is the version of the format.
const truthFormat = 2 // 1 had no sessions, one poster a row

// header begins a run.
type header struct {
	Truth  int    `json:"truth"` // truthFormat
	Run    string `json:"run"`
	Seed   uint64 `json:"seed"`
	Users  int64  `json:"users"`
	Shares Shares `json:"shares"`
}

// line is any other line: the kind tells which members it has.
type line struct {
	Kind   string `json:"k"`
	Batch  int64  `json:"b"`
	Stream string `json:"s,omitempty"`
	First  int64  `json:"p,omitempty"`
	N      int    `json:"n,omitempty"`
	At     int64  `json:"at,omitempty"`
	Back   int64  `json:"back,omitempty"`
	Width  int64  `json:"w,omitempty"` // freshWidth if there is none
	Fates  string `json:"f,omitempty"` // run-length: 497a1d2r
	Copies int    `json:"c,omitempty"` // that may be stored beside
}

// Kinds of line.
const (
	lineIntend      = "intend"       // s, p, n, at, back, w: a batch is about to be sent
	lineSettle      = "settle"       // f, c: its fates
	lineIntendAgain = "intend-again" // n: of its events will be sent once more
	lineSettleAgain = "settle-again" // n: of them were accepted, c
)

// truthWriter appends lines, each with one write, so that a killed process leaves whole lines but the
// last. A nil one writes nothing.
type truthWriter struct {
	mu sync.Mutex
	f  *os.File
}

func openTruth(name string, h header) (*truthWriter, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fault.New(fault.Config, "bad_truth_file", "opening the truth file: %w", err)
	}
	w := &truthWriter{f: f}
	if err = w.endLine(); err == nil {
		err = w.write(h)
	}
	if err != nil {
		w.close()
		return nil, fmt.Errorf("beginning a run in %s: %w", name, err)
	}
	return w, nil
}

// endLine ends a line that an earlier run was killed in.
func (w *truthWriter) endLine() error {
	size, err := w.f.Seek(0, io.SeekEnd)
	if err != nil || size == 0 {
		return err
	}
	var last [1]byte
	if _, err := w.f.ReadAt(last[:], size-1); err != nil || last[0] == '\n' {
		return err
	}
	_, err = w.f.WriteString("\n")
	return err
}

func (w *truthWriter) write(v any) error {
	if w == nil {
		return nil
	}
	text, err := json.Marshal(v)
	if err == nil {
		w.mu.Lock()
		_, err = w.f.Write(append(text, '\n'))
		w.mu.Unlock()
	}
	if err != nil {
		return fmt.Errorf("writing the truth: %w", err)
	}
	return nil
}

func (w *truthWriter) intend(b batch) error {
	l := line{Kind: lineIntend, Batch: b.number, Stream: b.stream, First: b.first, N: b.n, At: b.at, Back: b.back}
	if b.width != freshWidth {
		l.Width = b.width
	}
	return w.write(l)
}

func (w *truthWriter) settle(b batch, fates []byte, copies int) error {
	return w.write(line{Kind: lineSettle, Batch: b.number, Fates: packFates(fates), Copies: copies})
}

func (w *truthWriter) intendAgain(b batch, n int) error {
	return w.write(line{Kind: lineIntendAgain, Batch: b.number, N: n})
}

func (w *truthWriter) settleAgain(b batch, n, copies int) error {
	return w.write(line{Kind: lineSettleAgain, Batch: b.number, N: n, Copies: copies})
}

func (w *truthWriter) sync() error {
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("syncing the truth: %w", err)
	}
	return nil
}

func (w *truthWriter) close() { _ = w.f.Close() } // sync has told of errors

func packFates(fates []byte) string {
	var b []byte
	for i := 0; i < len(fates); {
		k := i
		for k < len(fates) && fates[k] == fates[i] {
			k++
		}
		b = append(strconv.AppendInt(b, int64(k-i), 10), fates[i])
		i = k
	}
	return string(b)
}

func unpackFates(s string, n int) ([]byte, error) {
	out := make([]byte, 0, n)
	for s != "" {
		i := strings.IndexAny(s, "adru")
		if i < 0 {
			return nil, errors.New("malformed fates")
		}
		count, err := strconv.Atoi(s[:i])
		if err != nil || count < 1 || count > n-len(out) {
			return nil, errors.New("malformed fates")
		}
		for range count {
			out = append(out, s[i])
		}
		s = s[i+1:]
	}
	if len(out) != n {
		return nil, errors.New("fates of another batch")
	}
	return out, nil
}

// settled is a batch as the truth file tells it.
type settled struct {
	batch
	fates  []byte // nil: never settled
	copies int
	again  int  // events sent once more and accepted
	open   bool // some requests were never settled: any number of copies may be stored
}

// run is a run of the emulation as the truth file tells it.
type run struct {
	header  header
	batches []*settled
}

// readTruth reads the runs of a file. A line that its writer was killed in is left out.
func readTruth(name string) ([]run, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fault.New(fault.Config, "bad_truth_file", "opening the truth file: %w", err).WithExit(fault.ExitUsage)
	}
	defer f.Close()
	runs, err := parseTruth(f)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "bad_truth_file", "reading %s: %w", name, err)
	}
	if len(runs) == 0 {
		return nil, fault.New(fault.Corrupt, "bad_truth_file", "%s holds no run of an emulation", name)
	}
	return runs, nil
}

func parseTruth(r io.Reader) (runs []run, err error) {
	in := bufio.NewReaderSize(r, 1<<20)
	var byNumber map[int64]*settled
	var torn error
	for n := 1; ; n++ {
		text, err := in.ReadBytes('\n')
		if len(text) == 0 && errors.Is(err, io.EOF) {
			return runs, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		var both struct {
			header
			line
		}
		bad := json.Unmarshal(text, &both)
		if bad == nil && both.Truth != 0 {
			if both.Truth != truthFormat {
				return nil, fmt.Errorf("line %d: format %d is not the one of this release, %d", n, both.Truth, truthFormat)
			}
			runs = append(runs, run{header: both.header})
			byNumber, torn = map[int64]*settled{}, nil
			continue
		}
		if torn != nil { // only the last line of a run may be torn
			return nil, torn
		}
		if bad == nil && len(runs) > 0 {
			bad = runs[len(runs)-1].add(byNumber, &both.line)
		} else if bad == nil {
			bad = errors.New("no header before it")
		}
		if bad != nil {
			torn = fmt.Errorf("line %d: %w", n, bad)
		}
	}
}

func (r *run) add(byNumber map[int64]*settled, l *line) error {
	b := byNumber[l.Batch]
	if (b == nil) != (l.Kind == lineIntend) {
		return fmt.Errorf("%q of batch %d out of place", l.Kind, l.Batch)
	}
	switch l.Kind {
	case lineIntend:
		w := when{at: l.At, back: l.Back, width: l.Width}
		if w.width == 0 {
			w.width = freshWidth
		}
		b = &settled{batch: batch{number: l.Batch, stream: l.Stream, first: l.First, n: l.N, when: w}, open: true}
		byNumber[l.Batch] = b
		r.batches = append(r.batches, b)
	case lineSettle:
		fates, err := unpackFates(l.Fates, b.n)
		if err != nil {
			return err
		}
		b.fates, b.copies, b.open = fates, l.Copies, false
	case lineIntendAgain:
		b.open = true
	case lineSettleAgain:
		b.again, b.open = l.N, false
		b.copies += l.Copies
	default:
		return fmt.Errorf("unknown kind %q", l.Kind)
	}
	return nil
}
