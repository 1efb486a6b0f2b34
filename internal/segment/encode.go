package segment

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/klauspost/compress/zstd"

	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/sketch"
)

// The format. A segment is
//
//	bytes 0-3   "PFSG"
//	bytes 4-7   Version, little endian
//	bytes 8-11  CRC-32C of the rest, little endian
//	bytes 12-   one zstd frame of an Arrow IPC stream of one record batch
//
// with the columns bucket (timestamp[us, UTC]), d0, d1, … (dictionary of binary; NULL is a value)
// and s0, s1, …: int64 for counts and limits of longs, decimal128(38, 0) for sums of longs, double
// for sums and limits of doubles; a sum of doubles has a second column sN_rest. A distinct count is
// binary: an HLL as package sketch has it. A quantile is list<int32>, the numbers of its buckets in
// order, beside sN_counts, list<int64>. Schema metadata pinflow.states names the types of the states. A
// count that is 0 in every row has no column.
//
// Version 1: the first.
const (
	Version = 1

	magic      = "PFSG"
	headerSize = 12
	metaStates = "pinflow.states"
	metaDims   = "pinflow.dims"
)

// MaxRaw is the most bytes that a segment may hold before compression; Decode refuses more.
const MaxRaw = 64 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Codec encodes and decodes segments. It is safe for concurrent use.
type Codec struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

// NewCodec returns a codec.
func NewCodec() (*Codec, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false), zstd.WithEncoderLevel(zstd.SpeedDefault))
	if err != nil {
		return nil, fmt.Errorf("making a zstd encoder: %w", err)
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(MaxRaw))
	if err != nil {
		return nil, fmt.Errorf("making a zstd decoder: %w", err)
	}
	return &Codec{enc: enc, dec: dec}, nil
}

// Encode returns the block as a segment.
func (c *Codec) Encode(s *fold.States) ([]byte, error) {
	raw, err := encodeStream(s)
	if err != nil {
		return nil, fmt.Errorf("encoding a segment of %d rows: %w", s.N, err)
	}
	out := make([]byte, headerSize, headerSize+len(raw)/2)
	copy(out, magic)
	binary.LittleEndian.PutUint32(out[4:], Version)
	out = c.enc.EncodeAll(raw, out)
	binary.LittleEndian.PutUint32(out[8:], crc32.Checksum(out[headerSize:], castagnoli))
	return out, nil
}

func encodeStream(s *fold.States) ([]byte, error) {
	schema, cols := columnsOf(s)
	rec := array.NewRecordBatch(schema, cols, int64(s.N))
	defer rec.Release()
	for _, c := range cols {
		c.Release()
	}
	var buf bytes.Buffer
	w := ipc.NewWriter(&buf, ipc.WithSchema(schema))
	if err := w.Write(rec); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

var (
	bucketType = &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	dimType    = &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint32, ValueType: arrow.BinaryTypes.Binary}
	sumType    = &arrow.Decimal128Type{Precision: 38}
	binsType   = arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int32)
	countsType = arrow.ListOfNonNullable(arrow.PrimitiveTypes.Int64)
)

