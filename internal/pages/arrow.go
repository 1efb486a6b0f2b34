package pages

import (
	"fmt"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/pinflow/pinflow/internal/column"
)

// FromArrow makes a column of an Arrow array. Numbers and texts share the array's memory. The array is
// of the type that the kind has in a table.
func FromArrow(a arrow.Array, kind column.Kind) (column.Vec, error) {
	v := column.Vec{Kind: kind, Len: a.Len()}
	if a.NullN() > 0 {
		v.Valid = make([]bool, a.Len())
		for i := range v.Valid {
			v.Valid[i] = a.IsValid(i)
		}
	}
	switch a := a.(type) {
	case *array.Int64:
		v.Ints = a.Int64Values()
	case *array.Timestamp:
		v.Ints = arrow.Int64Traits.CastFromBytes(arrow.TimestampTraits.CastToBytes(a.TimestampValues()))
	case *array.Float64:
		v.Floats = a.Float64Values()
	case *array.Boolean:
		v.Ints = make([]int64, a.Len())
		for i := range v.Ints {
			if a.Value(i) {
				v.Ints[i] = 1
			}
		}
	case *array.Date32:
		v.Ints = make([]int64, a.Len())
		for i, d := range a.Date32Values() {
			v.Ints[i] = int64(d)
		}
	case *array.String:
		v.Offs, v.Bytes = texts(a)
	case *array.List:
		elements, ok := a.ListValues().(*array.String)
		if !ok {
			return v, fmt.Errorf("list elements are %s", a.ListValues().DataType())
		}
		v.ListOffs = a.Offsets()
		if a.Len() == 0 {
			v.ListOffs = []int32{0}
		}
		v.Offs, v.Bytes = texts(elements)
	default:
		return v, fmt.Errorf("cannot read a column of %s", a.DataType())
	}
	return v, nil
}

// texts returns the offsets and bytes of a text array; the first offset need not be 0.
func texts(a *array.String) ([]int32, []byte) {
	if a.Len() == 0 {
		return []int32{0}, nil
	}
	data := a.Data()
	offs := arrow.Int32Traits.CastFromBytes(data.Buffers()[1].Bytes())[data.Offset() : data.Offset()+a.Len()+1]
	if data.Buffers()[2] == nil {
		return offs, nil
	}
	return offs, data.Buffers()[2].Bytes()
}
