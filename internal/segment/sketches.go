package segment

import (
	"fmt"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/sketch"
)

// hllsOf reads the registers of distinct counts, all into one piece of memory.
func hllsOf(a arrow.Array, name string, n int) (fold.Column, error) {
	x, ok := a.(*array.Binary)
	if !ok {
		return fold.Column{}, fmt.Errorf("no binary column %s", name)
	}
	offs := x.ValueOffsets()
	data := slices.Clone(x.ValueBytes())
	out := make([]sketch.HLL, n)
	for i := range out {
		from, to := offs[i]-offs[0], offs[i+1]-offs[0]
		if from == to {
			continue
		}
		out[i] = data[from:to:to]
		if err := out[i].Check(); err != nil {
			return fold.Column{}, fmt.Errorf("row %d: %w", i, err)
		}
	}
	return fold.DistinctColumn(out), nil
}

// binsOf reads the buckets and counts of quantiles.
func binsOf(a, b arrow.Array, name string, n int) (fold.Column, error) {
	out := fold.Column{Type: fold.Quantile}
	bins, ok := a.(*array.List)
	if !ok {
		return out, fmt.Errorf("no list column %s", name)
	}
	counts, ok := b.(*array.List)
	if !ok || !slices.Equal(bins.Offsets(), counts.Offsets()) {
		return out, fmt.Errorf("no counts beside the buckets of %s", name)
	}
	numbers, ok := bins.ListValues().(*array.Int32)
	if !ok {
		return out, fmt.Errorf("buckets of %s are no int32", name)
	}
	values, ok := counts.ListValues().(*array.Int64)
	if !ok {
		return out, fmt.Errorf("counts of %s are no int64", name)
	}
	out.Offs = append(make([]int32, 0, n+1), bins.Offsets()...)
	out.Bins = append(make([]int32, 0, numbers.Len()), numbers.Int32Values()...)
	out.Counts = append(make([]int64, 0, values.Len()), values.Int64Values()...)
	return out, checkBins(&out, name, n)
}

func checkBins(c *fold.Column, name string, n int) error {
	if len(c.Offs) != n+1 || c.Offs[0] != 0 || int(c.Offs[n]) != len(c.Bins) || len(c.Bins) != len(c.Counts) {
		return fmt.Errorf("lists of %s do not fit", name)
	}
	for i := range n {
		for k := c.Offs[i]; k < c.Offs[i+1]; k++ {
			if b := c.Bins[k]; b < -sketch.MaxBucket || b > sketch.MaxBucket || c.Counts[k] <= 0 || (k > c.Offs[i] && b <= c.Bins[k-1]) {
				return fmt.Errorf("bad bucket of %s in row %d", name, i)
			}
		}
	}
	return nil
}
