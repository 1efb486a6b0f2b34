package sketch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/sketch"
)

// What Spark 3.5 answers to select xxhash64(…).
func TestHashesAreThoseOfSpark(t *testing.T) {
	if got := int64(sketch.HashText([]byte("Spark"))); got != -4294468057691064905 {
		t.Errorf("xxhash64('Spark') is %d", got)
	}
	if got := sketch.HashText(nil); int64(got) != -7444071767201028348 {
		t.Errorf("xxhash64('') is %d", int64(got))
	}
}

func TestHashIsXXH64(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := rapid.SliceOfN(rapid.Byte(), 0, 200).Draw(t, "bytes")
		d := xxhash.NewWithSeed(42)
		if _, err := d.Write(b); err != nil {
			t.Fatal(err)
		}
		if got := sketch.HashText(b); got != d.Sum64() {
			t.Fatalf("hash of %x is %x, want %x", b, got, d.Sum64())
		}
		x := rapid.Int64().Draw(t, "long")
		if got, want := sketch.HashLong(x), sketch.HashText(binary.LittleEndian.AppendUint64(nil, uint64(x))); got != want {
			t.Fatalf("hash of %d is %x, want %x", x, got, want)
		}
	})
	if sketch.HashDouble(math.Copysign(0, -1)) != sketch.HashDouble(0) {
		t.Error("−0.0 and 0.0 hash differently")
	}
}

// hashes in a small space meet often, in a large one hardly ever.
func genHashes(t *rapid.T, name string) []uint64 {
	n := rapid.SampledFrom([]int{0, 1, 5, 100, 700, 3000}).Draw(t, name+" n")
	seed := rapid.Uint64().Draw(t, name)
	out := make([]uint64, n)
	for i := range out {
		out[i] = sketch.HashLong(int64(seed) + int64(i))
		if i%7 == 0 {
			out[i] &^= 1<<rapid.IntRange(0, 52).Draw(t, "low") - 1 // a rank as large as can be
		}
	}
	return out
}

func hllOf(hashes []uint64) sketch.HLL {
	var h sketch.HLL
	for _, x := range hashes {
		h = h.Add(x)
	}
	return h
}

// In whatever order values come and however they are grouped, the bytes are the same, and they are
// the registers by definition. (M2)
func TestHLLMergeLaws(t *testing.T) {
	prove.Invariant(t, "M2")
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := genHashes(t, "a"), genHashes(t, "b"), genHashes(t, "c")
		all := slices.Concat(a, b, c, a)
		want := hllOf(all)
		if err := want.Check(); err != nil {
			t.Fatal(err)
		}
		ha, hb, hc := hllOf(a), hllOf(b), hllOf(c)
		merge := func(x, y sketch.HLL) sketch.HLL {
			before := bytes.Clone(y)
			out := sketch.HLL(bytes.Clone(x)).Merge(y)
			if !bytes.Equal(before, y) {
				t.Fatal("merge wrote into what it merged")
			}
			return out
		}
		for name, got := range map[string]sketch.HLL{
			"(ab)c": merge(merge(ha, hb), hc), "a(bc)": merge(ha, merge(hb, hc)), "(cb)a": merge(merge(hc, hb), ha),
			"((ab)c)a": merge(merge(merge(ha, hb), hc), ha),
		} {
			if !bytes.Equal(got, want) {
				t.Fatalf("%s gives other bytes", name)
			}
		}
		registers := map[int]uint8{}
		for _, x := range all {
			low := x & (1<<52 - 1)
			rank := uint8(53)
			if low != 0 {
				rank = uint8(53 - len(fmt.Sprintf("%b", low)))
			}
			registers[int(x>>52)] = max(registers[int(x>>52)], rank)
		}
		n := 0
		want.Each(func(r int, rank uint8) {
			if n++; registers[r] != rank {
				t.Fatalf("register %d is %d, want %d", r, rank, registers[r])
			}
		})
		if n != len(registers) || want.Dense() != (n > sketch.SparseMax) {
			t.Fatalf("%d registers, want %d; dense: %v", n, len(registers), want.Dense())
		}
	})
}

func TestHLLRefusesOtherBytes(t *testing.T) {
	dense := make(sketch.HLL, sketch.Registers)
	for _, h := range []sketch.HLL{{1}, {0, 0, 0}, {0, 0, 65, 0, 0, 65}, {255, 0, 65}, dense, bytes.Repeat([]byte{60}, sketch.Registers)} {
		if h.Check() == nil {
			t.Errorf("%d bytes %v pass", len(h), h[:min(len(h), 6)])
		}
	}
}

// Few values are counted exactly or nearly so, many within five standard errors. bench/ has figures.
func TestEstimate(t *testing.T) {
	var h sketch.HLL
	if h.Estimate() != 0 {
		t.Error("the empty set is not empty")
	}
	for n := 1; n <= 300_000; n++ {
		h = h.Add(sketch.HashLong(int64(n)))
		if n > 2000 && n%10_000 != 0 {
			continue
		}
		got := h.Estimate()
		if off := math.Abs(got - float64(n)); (n <= 10 && off >= 0.5) || off > 2+5*0.01625*float64(n) {
			t.Errorf("%d values: %v", n, got)
		}
	}
}

