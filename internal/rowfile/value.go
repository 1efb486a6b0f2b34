package rowfile

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	parquet "github.com/apache/arrow-go/v18/parquet/schema"
)

// values writes the values of a Parquet column as JSON: times in RFC 3339, decimals as the numbers that they are,
// numbers that JSON has not (NaN, ±Inf) as null, bytes that are no text in base64, maps by text as objects.
type values struct {
	binary  func(b, v []byte) ([]byte, error) // of a column of bytes: what they are
	members []values                          // of a struct, of a list's elements, of a map's pairs
}

// valuesOf says how a column is written: what its bytes are the file tells, the array does not.
func valuesOf(f *pqarrow.SchemaField, sc *parquet.Schema) values {
	v := values{binary: appendBase64}
	if f.ColIndex >= 0 && len(f.Children) == 0 {
		switch sc.Column(f.ColIndex).LogicalType().(type) {
		case parquet.JSONLogicalType:
			v.binary = appendJSON
		case parquet.EnumLogicalType, parquet.StringLogicalType:
			v.binary = func(b, v []byte) ([]byte, error) { return appendText(b, string(v)) }
		}
	}
	for i := range f.Children {
		v.members = append(v.members, valuesOf(&f.Children[i], sc))
	}
	return v
}

func (v values) member(i int) values {
	if i < len(v.members) {
		return v.members[i]
	}
	return values{binary: appendBase64}
}

func (v values) append(b []byte, column arrow.Array, i int) ([]byte, error) {
	if column.IsNull(i) {
		return append(b, "null"...), nil
	}
	switch c := column.(type) {
	case *array.Dictionary:
		return v.append(b, c.Dictionary(), c.GetValueIndex(i))
	case array.ExtensionArray:
		if c.ExtensionType().ExtensionName() == "arrow.uuid" {
			return appendText(b, c.ValueStr(i))
		}
		return v.append(b, c.Storage(), i)
	case *array.Struct:
		return v.object(b, c, i)
	case *array.Map:
		return v.pairs(b, c, i)
	case array.ListLike:
		return v.list(b, c, i)
	}
	return v.scalar(b, column, i)
}

func (v values) scalar(b []byte, column arrow.Array, i int) ([]byte, error) {
	switch c := column.(type) {
	case *array.Timestamp:
		return appendText(b, momentIn(c, i).UTC().Format(time.RFC3339Nano))
	case *array.Float64:
		return appendNumber(b, c.Value(i)), nil
	case *array.Float32:
		return appendNumber(b, float64(c.Value(i))), nil
	case *array.Float16:
		return appendNumber(b, float64(c.Value(i).Float32())), nil
	case *array.Decimal32:
		return append(b, c.Value(i).ToString(scaleOf(c))...), nil
	case *array.Decimal64:
		return append(b, c.Value(i).ToString(scaleOf(c))...), nil
	case *array.Decimal128:
		return append(b, c.Value(i).ToString(scaleOf(c))...), nil
	case *array.Decimal256:
		return append(b, c.Value(i).ToString(scaleOf(c))...), nil
	case array.StringLike:
		return appendText(b, c.Value(i))
	case *array.Binary:
		return v.binary(b, c.Value(i))
	case *array.LargeBinary:
		return v.binary(b, c.Value(i))
	case *array.FixedSizeBinary:
		return v.binary(b, c.Value(i))
	}
	text, err := json.Marshal(column.GetOneForMarshal(i))
	return append(b, text...), err
}

// scaleOf is how many of a decimal's digits are fractions: in Parquet never less than none.
func scaleOf(c arrow.Array) int32 { return c.DataType().(arrow.DecimalType).GetScale() }

func (v values) object(b []byte, c *array.Struct, i int) (_ []byte, err error) {
	b = append(b, '{')
	for k, f := range c.DataType().(*arrow.StructType).Fields() {
		if k > 0 {
			b = append(b, ',')
		}
		if b, err = appendText(b, f.Name); err != nil {
			return b, err
		}
		if b, err = v.member(k).append(append(b, ':'), c.Field(k), i); err != nil {
			return b, err
		}
	}
	return append(b, '}'), nil
}

func (v values) list(b []byte, c array.ListLike, i int) (_ []byte, err error) {
	from, to := c.ValueOffsets(i)
	b = append(b, '[')
	for at := from; at < to; at++ {
		if at > from {
			b = append(b, ',')
		}
		if b, err = v.member(0).append(b, c.ListValues(), int(at)); err != nil {
			return b, err
		}
	}
	return append(b, ']'), nil
}

// pairs writes a map as an object, one whose keys are no texts as a list of objects with key and value.
func (v values) pairs(b []byte, c *array.Map, i int) (_ []byte, err error) {
	from, to := c.ValueOffsets(i)
	_, named := c.Keys().(array.StringLike)
	key, item := v.member(0).member(0), v.member(0).member(1)
	begin, before, between, after, end := "[", `{"key":`, `,"value":`, "}", byte(']')
	if named {
		begin, before, between, after, end = "{", "", ":", "", byte('}')
	}
	b = append(b, begin...)
	for at := from; at < to; at++ {
		if at > from {
			b = append(b, ',')
		}
		if b, err = key.append(append(b, before...), c.Keys(), int(at)); err != nil {
			return b, err
		}
		if b, err = item.append(append(b, between...), c.Items(), int(at)); err != nil {
			return b, err
		}
		b = append(b, after...)
	}
	return append(b, end), nil
}

func momentIn(t *array.Timestamp, i int) time.Time {
	return t.Value(i).ToTime(t.DataType().(*arrow.TimestampType).Unit)
}

func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return append(b, "null"...)
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

// appendText refuses what is no text: as JSON it would become other text unnoticed.
func appendText(b []byte, v string) ([]byte, error) {
	if !utf8.ValidString(v) {
		return b, errors.New("a text is not UTF-8")
	}
	text, err := json.Marshal(v)
	return append(b, text...), err
}

func appendJSON(b, v []byte) ([]byte, error) {
	if !json.Valid(v) {
		return b, errors.New("a value of type JSON is none")
	}
	return append(b, v...), nil
}

func appendBase64(b, v []byte) ([]byte, error) {
	return append(base64.StdEncoding.AppendEncode(append(b, '"'), v), '"'), nil
}
