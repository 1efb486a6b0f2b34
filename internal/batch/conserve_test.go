package batch

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// oneDataFile is a data file of the stream's table.
func oneDataFile(t *testing.T, warehouse string) string {
	t.Helper()
	at := ""
	err := filepath.WalkDir(warehouse, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".parquet") && strings.Contains(path, "/pin/data/") {
			at = path
		}
		return err
	})
	if err != nil || at == "" {
		t.Fatalf("no data file in %s: %v", warehouse, err)
	}
	return at
}

// D1: a lake that was tampered with stops whoever commits to it, at the start and soon after it, and what is wrong
// is named. Put right, it goes on.
func TestTamperedLakeStopsTheCommitter(t *testing.T) {
	for name, harm := range map[string]func(path string) error{
		"gone":      os.Remove,
		"truncated": func(path string) error { return os.Truncate(path, 100) },
		"longer": func(path string) error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			if _, err := f.WriteString("more"); err != nil {
				return err
			}
			return f.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			p := testbed.Local(dir)
			prove.Invariant(t, "D1", p.On...)
			b := newBench(t, p, 60)
			b.read()
			running := b.committer("me", b.led, b.lake)
			if err := running.round(t.Context()); err != nil {
				t.Fatal(err)
			}
			path := oneDataFile(t, dir)
			body, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := harm(path); err != nil {
				t.Fatal(err)
			}
			alarm := func(c *Committer) {
				t.Helper()
				err := c.round(t.Context())
				if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "lake_file" || !strings.Contains(err.Error(), path) {
					t.Errorf("a round over it: %v", err)
				}
			}
			later := time.Now().Add(checkEvery + time.Minute)
			running.now = func() time.Time { return later }
			alarm(running)
			alarm(b.committer("me", b.led, b.lake))
			if err := os.WriteFile(path, body, 0o644); err != nil {
				t.Fatal(err)
			}
			b.settle()
			b.verify()
		})
	}
}

// miscounting is a ledger whose counts were changed.
type miscounting struct {
	Commits
	rows, duplicates int64
}

func (m miscounting) Booked(ctx context.Context, table string) (int64, error) {
	n, err := m.Commits.Booked(ctx, table)
	return n + m.rows, err
}

func (m miscounting) Progress(ctx context.Context) (*ledger.Progress, error) {
	p, err := m.Commits.Progress(ctx)
	if err != nil {
		return nil, err
	}
	for k, c := range p.BatchCounts {
		c.Duplicates += m.duplicates
		p.BatchCounts[k] = c
	}
	return p, nil
}

// D1: so do counts that do not say what the lake holds.
func TestTamperedCountsStopTheCommitter(t *testing.T) { testbed.Everywhere(t, tamperedCounts) }

func tamperedCounts(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "D1", p.On...)
	b := newBench(t, p, 60)
	b.settle()
	for _, led := range []Commits{miscounting{Commits: b.led, rows: -1}, miscounting{Commits: b.led, duplicates: 1}} {
		err := b.committer("me", led, b.lake).round(t.Context())
		if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "conservation" {
			t.Errorf("a round over %+v: %v", led, err)
		}
	}
	b.verify()
}