// The bucket of a value is what §6 says of it, computed with exact numbers.
func TestBucketIsItsDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		if rapid.Bool().Draw(t, "edge") {
			x = math.Ldexp(1+float64(rapid.IntRange(0, 64).Draw(t, "sub"))/64, rapid.IntRange(-1074, 1023).Draw(t, "e"))
			x = math.Nextafter(x, x*float64(rapid.IntRange(0, 2).Draw(t, "side")))
		}
		if x-x != 0 {
			t.Skip("not finite")
		}
		if got, want := sketch.Bucket(x), bucketByDefinition(x); got != want {
			t.Fatalf("bucket of %v is %d, want %d", x, got, want)
		}
		if sketch.Bucket(-x) != -sketch.Bucket(x) {
			t.Fatalf("%v and its negative are not opposite", x)
		}
		if m := sketch.Middle(sketch.Bucket(x)); math.Abs(x) > 1e-300 && math.Abs(m-x) > sketch.QuantileError*math.Abs(x) {
			t.Fatalf("the middle of the bucket of %v is %v", x, m)
		}
		y := math.Float64frombits(rapid.Uint64().Draw(t, "other"))
		if y-y == 0 && x < y && sketch.Bucket(x) > sketch.Bucket(y) {
			t.Fatalf("%v < %v, but %d > %d", x, y, sketch.Bucket(x), sketch.Bucket(y))
		}
	})
	if sketch.Bucket(math.MaxFloat64) != sketch.MaxBucket || sketch.Bucket(math.Copysign(0, -1)) != 0 {
		t.Error("the greatest bucket or that of zero")
	}
}

func bucketByDefinition(x float64) int32 {
	if x == 0 {
		return 0
	}
	abs := new(big.Float).SetPrec(200).SetFloat64(math.Abs(x))
	e := abs.MantExp(nil) - 1
	part := new(big.Float).SetPrec(200).SetMantExp(abs, -e)
	part.Mul(part.Sub(part, big.NewFloat(1)), big.NewFloat(64))
	sub, _ := part.Int64()
	k := int32((e+1075)*64) + int32(sub) + 1
	if x < 0 {
		return -k
	}
	return k
}

// The value shown for a rank is near the value that really has it.
func TestQuantileIsNearTheValueOfItsRank(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Float64Range(-1e9, 1e9), 1, 60).Draw(t, "values")
		p := rapid.SampledFrom([]float64{0, 0.01, 0.07, 0.5, 0.9, 0.95, 0.99, 0.999, 1}).Draw(t, "p")
		count := map[int32]int64{}
		for _, x := range values {
			count[sketch.Bucket(x)]++
		}
		var buckets []int32
		for k := range count {
			buckets = append(buckets, k)
		}
		slices.Sort(buckets)
		counts := make([]int64, len(buckets))
		for i, k := range buckets {
			counts[i] = count[k]
		}
		slices.Sort(values)
		got := sketch.Quantile(buckets, counts, p, values[0], values[len(values)-1])
		want := values[sketch.Rank(p, uint64(len(values)))-1]
		if math.Abs(got-want) > sketch.QuantileError*math.Abs(want) {
			t.Fatalf("quantile %v of %v is %v, want about %v", p, values, got, want)
		}
	})
}

func TestRank(t *testing.T) {
	for _, c := range []struct {
		p       float64
		n, want uint64
	}{
		{0.5, 1, 1},
		{0.5, 2, 1},
		{0.5, 3, 2},
		{0.07, 100, 7},
		{0.95, 100, 95},
		{0.95, 101, 96},
		{0, 5, 1},
		{1, 5, 5},
		{0.999, 1 << 62, 4607074332408960517},
		{1e-30, 5, 1},
		{0.1, 10, 1},
		{0.3, 10, 3},
		{0.29, 100, 29},
	} {
		if got := sketch.Rank(c.p, c.n); got != c.want {
			t.Errorf("rank of %v among %d is %d, want %d", c.p, c.n, got, c.want)
		}
	}
}

// Bytes that Check lets pass are registers: they give themselves back, merge and have an estimate.
func FuzzHLL(f *testing.F) {
	f.Add([]byte{0, 0, 65}, []byte{0, 1, 3})
	f.Add([]byte(hllOf([]uint64{1, 2, 1 << 60})), bytes.Repeat([]byte{1}, sketch.Registers))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		x, y := sketch.HLL(a), sketch.HLL(b)
		if x.Check() != nil || y.Check() != nil {
			return
		}
		var again sketch.HLL
		x.Each(func(r int, rank uint8) { again = again.Set(r, rank) })
		if !bytes.Equal(again, x) {
			t.Fatalf("%x gives back %x", x, again)
		}
		m := sketch.HLL(bytes.Clone(x)).Merge(y)
		if err := m.Check(); err != nil || m.Estimate() < x.Estimate()*0.999 || !bytes.Equal(m, sketch.HLL(bytes.Clone(y)).Merge(x)) {
			t.Fatalf("%x and %x merge to %x: %v", x, y, m, err)
		}
	})
}
