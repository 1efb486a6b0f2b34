package ledgertest

import (
	"fmt"
	"testing"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// whole imports a file to its end.
func (w *world) whole(name string, rows int64) span.Log {
	w.Helper()
	i := ledger.Import{Rows: rows, Days: []ledger.Task{{Day: "2025-01-01", Expect: rows, Bytes: 20}}}
	i.Log = must(w.l.AddLog(w.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, ClusterID: stream, TopicID: name, Topic: name, Partitions: 1}))(w)
	held := w.take(ledger.Batch, "i", span.Key{Log: i.Log})
	w.stage(span.Key{Log: i.Log}, &held, rows, 0)
	i.Owner = held.Owner
	w.commit(stream)
	w.ok(w.l.FinishImport(w.ctx, i))
	return i.Log
}

// close makes a commit of table logs, nil if there is nothing for it, and returns what it brings.
func (w *world) close(limit int) (*ledger.Intent, []ledger.ClosedLog) {
	w.Helper()
	lease := w.lease("lake:logs")
	in := must(w.l.Intent(w.ctx, lease, ledger.Logs, "close", limit))(w)
	if in == nil {
		return nil, nil
	}
	logs := must(w.l.ClosedLogs(w.ctx, in))(w)
	if w.load().Logs[logs[0].ID-1].Kept {
		w.Fatalf("a log is kept before its commit has landed")
	}
	// Whoever repeats it brings the same.
	again := must(w.l.Intent(w.ctx, lease, ledger.Logs, "close", 100))(w)
	w.same(in.ID, again.ID)
	w.same(logs, must(w.l.ClosedLogs(w.ctx, again))(w))
	w.ok(w.l.CloseIntent(w.ctx, lease, in, 7))
	return in, logs
}

// closedLogs: closed logs go into a table of their own, once, when all of them is in the lake; what the other tables
// keep does not grow with them; and a ledger built of both knows them all, with the cuts of schemas in them.
func closedLogs(t *testing.T, open Open) {
	w := newWorld(t, open(t))
	w.setup()
	b := w.take(ledger.Batch, "b", w.key(0))
	w.stage(w.key(0), &b, 10, 0)
	first := w.whole("first", 3) // commits the stage, too
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("category", "country")}))
	w.stage(w.key(0), &b, 5, 0)
	must(w.l.AcceptReset(w.ctx, w.anew("t9")))(w)
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("category", "country", "city")}))

	_, all := w.close(100)
	w.same([]span.Log{first}, ids(all)) // of the other one something is not in the lake yet
	w.same([]ledger.MemoCut{{Version: 2, Offset: 3}, {Version: 3, Offset: 3}}, all[0].Cuts)
	if in, _ := w.close(100); in != nil {
		t.Fatalf("a commit of nothing: %+v", in)
	}
	w.commit(stream)
	in, logs := w.close(100)
	w.same(int64(2), in.N)
	w.same([]span.Log{w.log}, ids(logs))
	w.same([]ledger.MemoCut{{Version: 2, Offset: 10}, {Version: 3, Offset: 15}}, logs[0].Cuts)
	all = append(all, logs...)

	before := w.memos()
	for n := range 30 {
		w.whole(fmt.Sprint(n), 2)
	}
	for logs != nil {
		_, logs = w.close(7)
		all = append(all, logs...)
	}
	w.same([]int64{32, 32}, []int64{int64(len(all)), must(w.l.Booked(w.ctx, ledger.Logs))(w)})
	for table, is := range w.memos() {
		if was := before[table]; is > was+20 { // a digit here and there
			t.Errorf("what table %s keeps has grown from %d bytes to %d", table, was, is)
		}
	}
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("category", "country", "city", "zip")}))
	adoptClosed(w, newWorld(t, open(t)), all)
}

// memos are the bytes that tables keep of the ledger.
func (w *world) memos() map[string]int {
	w.Helper()
	all := map[string]int{}
	for _, table := range []string{stream, ledger.DeadLetters, ledger.Logs} {
		all[table] = len(must(w.l.Memo(w.ctx, &ledger.Intent{Table: table, N: 1 << 40}))(w))
	}
	return all
}

// adoptClosed builds ledger n of what the lake keeps of ledger w.
func adoptClosed(w, n *world, closed []ledger.ClosedLog) {
	w.Helper()
	memo := must(ledger.ParseMemo(must(w.l.Memo(w.ctx, &ledger.Intent{Table: stream, N: 1 << 40}))(w)))(w)
	last := must(w.l.LastIntent(w.ctx, ledger.Logs))(w)
	w.same([]any{last.N, 2}, []any{memo.Closed, len(memo.Streams[0].Logs)}) // the dead log, and that of t9
	w.fails(ledger.WithClosed(nil, closed), fault.Corrupt, "lake_memo")
	a := &ledger.Adoption{Streams: ledger.MergeMemos([]*ledger.Memo{memo}), Counts: map[span.Key]ledger.Counts{}, Heads: []ledger.Intent{*last}}
	w.ok(ledger.WithClosed(a.Streams, closed))
	for k, at := range a.Positions() {
		a.Counts[k] = ledger.Counts{Rows: at}
	}
	n.ok(n.l.Adopt(n.ctx, a))
	was, is := w.load(), n.load()
	n.same(was.Logs, is.Logs)
	n.same(was.Streams[0].Schemas, is.Streams[0].Schemas)
	p := n.conserved()
	for _, l := range closed {
		k := span.Key{Log: l.ID}
		n.same(l.Parts[0].Position, p.Lake[k])
		n.same(l.ID, must(n.l.AddLog(n.ctx, ledger.Log{Kind: l.Kind, Stream: stream, ClusterID: l.ClusterID, TopicID: l.TopicID, Topic: "other", Partitions: 1}))(n))
	}
	n.same(int64(len(closed)), must(n.l.Booked(n.ctx, ledger.Logs))(n))
	if in, _ := n.close(100); in != nil {
		n.Fatalf("logs are brought twice: %+v", in)
	}
	n.whole("another", 4)
	in, _ := n.close(100)
	n.same(last.N+1, in.N)
}

func ids(logs []ledger.ClosedLog) (all []span.Log) {
	for _, l := range logs {
		all = append(all, l.ID)
	}
	return all
}
