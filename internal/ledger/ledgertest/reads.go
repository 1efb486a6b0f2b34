package ledgertest

import (
	"fmt"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

func leases(_ *testing.T, w *world) {
	a := must(w.l.Acquire(w.ctx, "job", "a", time.Hour))(w)
	w.same(ledger.Lease{Name: "job", Number: 1, Holder: "a"}, a)
	_, err := w.l.Acquire(w.ctx, "job", "b", time.Hour)
	w.fails(err, fault.Lost, "lease_held")
	w.ok(w.l.Renew(w.ctx, a, time.Hour))
	again := must(w.l.Acquire(w.ctx, "job", "a", time.Hour))(w) // the same holder after a crash
	w.same(int64(2), again.Number)
	w.fails(w.l.Renew(w.ctx, a, time.Hour), fault.Lost, "lease_lost")
	w.ok(w.l.Renew(w.ctx, again, -time.Second))             // ended
	w.ok(w.l.Renew(w.ctx, again, -time.Second))             // but nobody took it
	b := must(w.l.Acquire(w.ctx, "job", "b", time.Hour))(w) // until now
	w.same(int64(3), b.Number)
	w.fails(w.l.Release(w.ctx, again), fault.Lost, "lease_lost")
	w.ok(w.l.Release(w.ctx, b))
	w.fails(w.l.Renew(w.ctx, b, time.Hour), fault.Lost, "lease_lost")
	w.same(0, len(must(w.l.Status(w.ctx))(w).Leases))
	w.same(int64(4), must(w.l.Acquire(w.ctx, "job", "c", time.Hour))(w).Number)
	infos := must(w.l.Status(w.ctx))(w).Leases
	w.same([]any{1, "job", "c", int64(4)}, []any{len(infos), infos[0].Name, infos[0].Holder, infos[0].Number})
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// Every mark for an hour, then the first of each minute, for 90 days.
func marksThin(_ *testing.T, w *world) {
	w.setup()
	lease := w.lease("marks:pin")
	at := func(d time.Duration) *ledger.Mark { return must(w.l.FirstMark(w.ctx, stream, noon.Add(d)))(w) }
	for s := range 180 {
		w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(time.Duration(s) * time.Second), End: span.Vector{w.key(0): int64(s)}}))
	}
	w.same(noon.Add(90*time.Second), at(90*time.Second).At)
	w.same(span.Vector{w.key(0): 90}, at(90*time.Second).End)
	w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(2 * time.Hour), End: span.Vector{w.key(0): 500}}))
	w.same(noon.Add(2*time.Minute), at(90*time.Second).At)
	w.same(noon.Add(time.Minute), at(time.Second).At)
	w.same(noon.Add(2*time.Hour), at(121*time.Second).At)
	w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(91 * 24 * time.Hour), End: span.Vector{}}))
	w.same(noon.Add(91*24*time.Hour), at(0).At)
	if m := at(92 * 24 * time.Hour); m != nil {
		w.Fatalf("mark %+v", m)
	}
	w.same(noon.Add(91*24*time.Hour), must(w.l.Status(w.ctx))(w).NewestMarks[stream].At)
	lease.Number++
	w.fails(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon}), fault.Lost, "lease_lost")
}

// A clock that was put back takes back what was said of the times it comes to again.
func marksGoBack(_ *testing.T, w *world) {
	w.setup()
	lease := w.lease("marks:pin")
	for s := range 60 {
		w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(time.Duration(s) * time.Second), End: span.Vector{}}))
	}
	w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(10 * time.Second), End: span.Vector{}}))
	w.same(noon.Add(10*time.Second), must(w.l.CompleteTo(w.ctx, stream, ledger.Live))(w))
	w.same(noon.Add(9*time.Second), must(w.l.FirstMark(w.ctx, stream, noon.Add(9*time.Second)))(w).At)
	if m := must(w.l.FirstMark(w.ctx, stream, noon.Add(11*time.Second)))(w); m != nil {
		w.Fatalf("mark %+v", m)
	}
}

