package history_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/history"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/span"
)

var at = time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)

func stream(grace time.Duration, more ...event.Field) event.Stream {
	return event.Stream{
		Name: "pin", Topic: "pin", EventTime: "event_time", MaxAge: 3650 * 24 * time.Hour, Grace: grace,
		Fields: append([]event.Field{{Name: "category", Type: "string"}}, more...),
	}
}

// schemas of the stream: the second declares a field of a member that rows had all along.
func schemas() []ledger.SchemaVersion {
	return []ledger.SchemaVersion{
		{Version: 1, Definition: stream(10 * time.Minute)},
		{Version: 2, Definition: stream(10*time.Minute, event.Field{Name: "points", Type: "long", From: "score"})},
		{Version: 3, Definition: stream(10*time.Minute, event.Field{Name: "points", Type: "long", From: "score"}, event.Field{Name: "mood", Type: "string"})},
	}
}

func compile(t *testing.T, v ledger.SchemaVersion) *event.Schema {
	t.Helper()
	s, err := event.CompileAfter(v.Definition, v.Version, schemas()[0].Definition)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// snapshot has one view, made under a schema.
func snapshot(t *testing.T, schema int32, score string) *ledger.Snapshot {
	t.Helper()
	c, problems := metric.Compile(metric.View{
		Version: 1, Name: "scores", Stream: "pin", Dimensions: []metric.Dimension{{Name: "category"}},
		Measures: []metric.Measure{{Name: "n", Agg: "count"}, {Name: "score", Agg: "sum", Expr: score}, {Name: "half", Agg: "sum", Expr: "cast(_extra.half as double)"}},
	}, compile(t, schemas()[schema-1]))
	if c == nil {
		t.Fatal(problems)
	}
	return &ledger.Snapshot{
		Streams: []ledger.Stream{{Name: "pin", Schemas: schemas()}},
		Views: []ledger.View{{Name: "scores", Stream: "pin", Versions: []ledger.ViewVersion{{
			ID: 7, Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata(), State: ledger.Building, Schema: schema,
		}}}},
	}
}

// block is rows of partition p, each judged under the schema given; its columns are the newest table's.
func block(t *testing.T, p int32, first int64, judged ...int32) *lake.Block {
	t.Helper()
	table := lake.Columns(compile(t, schemas()[2]))
	out := &lake.Block{Columns: table, Cols: make([]column.Vec, len(table))}
	var parts [][]column.Vec
	for i, v := range judged {
		s := compile(t, schemas()[v-1])
		d := s.NewDecoder(nil)
		r := event.Record{Key: span.Key{Log: 1, Partition: p}, Offset: first + int64(i), Received: at.UnixMicro(), ID: strconv.Itoa(i), Value: fmt.Appendf(nil, `{"event_time":%q,"category":"c%d","score":%d,"half":%d.5,"mood":"m"}`, at.Format(time.RFC3339), i%2, 1<<i, -i)}
		if x := d.Append(&r); x.Dead() {
			t.Fatalf("%+v", x)
		}
		rows := d.Rows()
		row := make([]column.Vec, len(table))
		for k, c := range table {
			if j := s.Index(c.Name); j >= 0 {
				row[k] = rows.Cols[j]
			} else {
				row[k] = nulls(c.Kind)
			}
		}
		parts = append(parts, row)
	}
	for k := range table {
		out.Cols[k] = join(parts, k)
	}
	out.N = len(judged)
	return out
}

func nulls(kind column.Kind) column.Vec {
	v := column.Vec{Kind: kind, Len: 1, Valid: []bool{false}}
	switch kind {
	case column.Double:
		v.Floats = []float64{0}
	case column.String, column.JSON:
		v.Offs = []int32{0, 0}
	default:
		v.Ints = []int64{0}
	}
	return v
}

// join makes one vector of column k of rows.
func join(rows [][]column.Vec, k int) column.Vec {
	out := column.Vec{Kind: rows[0][k].Kind, Len: len(rows)}
	for _, r := range rows {
		v := r[k]
		out.Valid = append(out.Valid, !v.IsNull(0))
		switch v.Kind {
		case column.Double:
			out.Floats = append(out.Floats, v.Floats[0])
		case column.String, column.JSON:
			if out.Offs == nil {
				out.Offs = []int32{0}
			}
			if !v.IsNull(0) {
				out.Bytes = append(out.Bytes, v.Text(0)...)
			}
			out.Offs = append(out.Offs, int32(len(out.Bytes)))
		default:
			out.Ints = append(out.Ints, v.Ints[0])
		}
	}
	return out
}

// only keeps the columns that the reader asks for, as a scan does.
func only(r *history.Reader, b *lake.Block) *lake.Block {
	out := &lake.Block{N: b.N}
	for i, c := range b.Columns {
		if slices.Contains(r.Columns(), c.Name) {
			out.Columns, out.Cols = append(out.Columns, c), append(out.Cols, b.Cols[i])
		}
	}
	return out
}

func reader(t *testing.T, snap *ledger.Snapshot, open func(*ledger.Snapshot, int64) (*history.Reader, error)) *history.Reader {
	t.Helper()
	r, err := open(snap, 7)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// scores sums up what the reader holds: the score by category, and all rows.
func scores(t *testing.T, r *history.Reader) map[string]int64 {
	t.Helper()
	st, err := fold.Regroup(r.Folded(), fold.Everything(r.Folded(), r.Compiled().Grain), r.Take()...)
	if err != nil {
		t.Fatal(err)
	}
	places := make([]int, len(r.Compiled().States))
	for i := range places {
		places[i] = i
	}
	out := map[string]int64{}
	for i := range st.N {
		name := string(st.Dims[0].Text(st.Dims[0].Codes[i]))
		out[name] += int64(fold.Value(r.Compiled().Measure("score"), st, places, i).Low)
		out["rows"] += int64(fold.Value(r.Compiled().Measure("n"), st, places, i).Low)
	}
	return out
}

func everything(span.Key) span.Range { return span.Range{To: 1 << 60} }

// Rows of every schema in one block count the same, whether the member is read from what no schema declared,
// or from a field that some of the rows are older than.
func TestRowsOfEverySchema(t *testing.T) {
	for name, tc := range map[string]struct {
		schema int32
		score  string
	}{
		"a member of _extra":    {1, "cast(_extra.score as long)"},
		"a field declared last": {2, "points"},
		"under a newer schema":  {3, "points"},
	} {
		t.Run(name, func(t *testing.T) {
			r := reader(t, snapshot(t, tc.schema, tc.score), history.New)
			judged := []int32{1, 2, 1, 3, 3, 2, 1}
			if tc.schema == 1 {
				judged = []int32{1, 1, 1, 1, 1, 1, 1} // a declared member is in its column, not in _extra
			}
			if err := r.Add(only(r, block(t, 0, 0, judged...)), everything); err != nil {
				t.Fatal(err)
			}
			want := map[string]int64{"c0": 1 + 4 + 16 + 64, "c1": 2 + 8 + 32, "rows": 7}
			if diff := cmp.Diff(want, scores(t, r)); diff != "" || r.Rows != 7 || r.Below != 0 {
				t.Errorf("%d rows, %d below: -want +got\n%s", r.Rows, r.Below, diff)
			}
			if got := scores(t, r); len(got) != 0 {
				t.Errorf("Take left %v", got)
			}
		})
	}
}

// Only offsets within a partition's bounds are folded; those below are counted.
func TestBounds(t *testing.T) {
	r := reader(t, snapshot(t, 2, "points"), history.New)
	in := func(k span.Key) span.Range {
		if k.Partition == 0 {
			return span.Range{From: 12, To: 15}
		}
		return span.Range{To: 3}
	}
	for _, b := range []*lake.Block{block(t, 0, 10, 1, 1, 2, 2, 2, 2, 2), block(t, 1, 0, 1, 2, 2, 2)} {
		if err := r.Add(only(r, b), in); err != nil {
			t.Fatal(err)
		}
	}
	// 12, 13, 14 of the first are 4, 8, 16; 0, 1, 2 of the second 1, 2, 4.
	want := map[string]int64{"c0": 4 + 16 + 1 + 4, "c1": 8 + 2, "rows": 6}
	if diff := cmp.Diff(want, scores(t, r)); diff != "" || r.Rows != 6 || r.Below != 2 {
		t.Errorf("%d rows, %d below: -want +got\n%s", r.Rows, r.Below, diff)
	}
}

// An audit's states are the view's and Σ|x| of each sum of doubles.
func TestMagnitudes(t *testing.T) {
	r := reader(t, snapshot(t, 1, "cast(_extra.score as long)"), history.ForAudit)
	if err := r.Add(only(r, block(t, 0, 0, 1, 1, 1)), everything); err != nil { // halves 0.5, −1.5, −2.5
		t.Fatal(err)
	}
	c := r.Compiled()
	half := c.Measure("half").States[0]
	at := c.MagnitudeState(half)
	if at != len(c.States) || c.MagnitudeState(c.Measure("score").States[0]) != -1 || len(r.Folded().States) != len(c.States)+1 {
		t.Fatalf("it is state %d of %d", at, len(r.Folded().States))
	}
	st, err := fold.Regroup(r.Folded(), fold.Everything(r.Folded(), c.Grain), r.Take()...)
	if err != nil {
		t.Fatal(err)
	}
	var sum, magnitude float64
	for i := range st.N {
		sum, magnitude = sum+st.Cols[half].Floats[i], magnitude+st.Cols[at].Floats[i]
	}
	if magnitude != 4.5 || sum == magnitude {
		t.Errorf("the sum is %g, Σ|x| %g", sum, magnitude)
	}
}

func TestFaults(t *testing.T) {
	snap := snapshot(t, 1, "cast(_extra.score as long)")
	if _, err := history.New(snap, 8); !fault.Is(err, fault.Lost) {
		t.Errorf("a version that is gone: %v", err)
	}
	if _, err := history.New(&ledger.Snapshot{Views: snap.Views}, 7); fault.CodeOf(err) != "no_schema" {
		t.Errorf("a stream that is gone: %v", err)
	}
	r := reader(t, snap, history.New)
	b := only(r, block(t, 0, 0, 1, 1))
	b.Cols[b.Index(event.ColumnSchema)].Ints[1] = 9
	if err := r.Add(b, everything); fault.CodeOf(err) != "no_schema" {
		t.Errorf("a row of an unknown schema: %v", err)
	}
	b = only(r, block(t, 0, 0, 1))
	b.Columns[b.Index(event.ColumnOffset)].Name = "other"
	if err := r.Add(b, everything); fault.CodeOf(err) != "lake_column" {
		t.Errorf("a block without offsets: %v", err)
	}
}

// What a scan may leave out because rows are wanted as a whole changes nothing: for any cuts, and rows of any
// schema, the sums are those of the rows read one by one.
func TestRowsWantedAsAWholeCountTheSame(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		snap := snapshot(t, 2, "points")
		cuts := [2]int64{rapid.Int64Range(0, 12).Draw(rt, "cut of 0"), rapid.Int64Range(0, 12).Draw(rt, "cut of 1")}
		bounds := func(k span.Key) span.Range { return span.Range{To: cuts[k.Partition]} }
		one, whole := reader(t, snap, history.New), reader(t, snap, history.New)
		sel := whole.Select(lake.Selection{Table: "pin"}, bounds)
		for range rapid.IntRange(1, 4).Draw(rt, "blocks") {
			p, first := int32(rapid.IntRange(0, 1).Draw(rt, "partition")), rapid.Int64Range(0, 10).Draw(rt, "first")
			judged := slices.Repeat([]int32{int32(rapid.IntRange(1, 3).Draw(rt, "schema"))}, rapid.IntRange(1, 6).Draw(rt, "rows"))
			b := only(one, block(t, p, first, judged...))
			if err := one.Add(b, bounds); err != nil {
				rt.Fatal(err)
			}
			origin := lake.Origin{
				Log: 1, Schema: judged[0], FirstPartition: p, LastPartition: p, Offsets: span.Range{From: first, To: first + int64(len(judged))},
			}
			if sel.Whole(origin) {
				b = b.Pick(sequence(b.N))
				b.Origin = &origin
				for _, name := range sel.Spare {
					i := b.Index(name)
					b.Columns, b.Cols = slices.Delete(slices.Clone(b.Columns), i, i+1), slices.Delete(b.Cols, i, i+1)
				}
			}
			if err := whole.Add(b, bounds); err != nil {
				rt.Fatal(err)
			}
			origin.FirstPartition, origin.LastPartition = 0, 1
			if sel.Whole(origin) != (origin.Offsets.To <= min(cuts[0], cuts[1])) {
				rt.Fatalf("offsets %v of two partitions, cuts %v: %v", origin.Offsets, cuts, sel.Whole(origin))
			}
			if origin.Schema = 9; sel.Whole(origin) {
				rt.Fatal("rows of an unknown schema are wanted as a whole")
			}
		}
		if one.Rows != whole.Rows {
			rt.Fatalf("%d rows, not %d", whole.Rows, one.Rows)
		}
		if diff := cmp.Diff(scores(t, one), scores(t, whole)); diff != "" {
			rt.Fatal(diff)
		}
	})
}

func sequence(n int) []int32 {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return rows
}
