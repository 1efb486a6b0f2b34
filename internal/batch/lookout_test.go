package batch

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// meddled is a lake of which another engine has changed the table pin, until that is undone.
type meddled struct {
	*icelakeTables
	rows   int64 // more than there were; 0: as many
	others bool  // but not the same
	back   bool
	asked  int // what it has done
}

type icelakeTables = struct{ Tables }

func (m *meddled) Head(ctx context.Context, table string) (lake.Head, error) {
	h, err := m.Tables.Head(ctx, table)
	if table == "pin" && !m.back {
		h.Snapshot, h.Foreign, h.Rows = h.Snapshot+1, true, h.Rows+m.rows
	}
	return h, err
}

func (m *meddled) Altered(ctx context.Context, table string) (*lake.Altered, error) {
	h, err := m.Tables.Head(ctx, table)
	if m.back || table != "pin" {
		return nil, err
	}
	m.asked++
	a := &lake.Altered{
		Table: table, Seq: h.Seq, Base: h.Snapshot, Now: h.Snapshot + 1, Rows: map[span.Key]int64{{Log: 1, Partition: 1}: m.rows},
		Made: []lake.Foreign{{Snapshot: h.Snapshot + 1, Operation: "overwrite", Engine: "spark 3.5.7"}},
	}
	if m.others {
		a.Changed = []span.Key{{Log: 1, Partition: 1}}
	}
	return a, err
}

func (m *meddled) Undo(context.Context, *lake.Altered) error {
	m.back = true
	return nil
}

// D1: whoever finds that another engine changed the rows of a table commits nothing to it and says who it was; whoever commits
// nothing says so, too, until it is undone.
func TestAlteredTableStopsTheCommitter(t *testing.T) {
	p := testbed.Local(t.TempDir())
	prove.Invariant(t, "D1", p.On...)
	b := newBench(t, p, 60)
	b.read()
	running := b.committer("me", b.led, b.lake)
	if err := running.round(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ts = makeTopics(120)
	b.read() // there is something to commit
	before, err := b.lake.Head(t.Context(), "pin")
	if err != nil {
		t.Fatal(err)
	}
	m := &meddled{icelakeTables: &icelakeTables{b.lake}, rows: -5}
	running.lake = m
	for _, c := range []*Committer{running, b.committer("me", b.led, m)} {
		err := c.round(t.Context())
		if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "lake_altered" || !strings.Contains(err.Error(), "overwrite by spark 3.5.7") ||
			!strings.Contains(err.Error(), "missing are 5 of partition 1/1") {
			t.Errorf("a round over it: %v", err)
		}
	}
	look := NewLookout(b.led, m)
	for range 2 {
		if said := look.Problems(t.Context()); len(said) != 1 || !strings.Contains(said[0], "another engine changed the rows of table pin") {
			t.Errorf("problems: %q", said)
		}
	}
	if now, err := b.lake.Head(t.Context(), "pin"); err != nil || now.Seq != before.Seq || now.Snapshot != before.Snapshot {
		t.Errorf("it was committed to: %+v, %+v, %v", before, now, err)
	}
	undo := b.committer("me", b.led, m)
	for i := range 2 {
		if a, err := undo.Undo(t.Context(), "pin"); err != nil || (a == nil) != (i > 0) {
			t.Errorf("undone: %+v, %v", a, err)
		}
	}
	look.next = time.Time{}
	if said := look.Problems(t.Context()); len(said) > 0 {
		t.Errorf("problems: %q", said)
	}
	b.settle()
	b.verify()
}

// Another engine that leaves the rows as they were, as a compaction does, stops nobody, and whoever commits nothing reads what it
// did once.
func TestTableOfTheSameRowsGoesOn(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 60)
	b.settle()
	m := &meddled{icelakeTables: &icelakeTables{b.lake}}
	look := NewLookout(b.led, m)
	for range 3 {
		if said := look.Problems(t.Context()); len(said) > 0 {
			t.Errorf("problems: %q", said)
		}
		look.next = time.Time{}
	}
	if m.asked != 1 {
		t.Errorf("it was read %d times", m.asked)
	}
	c := b.committer("me", b.led, m)
	if err := c.round(t.Context()); err != nil {
		t.Error(err)
	}
}

// D1: another engine that puts other rows in the place of as many stops whoever commits, until that is undone.
func TestTableOfAsManyOtherRowsStops(t *testing.T) {
	b := newBench(t, testbed.Local(t.TempDir()), 60)
	b.settle()
	m := &meddled{icelakeTables: &icelakeTables{b.lake}, others: true}
	err := b.committer("me", b.led, m).round(t.Context())
	if !fault.Is(err, fault.Corrupt) || fault.CodeOf(err) != "lake_altered" || !strings.Contains(err.Error(), "changed are rows of partition 1/1") {
		t.Errorf("a round: %v", err)
	}
	if said := NewLookout(b.led, m).Problems(t.Context()); len(said) != 1 {
		t.Errorf("problems: %q", said)
	}
	if a, err := b.committer("me", b.led, m).Undo(t.Context(), "pin"); err != nil || a == nil {
		t.Errorf("undone: %+v, %v", a, err)
	}
	b.settle()
	b.verify()
}