// The newest mark that every partition has reached; the live unit does not read the dead log.
func completeTo(_ *testing.T, w *world) {
	w.setup()
	lease := w.lease("marks:pin")
	k0, k1, d := w.key(0), w.key(1), span.Key{Log: w.dead}
	is := func(u ledger.Unit, want time.Time) {
		w.Helper()
		w.same(want, must(w.l.CompleteTo(w.ctx, stream, u))(w))
	}
	is(ledger.Live, time.Time{})
	const marks = 300
	for s := range marks {
		end := span.Vector{k0: int64(s), k1: int64(s / 2), d: int64(s / 100)}
		w.ok(w.l.AddMark(w.ctx, lease, ledger.Mark{Stream: stream, At: noon.Add(time.Duration(s) * time.Second), End: end}))
	}
	is(ledger.Live, noon) // all ends were 0: reached without anything read
	v0, v1 := w.take(ledger.Live, "a", k0), w.take(ledger.Live, "a", k1)
	w.flush(k0, &v0, 200)
	is(ledger.Live, noon.Add(time.Second))
	w.flush(k1, &v1, 33)
	is(ledger.Live, noon.Add(67*time.Second))
	w.same(noon.Add(67*time.Second), w.read(ledger.Read{}).CompleteTo)
	w.flush(k1, &v1, 200)
	is(ledger.Live, noon.Add(200*time.Second))
	w.flush(k0, &v0, 1000)
	is(ledger.Live, noon.Add((marks-1)*time.Second))
	b0, b1 := w.take(ledger.Batch, "b", k0), w.take(ledger.Batch, "b", k1)
	w.stage(k0, &b0, 1000, 0)
	w.stage(k1, &b1, 1000, 0)
	is(ledger.Batch, noon) // sealed is not yet in the lake
	w.commit(stream)
	is(ledger.Batch, noon.Add(99*time.Second))
	bd := w.take(ledger.Batch, "b", d)
	w.stage(d, &bd, 0, 2)
	is(ledger.Batch, noon.Add(99*time.Second))
	w.commit(ledger.DeadLetters)
	is(ledger.Batch, noon.Add((marks-1)*time.Second))
}

func dayCutOnce(_ *testing.T, w *world) {
	w.setup()
	lease := w.lease("marks:pin")
	day := ledger.Day{Stream: stream, Zone: "UTC", Date: "2026-03-01", CutAt: noon, Cut: span.Vector{w.key(0): 7}}
	w.same(day, must(w.l.DayCut(w.ctx, lease, day))(w))
	later := day
	later.CutAt, later.Cut = noon.Add(time.Hour), span.Vector{w.key(0): 9}
	w.same(day, must(w.l.DayCut(w.ctx, lease, later))(w))
	landed := day
	landed.LandedAt, landed.Totals = noon.Add(time.Minute), []byte(`{"rows":7}`)
	w.ok(w.l.Land(w.ctx, lease, landed))
	twice := landed
	twice.LandedAt, twice.Totals = noon.Add(time.Hour), []byte("{}")
	w.ok(w.l.Land(w.ctx, lease, twice))
	other := ledger.Day{Stream: stream, Zone: "Europe/London", Date: "2026-03-02", CutAt: noon, Cut: span.Vector{}}
	must(w.l.DayCut(w.ctx, lease, other))(w)
	w.same([]ledger.Day{other, landed}, must(w.l.Days(w.ctx, stream, 10))(w))
	w.same([]ledger.Day{other}, must(w.l.Days(w.ctx, stream, 1))(w))
	lease.Number++
	_, err := w.l.DayCut(w.ctx, lease, day)
	w.fails(err, fault.Lost, "lease_lost")
	w.fails(w.l.Land(w.ctx, lease, day), fault.Lost, "lease_lost")
}

