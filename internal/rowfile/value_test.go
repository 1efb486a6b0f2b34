package rowfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/extensions"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/fault"
)

// oneColumn is a Parquet file of one column, made as a builder is told, as another program would write it.
func oneColumn(t *testing.T, typ arrow.DataType, fill func(array.Builder)) string {
	t.Helper()
	sc := arrow.NewSchema([]arrow.Field{{Name: "v", Type: typ, Nullable: true}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, sc)
	defer b.Release()
	fill(b.Field(0))
	rec := b.NewRecordBatch()
	defer rec.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(sc, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(rec), w.Close()); err != nil {
		t.Fatal(err)
	}
	return write(t, "a.parquet", out.Bytes())
}

// Whatever type a column has, and however deep, its values are what the type means.
func TestValuesOfParquet(t *testing.T) {
	decimal := &arrow.Decimal128Type{Precision: 20, Scale: 2}
	moment := arrow.FixedWidthTypes.Timestamp_us
	id := uuid.MustParse("0198c0de-0000-7000-8000-0000000000ff")
	asJSON, err := extensions.NewJSONType(arrow.BinaryTypes.String)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name string
		typ  arrow.DataType
		fill func(array.Builder)
		want string // of the rows, one after another
	}{
		{"decimal", decimal, func(b array.Builder) {
			b.(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(1050), decimal128.FromI64(-7), decimal128.New(5, 1)}, nil)
		}, `{"v":10.50} {"v":-0.07} {"v":922337203685477580.81}`},
		{"list of times", arrow.ListOf(moment), func(b array.Builder) {
			l := b.(*array.ListBuilder)
			l.Append(true)
			l.ValueBuilder().(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{0, 1_500_000}, nil)
			l.AppendNull()
			l.Append(true)
		}, `{"v":["1970-01-01T00:00:00Z","1970-01-01T00:00:01.5Z"]} {} {"v":[]}`},
		{"numbers that are none", arrow.ListOf(arrow.PrimitiveTypes.Float64), func(b array.Builder) {
			l := b.(*array.ListBuilder)
			l.Append(true)
			l.ValueBuilder().(*array.Float64Builder).AppendValues([]float64{math.NaN(), math.Inf(-1), 1e300, 0.1}, nil)
		}, `{"v":[null,null,1e+300,0.1]}`},
		{"map by text", arrow.MapOf(arrow.BinaryTypes.String, decimal), func(b array.Builder) {
			m := b.(*array.MapBuilder)
			m.Append(true)
			m.KeyBuilder().(*array.StringBuilder).AppendValues([]string{"a", "b\""}, nil)
			m.ItemBuilder().(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(100), decimal128.FromI64(1)}, nil)
			m.Append(true)
		}, `{"v":{"a":1.00,"b\"":0.01}} {"v":{}}`},
		{"map by number", arrow.MapOf(arrow.PrimitiveTypes.Int32, arrow.BinaryTypes.String), func(b array.Builder) {
			m := b.(*array.MapBuilder)
			m.Append(true)
			m.KeyBuilder().(*array.Int32Builder).Append(7)
			m.ItemBuilder().(*array.StringBuilder).Append("x")
		}, `{"v":[{"key":7,"value":"x"}]}`},
		{"struct in list", arrow.ListOf(arrow.StructOf(arrow.Field{Name: "a<", Type: decimal, Nullable: true}, arrow.Field{Name: "at", Type: moment, Nullable: true})), func(b array.Builder) {
			l := b.(*array.ListBuilder)
			s := l.ValueBuilder().(*array.StructBuilder)
			l.Append(true)
			s.Append(true)
			s.FieldBuilder(0).(*array.Decimal128Builder).Append(decimal128.FromI64(5))
			s.FieldBuilder(1).AppendNull()
			s.AppendNull()
		}, `{"v":[{"a<":0.05,"at":null},null]}`},
		{"uuid", extensions.NewUUIDType(), func(b array.Builder) {
			b.(*extensions.UUIDBuilder).Append(id)
		}, `{"v":"` + id.String() + `"}`},
		{"json", asJSON, func(b array.Builder) {
			b.(*array.ExtensionBuilder).StorageBuilder().(*array.StringBuilder).Append(`{"deep":[1,2.50]}`)
		}, `{"v":{"deep":[1,2.50]}}`},
		{"bytes", arrow.BinaryTypes.Binary, func(b array.Builder) {
			b.(*array.BinaryBuilder).Append([]byte{0, 255})
		}, `{"v":"AP8="}`},
		{"unsigned", arrow.PrimitiveTypes.Uint64, func(b array.Builder) {
			b.(*array.Uint64Builder).Append(math.MaxUint64)
		}, `{"v":18446744073709551615}`},
	} {
		got := strings.Join(texts(records(t, registered(t, oneColumn(t, test.typ, test.fill)), 0, 2)), " ")
		if same, err := sameJSON(test.want, got); err != nil || !same {
			t.Errorf("%s:\n got %s\nwant %s (%v)", test.name, got, test.want, err)
		}
	}
	broken := oneColumn(t, arrow.BinaryTypes.String, func(b array.Builder) {
		b.(*array.StringBuilder).AppendValues([]string{"fine", "\xff"}, nil)
	})
	if _, err := look(t, broken); fault.CodeOf(err) != "bad_file" || !strings.Contains(err.Error(), "row 2, column v: a text is not UTF-8") {
		t.Errorf("a text that is none: %v", err)
	}
}

// sameJSON compares documents that stand one after another, numbers digit by digit.
func sameJSON(a, b string) (bool, error) {
	read := func(text string) (out []any, err error) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		for d.More() {
			var v any
			if err := d.Decode(&v); err != nil {
				return nil, err
			}
			out = append(out, v)
		}
		return out, nil
	}
	x, err := read(a)
	y, err2 := read(b)
	return cmp.Equal(x, y), errors.Join(err, err2)
}
