package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
)

// Decode returns the block of a segment. The error is a fault: Corrupt for bytes that are no
// segment, Config for a format newer than this binary's.
func (c *Codec) Decode(data []byte) (*fold.States, error) { return c.DecodeSome(data, nil) }

// DecodeSome is Decode of some of the states: of those that want is false for there is only the type.
// A nil want wants all.
func (c *Codec) DecodeSome(data []byte, want []bool) (*fold.States, error) {
	if len(data) < headerSize || string(data[:4]) != magic {
		return nil, fault.New(fault.Corrupt, "bad_segment", "decoding a segment of %d bytes: no header", len(data))
	}
	if v := binary.LittleEndian.Uint32(data[4:]); v != Version {
		return nil, fault.New(fault.Config, "newer_segment", "decoding a segment: format %d, this binary reads %d", v, Version).
			WithAdvice("run the newer binary")
	}
	if binary.LittleEndian.Uint32(data[8:]) != crc32.Checksum(data[headerSize:], castagnoli) {
		return nil, fault.New(fault.Corrupt, "bad_segment", "decoding a segment of %d bytes: checksum differs", len(data))
	}
	raw, err := c.dec.DecodeAll(data[headerSize:], nil)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "bad_segment", "decompressing a segment: %w", err)
	}
	s, err := decodeStream(raw, want)
	if err != nil {
		return nil, fault.New(fault.Corrupt, "bad_segment", "decoding a segment: %w", err)
	}
	return s, nil
}

var errNoBatch = errors.New("no record batch")

// decodeStream reads the Arrow stream. Arrow's reader trusts its input (it allocates what a length
// says, and may panic): only bytes that the CRC vouches for come here.
func decodeStream(raw []byte, want []bool) (s *fold.States, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("reading arrow: %v", p)
		}
	}()
	r, err := ipc.NewReader(bytes.NewReader(raw), ipc.WithBodySizeLimit(MaxRaw), ipc.WithMetadataSizeLimit(1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading arrow: %w", err)
	}
	defer r.Release()
	if !r.Next() {
		if r.Err() != nil {
			return nil, fmt.Errorf("reading arrow: %w", r.Err())
		}
		return nil, errNoBatch
	}
	return statesOf(r.RecordBatch(), want)
}

func statesOf(rec arrow.RecordBatch, want []bool) (*fold.States, error) {
	meta := rec.Schema().Metadata()
	types, _ := meta.GetValue(metaStates)
	dimText, _ := meta.GetValue(metaDims)
	dims, err := strconv.Atoi(dimText)
	if err != nil || dims < 0 || dims > int(rec.NumCols()) {
		return nil, fmt.Errorf("bad number of dimensions %q", dimText)
	}
	cols := map[string]arrow.Array{}
	for i, f := range rec.Schema().Fields() {
		cols[f.Name] = rec.Column(i)
		if rec.Column(i).Len() != int(rec.NumRows()) {
			return nil, fmt.Errorf("column %s has %d rows of %d", f.Name, rec.Column(i).Len(), rec.NumRows())
		}
	}
	s := &fold.States{N: int(rec.NumRows())}
	buckets, ok := cols["bucket"].(*array.Timestamp)
	if !ok {
		return nil, errors.New("no column bucket")
	}
	s.Buckets = make([]int64, s.N)
	for i, v := range buckets.Values() {
		s.Buckets[i] = int64(v)
	}
	for d := range dims {
		dim, err := dimOf(cols[fmt.Sprintf("d%d", d)], s.N)
		if err != nil {
			return nil, fmt.Errorf("dimension %d: %w", d, err)
		}
		s.Dims = append(s.Dims, dim)
	}
	if types == "" {
		return s, nil
	}
	for i, name := range strings.Split(types, ",") {
		if want != nil && (i >= len(want) || !want[i]) {
			s.Cols = append(s.Cols, fold.Column{Type: fold.TypeNamed(name)})
			continue
		}
		col, err := stateOf(fold.TypeNamed(name), fmt.Sprintf("s%d", i), cols, s.N)
		if err != nil {
			return nil, fmt.Errorf("state %d: %w", i, err)
		}
		s.Cols = append(s.Cols, col)
	}
	return s, nil
}

func dimOf(a arrow.Array, n int) (fold.Dim, error) {
	dict, ok := a.(*array.Dictionary)
	if !ok {
		return fold.Dim{}, errors.New("no dictionary column")
	}
	texts, ok := dict.Dictionary().(*array.Binary)
	if !ok {
		return fold.Dim{}, errors.New("a dictionary of other things than texts")
	}
	index, ok := dict.Indices().(*array.Uint32)
	if !ok {
		return fold.Dim{}, errors.New("indices of another type")
	}
	out := fold.Dim{Codes: make([]uint32, n), Offs: []int32{0}}
	for i := range texts.Len() {
		out.Bytes = append(out.Bytes, texts.Value(i)...)
		out.Offs = append(out.Offs, int32(len(out.Bytes)))
	}
	for i, v := range index.Uint32Values() {
		if dict.IsNull(i) {
			continue
		}
		if int(v) >= texts.Len() {
			return fold.Dim{}, fmt.Errorf("index %d beyond %d texts", v, texts.Len())
		}
		out.Codes[i] = v + 1
	}
	return out, nil
}

func stateOf(t fold.Type, name string, cols map[string]arrow.Array, n int) (fold.Column, error) {
	out := fold.Column{Type: t}
	a, have := cols[name]
	switch t {
	case fold.Count, fold.MinLong, fold.MaxLong:
		if !have && t == fold.Count {
			return out, nil // 0 everywhere
		}
		x, ok := a.(*array.Int64)
		if !ok {
			return out, fmt.Errorf("no int64 column %s", name)
		}
		out.Ints = append(make([]int64, 0, n), x.Int64Values()...)
	case fold.SumLong:
		x, ok := a.(*array.Decimal128)
		if !ok {
			return out, fmt.Errorf("no decimal128 column %s", name)
		}
		out.Ints, out.High = make([]int64, n), make([]int64, n)
		for i, v := range x.Values() {
			out.Ints[i], out.High[i] = int64(v.LowBits()), v.HighBits()
		}
	case fold.SumDouble, fold.MinDouble, fold.MaxDouble:
		x, ok := a.(*array.Float64)
		if !ok {
			return out, fmt.Errorf("no double column %s", name)
		}
		out.Floats = append(make([]float64, 0, n), x.Float64Values()...)
		if t == fold.SumDouble {
			rest, ok := cols[name+"_rest"].(*array.Float64)
			if !ok {
				return out, fmt.Errorf("no double column %s_rest", name)
			}
			out.Rest = append(make([]float64, 0, n), rest.Float64Values()...)
		}
	case fold.Distinct:
		return hllsOf(a, name, n)
	case fold.Quantile:
		return binsOf(cols[name], cols[name+"_counts"], name, n)
	case fold.Invalid:
		return out, errors.New("unknown type")
	}
	return out, nil
}
