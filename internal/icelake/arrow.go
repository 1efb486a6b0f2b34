package icelake

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/pinflow/pinflow/internal/column"
)

// toArrow wraps a column as an Arrow array of type dt. Numbers and texts share the column's memory, so
// the array lives no longer than the column's next change. A column of kind Invalid is all NULL.
func toArrow(v *column.Vec, n int, dt arrow.DataType) (arrow.Array, error) {
	if v.Kind == column.Invalid {
		return array.MakeArrayOfNull(memory.DefaultAllocator, dt, n), nil
	}
	if v.Len != n {
		return nil, fmt.Errorf("column has %d values, not %d", v.Len, n)
	}
	v = v.Flat()
	valid, nulls := bitmap(v.Valid)
	buffers := []*memory.Buffer{valid}
	var children []arrow.ArrayData
	switch v.Kind {
	case column.Long, column.Timestamptz:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int64Traits.CastToBytes(v.Ints)))
	case column.Double:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Float64Traits.CastToBytes(v.Floats)))
	case column.Boolean:
		buffers = append(buffers, memory.NewBufferBytes(packBits(v.Ints)))
	case column.Date:
		days := make([]int32, n)
		for i, d := range v.Ints {
			days[i] = int32(d)
		}
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(days)))
	case column.String, column.JSON:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(v.Offs)), memory.NewBufferBytes(v.Bytes))
	case column.List:
		buffers = append(buffers, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(v.ListOffs)))
		texts := []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(v.Offs)), memory.NewBufferBytes(v.Bytes)}
		children = []arrow.ArrayData{array.NewData(dt.(*arrow.ListType).Elem(), len(v.Offs)-1, texts, nil, 0, 0)}
	case column.Invalid:
	}
	return array.MakeFromData(array.NewData(dt, n, buffers, children, nulls, 0)), nil
}

// bitmap packs a validity, nil for a column without NULL.
func bitmap(valid []bool) (*memory.Buffer, int) {
	if len(valid) == 0 {
		return nil, 0
	}
	packed := make([]byte, bitutil.BytesForBits(int64(len(valid))))
	nulls := 0
	for i, ok := range valid {
		if ok {
			packed[i>>3] |= 1 << (i & 7)
		} else {
			nulls++
		}
	}
	if nulls == 0 {
		return nil, 0
	}
	return memory.NewBufferBytes(packed), nulls
}

func packBits(values []int64) []byte {
	packed := make([]byte, bitutil.BytesForBits(int64(len(values))))
	for i, v := range values {
		if v != 0 {
			packed[i>>3] |= 1 << (i & 7)
		}
	}
	return packed
}
