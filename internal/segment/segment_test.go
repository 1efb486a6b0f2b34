package segment

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/sketch"
)

func codec(t testing.TB) *Codec {
	t.Helper()
	c, err := NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// genStates draws a block of any shape.
func genStates(t *rapid.T) *fold.States {
	n := rapid.IntRange(0, 30).Draw(t, "rows")
	s := &fold.States{N: n, Buckets: rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "buckets")}
	for range rapid.IntRange(0, 3).Draw(t, "dims") {
		d := fold.Dim{Offs: []int32{0}}
		for range rapid.IntRange(0, 5).Draw(t, "texts") {
			d.Bytes = append(d.Bytes, rapid.SliceOfN(rapid.Byte(), 0, 6).Draw(t, "text")...)
			d.Offs = append(d.Offs, int32(len(d.Bytes)))
		}
		d.Codes = rapid.SliceOfN(rapid.Uint32Range(0, uint32(d.Texts())), n, n).Draw(t, "codes")
		s.Dims = append(s.Dims, d)
	}
	ints := func() []int64 {
		return rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "ints")
	}
	floats := func() []float64 {
		return rapid.SliceOfN(rapid.OneOf(rapid.Float64(), rapid.Just(math.Inf(1)), rapid.Just(math.Inf(-1))), n, n).Draw(t, "floats")
	}
	for range rapid.IntRange(0, 8).Draw(t, "states") {
		c := fold.Column{Type: fold.Type(rapid.IntRange(int(fold.Count), int(fold.Quantile)).Draw(t, "type"))}
		switch c.Type {
		case fold.SumLong:
			c.Ints, c.High = ints(), ints()
		case fold.SumDouble:
			c.Floats, c.Rest = floats(), floats()
		case fold.MinDouble, fold.MaxDouble:
			c.Floats = floats()
		case fold.Count:
			if rapid.Bool().Draw(t, "zeros") {
				break // nil is 0 everywhere
			}
			c.Ints = ints()
		case fold.Distinct:
			c = fold.DistinctColumn(genHLLs(t, n))
		case fold.Quantile:
			genBins(t, &c, n)
		default:
			c.Ints = ints()
		}
		s.Cols = append(s.Cols, c)
	}
	return s
}

func genHLLs(t *rapid.T, n int) []sketch.HLL {
	out := make([]sketch.HLL, n)
	for i := range out {
		for k := range rapid.SampledFrom([]int{0, 1, 3, 2000}).Draw(t, "values") {
			out[i] = out[i].Add(sketch.HashLong(int64(k)))
		}
	}
	return out
}

func genBins(t *rapid.T, c *fold.Column, n int) {
	c.Offs = []int32{0}
	for range n {
		numbers := rapid.SliceOfNDistinct(rapid.Int32Range(-sketch.MaxBucket, sketch.MaxBucket), 0, 5, rapid.ID).Draw(t, "bins")
		slices.Sort(numbers)
		c.Bins = append(c.Bins, numbers...)
		for range numbers {
			c.Counts = append(c.Counts, rapid.Int64Range(1, math.MaxInt64).Draw(t, "count"))
		}
		c.Offs = append(c.Offs, int32(len(c.Bins)))
	}
}

func TestRoundTrip(t *testing.T) {
	c := codec(t)
	rapid.Check(t, func(t *rapid.T) {
		s := genStates(t)
		data, err := c.Encode(s)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.Decode(data)
		if err != nil {
			t.Fatal(err)
		}
		for i := range s.Cols {
			if c := &s.Cols[i]; c.Type == fold.Count && allZero(c.Ints) {
				c.Ints = nil
			}
		}
		if d := cmp.Diff(s, got, cmpopts.EquateEmpty(), cmpopts.IgnoreUnexported(fold.Column{})); d != "" {
			t.Fatal(d)
		}
	})
}