func columnsOf(s *fold.States) (*arrow.Schema, []arrow.Array) {
	fields := []arrow.Field{{Name: "bucket", Type: bucketType}}
	cols := []arrow.Array{fixed(bucketType, arrow.Int64Traits.CastToBytes(s.Buckets[:s.N]), s.N)}
	for d := range s.Dims {
		fields = append(fields, arrow.Field{Name: fmt.Sprintf("d%d", d), Type: dimType, Nullable: true})
		cols = append(cols, dimArray(&s.Dims[d], s.N))
	}
	types := make([]string, len(s.Cols))
	for i := range s.Cols {
		c := &s.Cols[i]
		types[i] = c.Type.String()
		name := fmt.Sprintf("s%d", i)
		switch c.Type {
		case fold.Count, fold.MinLong, fold.MaxLong:
			if c.Type == fold.Count && allZero(c.Ints) {
				continue
			}
			fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Int64})
			cols = append(cols, fixed(arrow.PrimitiveTypes.Int64, arrow.Int64Traits.CastToBytes(c.Ints[:s.N]), s.N))
		case fold.SumLong:
			sums := make([]decimal128.Num, s.N)
			for r := range sums {
				sums[r] = decimal128.New(c.High[r], uint64(c.Ints[r]))
			}
			fields = append(fields, arrow.Field{Name: name, Type: sumType})
			cols = append(cols, fixed(sumType, arrow.Decimal128Traits.CastToBytes(sums), s.N))
		case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
			fields = append(fields, arrow.Field{Name: name, Type: arrow.PrimitiveTypes.Float64})
			cols = append(cols, fixed(arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(c.Floats[:s.N]), s.N))
			if c.Type == fold.SumDouble {
				fields = append(fields, arrow.Field{Name: name + "_rest", Type: arrow.PrimitiveTypes.Float64})
				cols = append(cols, fixed(arrow.PrimitiveTypes.Float64, arrow.Float64Traits.CastToBytes(c.Rest[:s.N]), s.N))
			}
		case fold.Distinct:
			fields = append(fields, arrow.Field{Name: name, Type: arrow.BinaryTypes.Binary})
			cols = append(cols, hllArray(c.HLLs[:s.N]))
		case fold.Quantile:
			fields = append(fields, arrow.Field{Name: name, Type: binsType}, arrow.Field{Name: name + "_counts", Type: countsType})
			cols = append(cols, listArray(binsType, c.Offs, arrow.Int32Traits.CastToBytes(c.Bins), s.N, len(c.Bins)),
				listArray(countsType, c.Offs, arrow.Int64Traits.CastToBytes(c.Counts), s.N, len(c.Counts)))
		case fold.Invalid:
		}
	}
	meta := arrow.NewMetadata([]string{metaStates, metaDims}, []string{strings.Join(types, ","), fmt.Sprint(len(s.Dims))})
	return arrow.NewSchema(fields, &meta), cols
}

func allZero(xs []int64) bool {
	for _, x := range xs {
		if x != 0 {
			return false
		}
	}
	return true
}

func fixed(t arrow.DataType, data []byte, n int) arrow.Array {
	d := array.NewData(t, n, []*memory.Buffer{nil, memory.NewBufferBytes(data)}, nil, 0, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

func hllArray(all []sketch.HLL) arrow.Array {
	b := array.NewBinaryBuilder(memory.DefaultAllocator, arrow.BinaryTypes.Binary)
	defer b.Release()
	b.Reserve(len(all))
	for _, h := range all {
		b.Append(h)
	}
	return b.NewArray()
}

// listArray is a column of lists over a flat array of their elements.
func listArray(t *arrow.ListType, offs []int32, data []byte, n, elements int) arrow.Array {
	flat := array.NewData(t.Elem(), elements, []*memory.Buffer{nil, memory.NewBufferBytes(data)}, nil, 0, 0)
	defer flat.Release()
	d := array.NewData(t, n, []*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offs))}, []arrow.ArrayData{flat}, 0, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// dimArray shares the dictionary's memory; indices are codes less one.
func dimArray(d *fold.Dim, n int) arrow.Array {
	index := make([]uint32, n)
	valid := make([]byte, (n+7)/8)
	nulls := 0
	for i, code := range d.Codes[:n] {
		if code == 0 {
			nulls++
			continue
		}
		index[i] = code - 1
		valid[i/8] |= 1 << (i % 8)
	}
	var validBuf *memory.Buffer
	if nulls > 0 {
		validBuf = memory.NewBufferBytes(valid)
	}
	indices := array.NewData(dimType.IndexType, n,
		[]*memory.Buffer{validBuf, memory.NewBufferBytes(arrow.Uint32Traits.CastToBytes(index))}, nil, nulls, 0)
	defer indices.Release()
	offs := d.Offs
	if len(offs) == 0 {
		offs = []int32{0}
	}
	texts := array.NewData(dimType.ValueType, len(offs)-1,
		[]*memory.Buffer{nil, memory.NewBufferBytes(arrow.Int32Traits.CastToBytes(offs)), memory.NewBufferBytes(d.Bytes)}, nil, 0, 0)
	defer texts.Release()
	codes, dict := array.MakeFromData(indices), array.MakeFromData(texts)
	defer codes.Release()
	defer dict.Release()
	return array.NewDictionaryArray(dimType, codes, dict)
}
