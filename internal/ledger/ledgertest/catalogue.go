package ledgertest

import (
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

func emptyLedger(_ *testing.T, w *world) {
	s := w.load()
	if len(s.Streams)+len(s.Logs)+len(s.Views) != 0 {
		w.Fatalf("an empty ledger has a catalogue: %+v", s)
	}
	w.same(map[string]int64{}, must(w.l.Epochs(w.ctx))(w))
	w.same(span.Vector{}, must(w.l.LakeVector(w.ctx))(w))
	if in := must(w.l.LastIntent(w.ctx, stream))(w); in != nil {
		w.Fatalf("intent %+v", in)
	}
	_, err := w.l.Read(w.ctx, ledger.Read{View: view, To: 1})
	w.fails(err, fault.Record, "unknown_view")
	_, err = w.l.AddLog(w.ctx, kafka("pin", "t1", 1, false))
	w.fails(err, fault.Config, "unknown_stream")
	w.fails(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Views: []ledger.ViewChange{{Name: view}}}), fault.Config, "unknown_stream")
}

func schemaVersions(_ *testing.T, w *world) {
	w.setup()
	h := w.take(ledger.Batch, "b", w.key(0))
	w.stage(w.key(0), &h, 10, 0)
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Schema: schema("category", "country")}))
	s := w.load().Streams[0]
	w.same(2, len(s.Schemas))
	w.same(int32(1), s.Schemas[0].Version)
	w.same(span.Vector{}, s.Schemas[0].Cut)
	w.same(*schema("category"), s.Schemas[0].Definition)
	w.same(int32(2), s.Schemas[1].Version)
	w.same(span.Vector{w.key(0): 10}, s.Schemas[1].Cut)
	w.same(*schema("category", "country"), s.Schemas[1].Definition)
	if time.Since(s.Schemas[1].CreatedAt).Abs() > time.Hour {
		w.Fatalf("created at %v", s.Schemas[1].CreatedAt)
	}
}

func stalePlan(_ *testing.T, w *world) {
	w.setup()
	before := w.epoch()
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: before, Schema: schema("x")}))
	w.same(before+1, w.epoch())
	for _, e := range []int64{before, before + 2, 0} {
		w.fails(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: e, Schema: schema("y")}), fault.Stale, "plan_stale")
	}
	w.fails(w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Epoch: 1, Schema: schema()}), fault.Stale, "plan_stale")
	w.same(before+1, w.epoch())
	w.same(2, len(w.load().Streams[0].Schemas))
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: before})) // nothing in it
	w.same(before+1, w.epoch())
}

func logsAreFoundAgain(_ *testing.T, w *world) {
	w.setup()
	before := w.epoch()
	w.same(w.log, must(w.l.AddLog(w.ctx, kafka("pin", "t1", 2, false)))(w))
	w.same(before, w.epoch())
	file := ledger.Log{Kind: ledger.KindImport, Stream: stream, TopicID: "hash", Topic: "a.csv", Partitions: 1}
	id := must(w.l.AddLog(w.ctx, file))(w)
	w.same(before+1, w.epoch())
	logs := w.load().Logs
	w.same(3, len(logs))
	last := logs[2]
	w.same([]any{id, ledger.KindImport, "hash", int32(1)}, []any{last.ID, last.Kind, last.TopicID, last.Partitions})
	if !logs[1].Dead || logs[0].Dead || !last.ClosedAt.IsZero() || len(last.Closing) != 0 {
		w.Fatalf("logs %+v", logs)
	}
}

func recreatedTopic(_ *testing.T, w *world) {
	w.setup()
	before := w.epoch()
	_, err := w.l.AddLog(w.ctx, kafka("pin", "t9", 2, false))
	w.fails(err, fault.Config, "topic_recreated")
	w.same(before, w.epoch())
	w.same(2, len(w.load().Logs))
}

