package batch

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/testbed"
)

// imports finishes the import of files without a row that is to be told from the others by its name alone.
func (b *bench) imports(from, to int) {
	b.t.Helper()
	ctx := b.t.Context()
	for n := from; n < to; n++ {
		name := fmt.Sprintf("file %d.jsonl", n)
		id, err := b.led.AddLog(ctx, ledger.Log{Kind: ledger.KindImport, Stream: "pin", ClusterID: "pin", TopicID: fmt.Sprint(n), Topic: name, Partitions: 1})
		if err != nil {
			b.t.Fatal(err)
		}
		held, err := b.led.TakeOver(ctx, ledger.Batch, "i", span.Key{Log: id}, 0)
		if err != nil {
			b.t.Fatal(err)
		}
		if err := b.led.FinishImport(ctx, ledger.Import{Log: id, Owner: held.Owner}); err != nil {
			b.t.Fatal(err)
		}
	}
}

func (b *bench) kept() (logs []ledger.ClosedLog) {
	b.t.Helper()
	_, err := b.lake.Scan(b.t.Context(), lake.Selection{Table: ledger.Logs}, func(blk *lake.Block) error {
		some, err := lake.ParseLogs(blk)
		logs = append(logs, some...)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return logs
}

// L5: what a table keeps of the ledger with each commit does not grow with the files that were imported, and all of
// them are in the table of closed logs, once.
func TestClosedLogsDoNotGrowACommit(t *testing.T) { testbed.Everywhere(t, closedLogsDoNotGrowACommit) }

func closedLogsDoNotGrowACommit(t *testing.T, p testbed.Place) {
	prove.Invariant(t, "L5", p.On...)
	b := newBench(t, p, 30)
	b.settle()
	memo := func(table string) int {
		t.Helper()
		head, err := b.lake.Head(t.Context(), table)
		if err != nil {
			t.Fatal(err)
		}
		return len(head.Memo)
	}
	before := memo("pin")
	c := b.committer("me", b.led, b.lake)
	rounds := func() {
		t.Helper()
		for range 2 { // with the second one it looks whether more is to be done
			if err := c.round(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for n := range 5 {
		b.imports(40*n, 40*n+40)
		rounds()
	}
	for _, k := range c.tables { // a commit of each table
		lease, _, err := c.hold(t.Context(), "lake:"+k.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.do(t.Context(), lease, k, lake.Expire); err != nil {
			t.Fatal(err)
		}
		if now := memo(k.Name); now > before+100 {
			t.Errorf("after 200 files table %s keeps %d bytes, table pin kept %d before", k.Name, now, before)
		}
	}
	seen := map[string]int{}
	for _, l := range b.kept() {
		seen[l.Topic]++
	}
	want := map[string]int{}
	for n := range 200 {
		want[fmt.Sprintf("file %d.jsonl", n)] = 1
	}
	if d := cmp.Diff(want, seen); d != "" {
		t.Error(d)
	}
	if head, err := b.lake.Head(t.Context(), ledger.Logs); err != nil || head.Files > 5 {
		t.Errorf("%+v, %v", head, err)
	}
}

// L3: whichever step of bringing closed logs fails, and however, each is there once.
func TestClosedLogsAreThereOnce(t *testing.T) {
	for first, with := range []error{
		errCrash,
		fault.New(fault.Transient, "busy", "injected"),
		fault.New(fault.Ambiguous, "unknown", "injected"),
	} {
		for _, after := range []bool{false, true} {
			if after && fault.Is(with, fault.Transient) {
				continue // a transient fault promises that nothing happened
			}
			t.Run(fmt.Sprintf("%v after=%v", with, after), func(t *testing.T) { closedOnce(t, with, after, first) })
		}
	}
}

func closedOnce(t *testing.T, with error, after bool, first int) {
	b := newBench(t, testbed.Local(t.TempDir()), 30)
	b.settle()
	for at := 1 + first; ; at++ {
		b.imports(10*at, 10*at+3)
		m := &mortal{DB: b.led, AlteredLake: b.lake, lk: b.lake, at: at, with: with, after: after}
		c := b.committer("me", m, m)
		err := c.round(context.WithoutCancel(t.Context()))
		if m.struck == "" {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		t.Logf("call %d, %s: %v", at, m.struck, err)
	}
	c := b.committer("me", b.led, b.lake)
	for range 3 {
		if err := c.round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.eachClosedOnce()
	b.verify()
}

// eachClosedOnce wants each imported file in the table of closed logs once, and the ledger to know that.
func (b *bench) eachClosedOnce() {
	b.t.Helper()
	seen := map[string]int{}
	for _, l := range b.kept() {
		seen[l.Topic]++
	}
	snap, err := b.led.Load(b.t.Context())
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range snap.Logs {
		if l.Kind == ledger.KindImport && (seen[l.Topic] != 1 || !l.Kept) {
			b.t.Errorf("%s is in the table %d times; the ledger says that it is kept: %v", l.Topic, seen[l.Topic], l.Kept)
		}
	}
}