// A query of a tier sees that tier and what of the finer ones is not rolled up: each state once.
func readTiers(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	w.flush(k, &v, 4, 100, 200, 300, 400)
	w.same([]int64{200, 300}, func() []int64 {
		out := []int64{}
		for _, s := range w.read(ledger.Read{From: 101, To: 400}).Segments {
			out = append(out, s.From)
		}
		return out
	}())
	ids := []int64{}
	for _, s := range must(w.l.Segments(w.ctx, w.version, "minute", false))(w)[:2] {
		ids = append(ids, s.ID)
	}
	hour := segment(w.version, 0, 0)
	hour.Tier, hour.Source = "hour", ledger.SourceRolled
	lease := w.lease("compact")
	w.ok(w.l.Replace(w.ctx, lease, ledger.RolledUp, ids, []ledger.Segment{hour}))
	w.same([]int64{100, 200, 300, 400}, w.buckets("minute"))
	w.same([]int64{300, 400, 0}, w.buckets("hour"))
	w.same([]int64{300, 400, 0}, w.buckets("day"))
	w.same(2, len(must(w.l.Segments(w.ctx, w.version, "minute", false))(w)))
	w.fails(w.l.Replace(w.ctx, lease, ledger.RolledUp, ids[:1], nil), fault.Lost, "segment_gone")
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, ids[:1], nil), fault.Lost, "segment_gone")
	w.same(int64(1), must(w.l.DropRolled(w.ctx, lease, w.version, "minute", 150))(w))
	w.same(int64(1), must(w.l.DropRolled(w.ctx, lease, w.version, "minute", 1000))(w)) // never an unrolled one
	w.same([]int64{300, 400}, w.buckets("minute"))
	w.same([]int64{300, 400, 0}, w.buckets("hour"))
	w.same(int64(100), w.read(ledger.Read{}).Earliest)
	must(w.l.DropRolled(w.ctx, lease, w.version, "minute", 500))(w) // floors never sink
	w.same(map[string]int64{"minute": 1000}, w.read(ledger.Read{}).Floors)
	_, err := w.l.Read(w.ctx, ledger.Read{View: view, Tier: "week"})
	w.fails(err, fault.Record, "unknown_tier")
}

// What is rolled up and what is not are never merged, and each part of a question takes a state once.
func rolledStaysApart(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	w.flush(k, &v, 4, 100, 200, 300, 400)
	lease := w.lease("compact")
	small := must(w.l.Segments(w.ctx, w.version, "minute", false))(w)
	ids := []int64{small[0].ID, small[1].ID}
	w.ok(w.l.Replace(w.ctx, lease, ledger.RolledUp, ids, []ledger.Segment{{Version: w.version, Tier: "hour", From: 0, To: 0, Source: ledger.SourceRolled, Data: []byte{1}}}))
	rolled := must(w.l.Segments(w.ctx, w.version, "minute", true))(w)
	w.same(2, len(rolled))
	out := segment(w.version, 100, 200)
	mixed := []int64{rolled[0].ID, small[2].ID}
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, mixed, []ledger.Segment{out}), fault.Lost, "segment_gone")
	out.Rolled = true
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, mixed, []ledger.Segment{out}), fault.Lost, "segment_gone")
	unrolled := out
	unrolled.Rolled = false
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, ids, []ledger.Segment{out, unrolled}), fault.Config, "bad_kind")
	w.fails(w.l.Replace(w.ctx, lease, ledger.RolledUp, ids, []ledger.Segment{out}), fault.Config, "bad_kind")
	w.ok(w.l.Replace(w.ctx, lease, ledger.Compacted, ids, []ledger.Segment{out}))
	w.same(1, len(must(w.l.Segments(w.ctx, w.version, "minute", true))(w)))
	w.same([]int64{300, 400, 100}, w.buckets("minute"))
	w.same([]int64{300, 400, 0}, w.buckets("hour"))
	d := must(w.l.Read(w.ctx, ledger.Read{View: view, Parts: []ledger.Part{{Tier: "hour", From: 0, To: 100}, {Tier: "minute", From: 100, To: 350}}}))(w)
	var got []string
	for _, s := range d.Segments {
		got = append(got, fmt.Sprint(s.Tier, " ", s.From))
	}
	w.same([]string{"minute 300", "minute 100", "hour 0"}, got)
}

