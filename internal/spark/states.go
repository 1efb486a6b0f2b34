package spark

import (
	"context"
	"errors"
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// rowsAtOnce bounds a block of states.
const rowsAtOnce = 8 << 10

// read shows the states of a file that a statement of the view made.
func (e *Engine) read(ctx context.Context, c *metric.Compiled, at string, fn func(*fold.States) error) (err error) {
	in, err := e.staging.OpenStaged(at)
	if err != nil {
		return err
	}
	f, err := file.NewParquetReader(in)
	if err != nil {
		return errors.Join(err, closeOf(in))
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	r, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{BatchSize: rowsAtOnce}, memory.DefaultAllocator)
	if err != nil {
		return err
	}
	records, err := r.GetRecordReader(ctx, nil, nil)
	if err != nil {
		return err
	}
	defer records.Release()
	for records.Next() {
		s, err := statesOf(c, records.RecordBatch())
		if err != nil {
			return err
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return records.Err()
}

func closeOf(x any) error {
	if c, ok := x.(interface{ Close() error }); ok {
		return c.Close()
	}
	return nil
}

// answer is rows of a statement: the columns that metric.Compiled.SQL documents.
type answer struct {
	c      *metric.Compiled
	whole  arrow.Array // nil without an unnested dimension
	bucket arrow.Array
	dims   []arrow.Array
	states []arrow.Array
}

// statesOf makes a block of rows of a statement.
func statesOf(c *metric.Compiled, rec arrow.RecordBatch) (*fold.States, error) {
	a := &answer{c: c}
	var missing error
	find := func(name string) arrow.Array {
		at := rec.Schema().FieldIndices(name)
		if len(at) != 1 {
			missing = errors.Join(missing, fmt.Errorf("%d columns are called %s", len(at), name))
			return nil
		}
		return rec.Column(at[0])
	}
	if c.Unnest >= 0 {
		a.whole = find("whole")
	}
	a.bucket = find("bucket")
	for i := range c.Dims {
		a.dims = append(a.dims, find(fmt.Sprintf("d%d", i)))
	}
	for i := range c.States {
		a.states = append(a.states, find(fmt.Sprintf("s%d", i)))
	}
	if missing != nil {
		return nil, missing
	}
	b := fold.NewBuilder(c)
	for row := range int(rec.NumRows()) {
		if err := a.row(b, row); err != nil {
			return nil, err
		}
	}
	return b.States()
}

func (a *answer) row(b *fold.Builder, row int) error {
	bucket, err := long(a.bucket, row)
	if err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	whole := false
	if a.whole != nil {
		flag, ok := a.whole.(*array.Boolean)
		if !ok {
			return fmt.Errorf("whole is %s", a.whole.DataType())
		}
		whole = flag.Value(row)
	}
	dims := make([]fold.Scalar, len(a.dims))
	for i, v := range a.dims {
		if dims[i], err = scalar(v, row); err != nil {
			return fmt.Errorf("dimension %d: %w", i, err)
		}
	}
	b.Group(bucket, whole, dims)
	for i, v := range a.states {
		if v.IsNull(row) {
			continue // of no row
		}
		if err := set(b, i, fold.TypeOf(a.c.States[i]), v, row); err != nil {
			return fmt.Errorf("state %d: %w", i, err)
		}
	}
	return nil
}

func scalar(v arrow.Array, row int) (fold.Scalar, error) {
	if v.IsNull(row) {
		return fold.Scalar{Null: true}, nil
	}
	switch v := v.(type) {
	case *array.String:
		return fold.Scalar{Text: v.Value(row)}, nil
	case *array.Float64:
		return fold.Scalar{Float: v.Value(row)}, nil
	case *array.Boolean:
		if v.Value(row) {
			return fold.Scalar{Int: 1}, nil
		}
		return fold.Scalar{}, nil
	}
	x, err := long(v, row)
	return fold.Scalar{Int: x}, err
}

// long is a whole number: literals are narrower than columns.
func long(v arrow.Array, row int) (int64, error) {
	switch v := v.(type) {
	case *array.Int64:
		return v.Value(row), nil
	case *array.Int32:
		return int64(v.Value(row)), nil
	}
	return 0, fmt.Errorf("%s is no whole number", v.DataType())
}

// set sets a state that is not NULL.
func set(b *fold.Builder, i int, t fold.Type, v arrow.Array, row int) error {
	switch t {
	case fold.SumLong:
		if d, ok := v.(*array.Decimal128); ok {
			if scale := v.DataType().(*arrow.Decimal128Type).Scale; scale != 0 {
				return fmt.Errorf("a sum of whole numbers with %d places", scale)
			}
			b.Sum(i, d.Value(row).HighBits(), d.Value(row).LowBits())
			return nil
		}
		x, err := long(v, row)
		b.Sum(i, x>>63, uint64(x))
		return err
	case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
		d, ok := v.(*array.Float64)
		if !ok {
			return fmt.Errorf("%s is no double", v.DataType())
		}
		b.Double(i, d.Value(row))
		return nil
	case fold.Distinct, fold.Quantile:
		list, ok := v.(*array.List)
		if !ok {
			return fmt.Errorf("%s is no list", v.DataType())
		}
		from, to := list.ValueOffsets(row)
		if t == fold.Distinct {
			return registers(b, i, list.ListValues(), int(from), int(to))
		}
		return bins(b, i, list.ListValues(), int(from), int(to))
	case fold.Invalid, fold.Count, fold.MinLong, fold.MaxLong:
	}
	x, err := long(v, row)
	b.Long(i, x)
	return err
}

func registers(b *fold.Builder, i int, v arrow.Array, from, to int) error {
	packed := make([]int64, 0, to-from)
	for k := from; k < to; k++ {
		x, err := long(v, k)
		if err != nil {
			return err
		}
		packed = append(packed, x)
	}
	b.Registers(i, packed)
	return nil
}

func bins(b *fold.Builder, i int, v arrow.Array, from, to int) error {
	pairs, ok := v.(*array.Struct)
	if !ok || pairs.NumField() != 2 {
		return fmt.Errorf("%s is no pair", v.DataType())
	}
	out := make([]fold.Bin, 0, to-from)
	for k := from; k < to; k++ {
		bin, err := long(pairs.Field(0), k)
		if err != nil {
			return err
		}
		n, err := long(pairs.Field(1), k)
		if err != nil {
			return err
		}
		out = append(out, fold.Bin{Bin: int32(bin), N: n})
	}
	b.Bins(i, out)
	return nil
}