// A version begins where no unit has read yet; an import in progress is not named.
func cutOfNewVersion(_ *testing.T, w *world) {
	w.setup()
	b, v := w.take(ledger.Batch, "b", w.key(0)), w.take(ledger.Live, "a", w.key(0))
	w.flush(w.key(0), &v, 30)
	w.stage(w.key(0), &b, 10, 0)
	b1 := w.take(ledger.Batch, "b", w.key(1))
	w.stage(w.key(1), &b1, 5, 0)
	d := w.take(ledger.Batch, "b", span.Key{Log: w.dead})
	w.stage(span.Key{Log: w.dead}, &d, 0, 3)
	imported := must(w.l.AddLog(w.ctx, ledger.Log{Kind: ledger.KindImport, Stream: stream, TopicID: "x", Topic: "f", Partitions: 1}))(w)
	i := w.take(ledger.Batch, "b", span.Key{Log: imported})
	w.stage(span.Key{Log: imported}, &i, 4, 0)
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Views: []ledger.ViewChange{{
		Name: view, Hash: "h2", Definition: []byte(`2`), State: ledger.Building,
	}}}))
	got := w.load().Views[0].Versions
	w.same(2, len(got))
	w.same(span.Vector{}, got[0].Cut)
	w.same(span.Vector{w.key(0): 30, w.key(1): 5}, got[1].Cut)
}

func (w *world) applyView(c ledger.ViewChange) error {
	c.Name = view
	return w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Views: []ledger.ViewChange{c}})
}

func (w *world) states() map[string]string {
	w.Helper()
	m := map[string]string{}
	for _, v := range w.load().Views {
		for _, x := range v.Versions {
			m[x.Hash] = x.State
		}
	}
	return m
}

// At most one version serves, one is built, one stands by.
func statesOfVersions(_ *testing.T, w *world) {
	w.setup()
	def := []byte("{}")
	w.ok(w.applyView(ledger.ViewChange{Metadata: []byte(`{"b":2}`)}))
	w.same([]byte(`{"b":2}`), w.load().Views[0].Metadata)
	w.same(1, len(w.load().Views[0].Versions))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: def, State: ledger.Serving}))
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving}, w.states())
	w.same([]byte(`{"b":2}`), w.load().Views[0].Metadata)
	v := w.take(ledger.Live, "a", w.key(0))
	w.flush(w.key(0), &v, 3) // from here on there is a history
	w.ok(w.applyView(ledger.ViewChange{Hash: "h3", Definition: def, State: ledger.Building}))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h4", Definition: def, State: ledger.Building}))
	w.same(map[string]string{"h1": ledger.Standby, "h2": ledger.Serving, "h3": ledger.Dropped, "h4": ledger.Building}, w.states())
	w.ok(w.applyView(ledger.ViewChange{Hash: "h1", Definition: def, State: ledger.Building}))
	w.same(map[string]string{"h1": ledger.Serving, "h2": ledger.Standby, "h3": ledger.Dropped, "h4": ledger.Dropped}, w.states())
	w.same(4, len(w.load().Views[0].Versions))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h1", Definition: def, State: ledger.Building})) // a repair
	w.same(5, len(w.load().Views[0].Versions))
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: def, State: ledger.Building, Anew: true})) // no way back to the standby
	w.same(6, len(w.load().Views[0].Versions))
	w.fails(w.applyView(ledger.ViewChange{Hash: "h5", Definition: def, State: ledger.Standby}), fault.Config, "bad_state")
	w.ok(w.applyView(ledger.ViewChange{Drop: true}))
	w.same(0, len(w.load().Views))
	_, err := w.l.Read(w.ctx, ledger.Read{View: view})
	w.fails(err, fault.Record, "unknown_view")
	w.ok(w.applyView(ledger.ViewChange{Hash: "h1", Definition: def, State: ledger.Serving, Metadata: def}))
	w.same(1, len(must(w.l.Load(w.ctx))(w).Views))
	w.fails(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Views: []ledger.ViewChange{{Name: "other"}}}),
		fault.Config, "unknown_view")
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Schema: schema()}))
	w.fails(w.l.Apply(w.ctx, ledger.Change{Stream: "geo", Epoch: 1, Views: []ledger.ViewChange{{Name: view, Metadata: def}}}),
		fault.Config, "view_of_other_stream")
}