func readBuildingAndCached(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	w.flush(k, &v, 2, 1, 2)
	data := w.read(ledger.Read{Cached: func(id int64) bool { return id == 1 }})
	w.same(true, data.Segments[0].Data == nil)
	w.same([]byte{0, 1, 2}, data.Segments[1].Data)
	w.same(stream, data.Stream.Name)
	w.same(1, len(data.Stream.Schemas))
	w.same(ledger.Serving, data.Version.State)
	w.ok(w.l.Apply(w.ctx, ledger.Change{Stream: stream, Epoch: w.epoch(), Views: []ledger.ViewChange{{
		Name: "new", Hash: "n", Definition: []byte("{}"), State: ledger.Building,
	}}}))
	w.same(ledger.Building, must(w.l.Read(w.ctx, ledger.Read{View: "new"}))(w).Version.State)
	w.ok(w.applyView(ledger.ViewChange{Hash: "h2", Definition: []byte("{}"), State: ledger.Building}))
	w.same("h1", w.read(ledger.Read{}).Version.Hash) // versions never mix
	w.same(2, len(w.read(ledger.Read{}).Segments))
	second := w.read(ledger.Read{Version: ledger.Building})
	w.same("h2", second.Version.Hash)
	w.same(0, len(second.Segments))
	w.same(2, len(w.read(ledger.Read{Version: ledger.Serving}).Segments))
	w.same("h2", w.read(ledger.Read{Version: fmt.Sprint(second.Version.ID)}).Version.Hash)
	w.ok(w.applyView(ledger.ViewChange{Hash: "h3xyz", Definition: []byte("{}"), Metadata: []byte(`{"own":3}`), State: ledger.Serving}))
	w.same("h3xyz", w.read(ledger.Read{}).Version.Hash)
	w.same(0, len(w.read(ledger.Read{}).Segments))
	w.same("h3xyz", w.read(ledger.Read{Version: "h3xy"}).Version.Hash)
	w.same(`{"own":3}`, string(w.read(ledger.Read{Version: ledger.Serving}).View.Metadata))
	standby := w.read(ledger.Read{Version: ledger.Standby}) // it answers to its own names, with its own numbers
	w.same("h1", standby.Version.Hash)
	w.same(2, len(standby.Segments))
	w.same(false, string(standby.View.Metadata) == `{"own":3}`)
	for _, none := range []string{ledger.Building, ledger.Dropped, "h2", "99", "x"} {
		_, err := w.l.Read(w.ctx, ledger.Read{View: view, Version: none})
		w.same("unknown_version", fault.CodeOf(err))
	}
	_, err := w.l.Read(w.ctx, ledger.Read{View: "nope", Version: ledger.Serving})
	w.same("unknown_view", fault.CodeOf(err))
}

func replaceSegments(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v := w.take(ledger.Live, "a", k)
	w.flush(k, &v, 3, 1, 2, 3)
	small := must(w.l.Segments(w.ctx, w.version, "minute", false))(w)
	w.same(3, len(small))
	w.same(true, small[0].Data == nil)
	ids := []int64{small[0].ID, small[1].ID}
	loaded := must(w.l.SegmentData(w.ctx, ids))(w)
	w.same([]byte{0, 1, 2}, loaded[1].Data)
	merged := segment(w.version, 1, 2)
	merged.Source = ledger.SourceCompacted
	lease := w.lease("compact")
	w.ok(w.l.Replace(w.ctx, lease, ledger.Compacted, ids, []ledger.Segment{merged}))
	w.same([]int64{3, 1}, w.buckets(""))
	// The second compactor had the same inputs: it must do nothing at all.
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, []int64{small[2].ID, ids[0]}, []ledger.Segment{merged}), fault.Lost, "segment_gone")
	w.same([]int64{3, 1}, w.buckets(""))
	_, err := w.l.SegmentData(w.ctx, ids)
	w.fails(err, fault.Lost, "segment_gone")
	w.fails(w.l.Replace(w.ctx, lease, "swap", ids, nil), fault.Config, "bad_kind")
	lease.Number++
	w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, []int64{small[2].ID}, nil), fault.Lost, "lease_lost")
	w.same([]int64{3, 1}, w.buckets(""))
	id := must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w) // pieces of an open write are no inputs
	w.ok(w.l.AddSegments(w.ctx, id, []ledger.Segment{segment(w.version, 9, 9)}))
	lease.Number--
	for probe := range int64(20) {
		if probe != small[2].ID && probe != small[2].ID+1 {
			w.fails(w.l.Replace(w.ctx, lease, ledger.Compacted, []int64{probe}, nil), fault.Lost, "segment_gone")
		}
	}
}