// Any change to a segment, and any cut, is noticed.
func TestDamageIsNoticed(t *testing.T) {
	c := codec(t)
	rapid.Check(t, func(t *rapid.T) {
		data, err := c.Encode(genStates(t))
		if err != nil {
			t.Fatal(err)
		}
		bad := slices.Clone(data)
		if rapid.Bool().Draw(t, "cut") {
			bad = bad[:rapid.IntRange(0, len(bad)-1).Draw(t, "to")]
		} else {
			bad[rapid.IntRange(0, len(bad)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		if _, err := c.Decode(bad); err == nil || (fault.KindOf(err) != fault.Corrupt && fault.KindOf(err) != fault.Config) {
			t.Fatalf("damaged segment: %v", err)
		}
	})
}

func TestNewerFormatIsRefused(t *testing.T) {
	data, err := codec(t).Encode(&fold.States{})
	if err != nil {
		t.Fatal(err)
	}
	data[4] = Version + 1
	if _, err := codec(t).Decode(data); fault.CodeOf(err) != "newer_segment" {
		t.Errorf("got %v", err)
	}
}

func TestSegmentIsArrow(t *testing.T) {
	s := &fold.States{N: 2, Buckets: []int64{1, 2}, Cols: []fold.Column{{Type: fold.Count, Ints: []int64{3, 4}}}}
	raw, err := encodeStream(s)
	if err != nil || !bytes.HasPrefix(raw, []byte{0xff, 0xff, 0xff, 0xff}) {
		t.Fatalf("%x %v", raw[:4], err)
	}
}

func FuzzDecode(f *testing.F) {
	c := codec(f)
	s := &fold.States{
		N: 2, Buckets: []int64{1, 2}, Dims: []fold.Dim{{Codes: []uint32{0, 1}, Offs: []int32{0, 1}, Bytes: []byte("a")}},
		Cols: []fold.Column{{Type: fold.Count, Ints: []int64{3, 4}}, {Type: fold.SumLong, Ints: []int64{1, 2}, High: []int64{0, 0}}},
	}
	data, err := c.Encode(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := c.Decode(data)
		if err != nil {
			if k := fault.KindOf(err); k != fault.Corrupt && k != fault.Config {
				t.Fatalf("%v is %s", err, k)
			}
			return
		}
		if _, err := c.Encode(s); err != nil {
			t.Fatal(err)
		}
	})
}

func TestPlanCompaction(t *testing.T) {
	small := func(n int, bytes, day int64) []Info { return slices.Repeat([]Info{{bytes, day}}, n) }
	for _, c := range []struct {
		name   string
		in     []Info
		settle bool
		want   []int // sizes of the groups
	}{
		{"too few to bother", small(7, 1000, 1), false, nil},
		{"a full class", small(8, 1000, 1), false, []int{8}},
		{"a backlog is merged at once, up to the target", small(3000, 1000, 1), false, []int{1048, 1048, 904}},
		{"days are kept apart", append(small(7, 1000, 1), small(7, 1000, 2)...), false, nil},
		{"classes are kept apart", append(small(7, 1000, 1), small(7, 10_000, 1)...), false, nil},
		{"large ones are left", small(20, Target/2, 1), false, nil},
		{"settling takes what there is", append(small(3, 1000, 1), small(1, 100_000, 1)...), true, []int{4}},
		{"nothing to settle", small(1, 1000, 1), true, nil},
	} {
		var got []int
		for _, g := range PlanCompaction(c.in, c.settle) {
			got = append(got, len(g))
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s: %s", c.name, d)
		}
	}
}

// Followed again and again, the plan keeps the number of segments of a day small, and rewrites each
// byte only a few times.
func TestCompactionConverges(t *testing.T) {
	var live []Info
	written, rewritten := int64(0), int64(0)
	for i := range 4 * 3600 * 24 {
		live = append(live, Info{Bytes: 300, Day: 0})
		written += 300
		if i%40 != 0 {
			continue
		}
		gone := map[int]bool{}
		for _, g := range PlanCompaction(live, false) {
			out := Info{}
			for _, j := range g {
				gone[j] = true
				out.Bytes += live[j].Bytes
			}
			rewritten += out.Bytes
			live = append(live, out)
		}
		kept := live[:0]
		for j, s := range live {
			if !gone[j] {
				kept = append(kept, s)
			}
		}
		live = kept
		if len(live) > 300 {
			t.Fatalf("%d segments after %d flushes", len(live), i)
		}
	}
	if ratio := float64(rewritten) / float64(written); ratio > 5 {
		t.Errorf("each byte rewritten %.1f times", ratio)
	}
}

func BenchmarkCodec(b *testing.B) {
	c := codec(b)
	for _, n := range []int{10, 1000, 10_000} {
		s := &fold.States{N: n, Buckets: make([]int64, n), Dims: []fold.Dim{{Codes: make([]uint32, n), Offs: []int32{0}}}}
		for i := range n {
			s.Buckets[i] = int64(i/10) * 60_000_000
			s.Dims[0].Bytes = fmt.Appendf(s.Dims[0].Bytes, "category %d", i%100)
			s.Dims[0].Offs = append(s.Dims[0].Offs, int32(len(s.Dims[0].Bytes)))
			s.Dims[0].Codes[i] = uint32(i%100 + 1)
		}
		for range 13 {
			ints := make([]int64, n)
			for i := range ints {
				ints[i] = int64(i * 7919 % 1000)
			}
			s.Cols = append(s.Cols, fold.Column{Type: fold.Count, Ints: ints})
		}
		data, err := c.Encode(s)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("encode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(len(data)), "bytes")
			for b.Loop() {
				_, _ = c.Encode(s)
			}
		})
		b.Run(fmt.Sprintf("decode/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = c.Decode(data)
			}
		})
	}
}
