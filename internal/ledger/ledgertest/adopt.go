package ledgertest

import (
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// adoption builds one ledger from the memo of another: units go on where the lake is, not where they were.
func adoption(t *testing.T, open Open) {
	w := newWorld(t, open(t))
	w.setup()
	k, d := w.key(0), span.Key{Log: w.dead}
	b, bd := w.take(ledger.Batch, "b", k), w.take(ledger.Batch, "b", d)
	w.stage(k, &b, 10, 0)
	w.stage(d, &bd, 0, 4)
	w.commit(ledger.DeadLetters)
	in := w.commit(stream)
	w.stage(k, &b, 7, 0) // sealed, and not in the lake
	memo := must(ledger.ParseMemo(must(w.l.Memo(w.ctx, in))(w)))(w)
	streams := ledger.MergeMemos([]*ledger.Memo{memo, memo})
	a := &ledger.Adoption{Streams: streams, Counts: map[span.Key]ledger.Counts{k: {Rows: 9, Duplicates: 1}, d: {Dead: 4}}}
	a.Heads = []ledger.Intent{{Table: stream, N: in.N, ID: in.ID, Kind: in.Kind, Snapshot: 5, Offsets: in.Offsets}}
	w.fails(w.l.Adopt(w.ctx, a), fault.Config, "ledger_not_empty")

	n := newWorld(t, open(t))
	n.ok(n.l.Adopt(n.ctx, a))
	n.fails(n.l.Adopt(n.ctx, a), fault.Config, "ledger_not_empty")
	was, is := w.load(), n.load()
	w.same(was.Logs, is.Logs)
	w.same(was.Streams[0].Schemas, is.Streams[0].Schemas)
	if is.Streams[0].Epoch <= was.Streams[0].Epoch || len(is.Views) > 0 {
		t.Errorf("epoch %d after %d, views %v", is.Streams[0].Epoch, was.Streams[0].Epoch, is.Views)
	}
	p := must(n.l.Progress(n.ctx))(n)
	n.same(span.Vector{k: 10, d: 4}, p.Batch)
	n.same(span.Vector{k: 10}, p.Live)
	n.same(p.Batch, p.Lake)
	n.same(ledger.Counts{Rows: 9, Duplicates: 1}, p.LiveCounts[k])
	if !p.Conserved(k) || !p.Conserved(d) {
		t.Error("offsets are not accounted for")
	}
	last := must(n.l.LastIntent(n.ctx, stream))(n)
	n.same([]any{in.N, in.ID, false}, []any{last.N, last.ID, last.Open})
	n.log, n.dead = w.log, w.dead
	h := n.take(ledger.Batch, "b", k)
	n.same(int64(10), h.Position)
	n.stage(k, &h, 7, 0)
	n.same(in.N+1, n.commit(stream).N)
	if id := must(n.l.AddLog(n.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, ClusterID: stream, TopicID: "f", Topic: "f", Partitions: 1}))(n); id <= w.dead {
		t.Errorf("a new log got the id %d", id)
	}
}