func status(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v, b := w.take(ledger.Live, "a", k), w.take(ledger.Batch, "b", k)
	w.flush(k, &v, 2, 1, 2)
	w.stage(k, &b, 2, 1)
	must(w.l.Open(w.ctx, w.write(ledger.Flush, "a")))(w)
	s := must(w.l.Status(w.ctx))(w)
	w.same([]any{int64(1), int64(2), map[string]int64{"minute": 2}, int64(6)}, []any{s.OpenWrites, s.UncommittedFiles, s.Segments, s.SegmentBytes})
}

// observe is everything that can be seen of a ledger, as text.
func (w *world) observe() string {
	w.Helper()
	s := w.load()
	out := fmt.Sprintf("%+v\n%+v\n", must(w.l.Epochs(w.ctx))(w), *must(w.l.Progress(w.ctx))(w))
	for _, x := range s.Streams {
		out += fmt.Sprintf("%s %d %d\n", x.Name, x.Epoch, len(x.Schemas))
	}
	for _, l := range s.Logs {
		if l.CreatedAt = (time.Time{}); !l.ClosedAt.IsZero() {
			l.ClosedAt = time.Unix(0, 0).UTC() // that it is closed, not when
		}
		out += fmt.Sprintf("%+v\n", l)
	}
	for _, v := range s.Views {
		for _, x := range v.Versions {
			out += fmt.Sprintf("%s %s %s %v\n", v.Name, x.Hash, x.State, x.Cut)
			for _, a := range w.dayAudits(x.ID) {
				out += fmt.Sprintf("%+v\n", a)
			}
		}
		d, err := w.l.Read(w.ctx, ledger.Read{View: v.Name, To: 1 << 60, Tier: "day"})
		w.ok(err)
		for _, x := range d.Segments {
			out += fmt.Sprintf("%+v\n", x)
		}
	}
	for _, table := range []string{stream, ledger.DeadLetters} {
		if in := must(w.l.LastIntent(w.ctx, table))(w); in != nil {
			in.ID = ""
			out += fmt.Sprintf("%+v\n", *in)
		}
	}
	if m := must(w.l.FirstMark(w.ctx, stream, time.Unix(0, 0)))(w); m != nil {
		out += fmt.Sprintf("%+v\n", *m)
	}
	st := must(w.l.Status(w.ctx))(w)
	for i := range st.Leases {
		st.Leases[i].Expires = time.Time{}
	}
	out += fmt.Sprintf("%+v\n", *st)
	return out + fmt.Sprintf("%+v %v\n", must(w.l.Days(w.ctx, stream, 9))(w), must(w.l.CompleteTo(w.ctx, stream, ledger.Live))(w))
}

func readsWriteNothing(_ *testing.T, w *world) {
	w.setup()
	k := w.key(0)
	v, b := w.take(ledger.Live, "a", k), w.take(ledger.Batch, "b", k)
	w.flush(k, &v, 2, 1, 2)
	w.stage(k, &b, 2, 1)
	first := w.observe()
	for range 3 {
		w.same(first, w.observe())
	}
}
