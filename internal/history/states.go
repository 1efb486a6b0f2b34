package history

import (
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/metric"
)

// Elsewhere says how an engine that runs emitted SQL folds rows: with one statement for those of some
// schemas. Rows whose schema is not named are the kernel's: a field that the version reads was declared
// after they were written, and is computed from their original members.
type Elsewhere struct {
	Schemas []int32
	SQL     string
}

// Elsewhere gives the statements for the rows given (its Schemas are not looked at). A version with something
// that only the kernel has is refused.
func (r *Reader) Elsewhere(rows metric.Rows, present map[int32]int64) ([]Elsewhere, error) {
	of := map[*target][]int32{}
	for version, n := range present {
		if l := r.lanes[version]; n > 0 && l != nil && !l.older {
			of[l.to] = append(of[l.to], version)
		}
	}
	var out []Elsewhere
	for _, t := range r.targets {
		if rows.Schemas = of[t]; len(rows.Schemas) == 0 {
			continue
		}
		slices.Sort(rows.Schemas)
		sql, err := t.c.FlatSQL(rows)
		if err != nil {
			return nil, fault.New(fault.Record, "kernel_only", "%w", err).WithAdvice("fill in its history by the engine kernel")
		}
		out = append(out, Elsewhere{Schemas: rows.Schemas, SQL: sql})
	}
	return out, nil
}

// Knows tells whether the ledger has a schema.
func (r *Reader) Knows(schema int32) bool { return r.lanes[schema] != nil }

// Only has Add fold the rows that Elsewhere leaves to the kernel, and pass over the others.
func (r *Reader) Only(others []Elsewhere) {
	r.passed = map[int32]bool{}
	for _, e := range others {
		for _, v := range e.Schemas {
			r.passed[v] = true
		}
	}
}

// AddStates takes states that were folded elsewhere: rows of the columns of metric's Flat.
func (r *Reader) AddStates(b *lake.Block) error {
	c := r.Compiled()
	cols := make([]*column.Vec, 0, len(c.Dims)+len(c.States)+2)
	for _, f := range c.Flat() {
		i := b.Index(f.Name)
		if i < 0 || b.Cols[i].Kind != f.Kind {
			return fault.New(fault.Corrupt, "bad_states", "states folded elsewhere have no column %s of %s", f.Name, f.Kind)
		}
		cols = append(cols, &b.Cols[i])
	}
	out := fold.NewBuilder(c)
	dims := make([]fold.Scalar, len(c.Dims))
	for i := range b.N {
		rest, whole := cols, false
		if c.Unnest >= 0 {
			whole, rest = rest[0].Ints[i] != 0, rest[1:]
		}
		bucket := rest[0].Ints[i]
		for d := range dims {
			dims[d] = scalarOf(rest[1+d], i)
		}
		out.Group(bucket, whole, dims)
		for k, v := range rest[1+len(dims):] {
			if v.IsNull(i) {
				continue
			}
			if err := setState(out, k, fold.TypeOf(c.States[k]), v, i); err != nil {
				return fault.New(fault.Corrupt, "bad_states", "states folded elsewhere: state %d: %w", k, err)
			}
		}
	}
	states, err := out.States()
	if err != nil {
		return fault.New(fault.Corrupt, "bad_states", "states folded elsewhere: %w", err)
	}
	r.taken = append(r.taken, states)
	return nil
}

func scalarOf(v *column.Vec, i int) fold.Scalar {
	switch {
	case v.IsNull(i):
		return fold.Scalar{Null: true}
	case v.Kind == column.String:
		return fold.Scalar{Text: string(v.Text(i))}
	case v.Kind == column.Double:
		return fold.Scalar{Float: v.Floats[i]}
	}
	return fold.Scalar{Int: v.Ints[i]}
}

func setState(b *fold.Builder, state int, t fold.Type, v *column.Vec, i int) error {
	switch t {
	case fold.SumLong:
		x, ok := new(big.Int).SetString(string(v.Text(i)), 10)
		if !ok || x.BitLen() > 127 {
			return fmt.Errorf("a sum that is %q", v.Text(i))
		}
		low := new(big.Int).And(x, new(big.Int).SetUint64(1<<64-1))
		b.Sum(state, new(big.Int).Rsh(x, 64).Int64(), low.Uint64())
	case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
		b.Double(state, v.Floats[i])
	case fold.Distinct:
		var packed []int64
		for k := v.ListOffs[i]; k < v.ListOffs[i+1]; k++ {
			x, err := strconv.ParseInt(element(v, k), 10, 64)
			if err != nil {
				return fmt.Errorf("reading a register: %w", err)
			}
			packed = append(packed, x)
		}
		b.Registers(state, packed)
	case fold.Quantile:
		var bins []fold.Bin
		for k := v.ListOffs[i]; k < v.ListOffs[i+1]; k++ {
			bin, n, _ := strings.Cut(element(v, k), ":")
			at, err1 := strconv.ParseInt(bin, 10, 32)
			count, err2 := strconv.ParseInt(n, 10, 64)
			if err1 != nil || err2 != nil {
				return fmt.Errorf("a bucket that is %q", element(v, k))
			}
			bins = append(bins, fold.Bin{Bin: int32(at), N: count})
		}
		b.Bins(state, bins)
	default:
		b.Long(state, v.Ints[i])
	}
	return nil
}

func element(v *column.Vec, k int32) string { return string(v.Bytes[v.Offs[k]:v.Offs[k+1]]) }
