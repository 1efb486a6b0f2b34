package pages

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"

	"github.com/pinflow/pinflow/internal/column"
)

// chunk reads the pages of a column without lists.
type chunk struct {
	pages    file.PageReader
	kind     column.Kind
	optional bool
	wide     bool // a long of 64 bits, not a date of 32

	// of the page in hand
	left   int // rows
	levels hybrid
	coded  bool // its values are codes
	codes  hybrid
	summed bool // its values are differences
	deltas delta
	data   []byte // plain values
	bit    int    // next one of plain booleans

	scratch []int32

	// The dictionary. Its texts are never written again: blocks share them.
	entries int
	ints    []int64
	floats  []float64
	offs    []int32
	bytes   []byte
}

// space is memory that a column's blocks use again and again.
type space struct {
	valid  []bool
	ints   []int64
	floats []float64
	codes  []int32
	offs   []int32
	bytes  []byte
}

// read makes v the next n rows.
func (c *chunk) read(v *column.Vec, m *space, n int) error {
	*v = column.Vec{Kind: c.kind, Len: n}
	nulls := false
	for pos := 0; pos < n; {
		if c.left == 0 {
			if err := c.turn(); err != nil {
				return err
			}
			continue
		}
		k := min(n-pos, c.left)
		present, err := c.present(v, m, pos, k)
		if err != nil {
			return err
		}
		nulls = nulls || present < k
		if err := c.values(v, m, pos, k, present); err != nil {
			return err
		}
		pos, c.left = pos+k, c.left-k
	}
	if !nulls {
		v.Valid = nil
	}
	return nil
}

// present tells how many of k values at pos are there. While it is all, which ones is not written down.
func (c *chunk) present(v *column.Vec, m *space, pos, k int) (int, error) {
	if !c.optional {
		return k, nil
	}
	all, err := c.levels.set(k)
	switch {
	case err != nil:
		return 0, err
	case !all && v.Valid == nil:
		m.valid = room(m.valid, v.Len)
		v.Valid = m.valid
		fill(v.Valid[:pos], true)
	case all && v.Valid != nil:
		fill(v.Valid[pos:pos+k], true)
	}
	if all {
		return k, nil
	}
	return c.levels.flags(v.Valid[pos : pos+k])
}

// values appends k values at pos, of which so many are there.
func (c *chunk) values(v *column.Vec, m *space, pos, k, present int) error {
	var valid []bool
	if present < k {
		valid = v.Valid[pos : pos+k]
	}
	switch c.kind {
	case column.String, column.JSON:
		return c.texts(v, m, pos, valid, k, present)
	case column.Double:
		m.floats = room(m.floats, v.Len)
		v.Floats = m.floats[:pos+k]
		if err := c.doubles(v.Floats[pos : pos+present]); err != nil {
			return err
		}
		spread(v.Floats[pos:], valid, present)
	default:
		m.ints = room(m.ints, v.Len)
		v.Ints = m.ints[:pos+k]
		if err := c.longs(v.Ints[pos : pos+present]); err != nil {
			return err
		}
		spread(v.Ints[pos:], valid, present)
	}
	return nil
}

// spread moves values that lie at the beginning to where they belong.
func spread[T any](dst []T, valid []bool, present int) {
	var zero T
	for i, j := len(dst)-1, present-1; i > j; i-- {
		if valid[i] {
			dst[i] = dst[j]
			j--
		} else {
			dst[i] = zero
		}
	}
}

func (c *chunk) longs(dst []int64) error {
	switch {
	case c.coded:
		codes, err := c.take(len(dst))
		if err != nil {
			return err
		}
		for i, code := range codes {
			dst[i] = c.ints[code]
		}
	case c.kind == column.Boolean:
		if len(c.data)*8-c.bit < len(dst) {
			return errShort
		}
		for i := range dst {
			dst[i] = int64(c.data[(c.bit+i)>>3] >> ((c.bit + i) & 7) & 1)
		}
		c.bit += len(dst)
	case c.summed:
		return c.deltas.read(dst)
	default:
		rest, err := plainLongs(dst, c.data, c.wide)
		c.data = rest
		return err
	}
	return nil
}

func plainLongs(dst []int64, data []byte, wide bool) ([]byte, error) {
	if wide {
		if len(data) < 8*len(dst) {
			return nil, errShort
		}
		for i := range dst {
			dst[i] = int64(binary.LittleEndian.Uint64(data[8*i:]))
		}
		return data[8*len(dst):], nil
	}
	if len(data) < 4*len(dst) {
		return nil, errShort
	}
	for i := range dst {
		dst[i] = int64(int32(binary.LittleEndian.Uint32(data[4*i:])))
	}
	return data[4*len(dst):], nil
}

func (c *chunk) doubles(dst []float64) error {
	if c.coded {
		codes, err := c.take(len(dst))
		if err != nil {
			return err
		}
		for i, code := range codes {
			dst[i] = c.floats[code]
		}
		return nil
	}
	rest, err := plainDoubles(dst, c.data)
	c.data = rest
	return err
}

func plainDoubles(dst []float64, data []byte) ([]byte, error) {
	if len(data) < 8*len(dst) {
		return nil, errShort
	}
	for i := range dst {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:]))
	}
	return data[8*len(dst):], nil
}

// take reads codes that are surely of the dictionary.
func (c *chunk) take(n int) ([]int32, error) {
	c.scratch = room(c.scratch, n)
	return c.scratch, c.codes.read(c.scratch, c.entries)
}

// texts appends codes while all values of the block are of the dictionary, else the texts themselves.
func (c *chunk) texts(v *column.Vec, m *space, pos int, valid []bool, k, present int) error {
	if c.coded && (pos == 0 || v.Codes != nil) {
		m.codes = room(m.codes, v.Len)
		v.Codes, v.Offs, v.Bytes = m.codes[:pos+k], c.offs, c.bytes
		if err := c.codes.read(v.Codes[pos:pos+present], c.entries); err != nil {
			return err
		}
		spread(v.Codes[pos:], valid, present)
		return nil
	}
	if pos == 0 || v.Codes != nil {
		m.offs, m.bytes = append(m.offs[:0], 0), m.bytes[:0]
		for i := range pos { // what came before the dictionary was given up
			if !v.IsNull(i) {
				m.bytes = append(m.bytes, v.Text(i)...)
			}
			m.offs = append(m.offs, int32(len(m.bytes)))
		}
	}
	if err := c.flat(m, valid, k, present); err != nil {
		return err
	}
	if len(m.bytes) > math.MaxInt32 {
		return errors.New("a block of more than 2 GiB of texts")
	}
	v.Codes, v.Offs, v.Bytes = nil, m.offs, m.bytes
	return nil
}

func (c *chunk) flat(m *space, valid []bool, k, present int) error {
	var codes []int32
	if c.coded {
		var err error
		if codes, err = c.take(present); err != nil {
			return err
		}
	}
	offs, bytes, data := slices.Grow(m.offs, k), m.bytes, c.data
	for i, at := 0, 0; i < k; i++ {
		switch {
		case valid != nil && !valid[i]:
		case codes != nil:
			bytes = append(bytes, c.bytes[c.offs[codes[at]]:c.offs[codes[at]+1]]...)
			at++
		default:
			text, rest, err := plainText(data)
			if err != nil {
				return err
			}
			bytes, data = append(bytes, text...), rest
		}
		offs = append(offs, int32(len(bytes)))
	}
	m.offs, m.bytes, c.data = offs, bytes, data
	return nil
}

func plainText(data []byte) (text, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errShort
	}
	n := int(binary.LittleEndian.Uint32(data))
	if n > len(data)-4 {
		return nil, nil, errShort
	}
	return data[4 : 4+n], data[4+n:], nil
}

// turn goes to the next page of data.
func (c *chunk) turn() error {
	for c.pages.Next() {
		switch p := c.pages.Page().(type) {
		case *file.DictionaryPage:
			if err := c.dictionary(p.Data(), int(p.NumValues())); err != nil {
				return fmt.Errorf("reading a dictionary: %w", err)
			}
			continue
		case *file.DataPageV1:
			data := p.Data()
			if c.optional {
				if len(data) < 4 || int(binary.LittleEndian.Uint32(data)) > len(data)-4 {
					return errShort
				}
				n := int(binary.LittleEndian.Uint32(data))
				c.levels.reset(data[4:4+n], 1)
				data = data[4+n:]
			}
			return c.begin(parquet.Encoding(p.Encoding()), data, int(p.NumValues()))
		case *file.DataPageV2:
			data := p.Data()
			n := int(p.DefinitionLevelByteLen())
			if n > len(data) {
				return errShort
			}
			c.levels.reset(data[:n], 1)
			return c.begin(parquet.Encoding(p.Encoding()), data[n:], int(p.NumValues()))
		}
	}
	if err := c.pages.Err(); err != nil {
		return err
	}
	return errors.New("the pages hold fewer rows than the file says")
}

// begin takes a page's values.
func (c *chunk) begin(enc parquet.Encoding, data []byte, rows int) error {
	c.left, c.coded, c.summed, c.data, c.bit = rows, false, false, data, 0
	switch enc {
	case parquet.Encodings.Plain:
		return nil
	case parquet.Encodings.RLEDict, parquet.Encodings.PlainDict:
		c.coded = true
		width := 0
		if len(data) > 0 { // a page of NULLs only may have none
			width, data = int(data[0]), data[1:]
		}
		if width > 32 {
			return fmt.Errorf("codes of %d bits", width)
		}
		c.codes.reset(data, width)
		return nil
	case parquet.Encodings.DeltaBinaryPacked:
		if isInteger(c.kind) {
			c.summed = true
			return c.deltas.reset(data, !c.wide)
		}
	}
	return fmt.Errorf("values encoded as %s", enc)
}

// isInteger tells whether a kind's values are integers of 32 or 64 bits in a file.
func isInteger(k column.Kind) bool {
	return k == column.Long || k == column.Timestamptz || k == column.Date
}

func (c *chunk) dictionary(data []byte, n int) error {
	c.entries = n
	switch c.kind {
	case column.String, column.JSON:
		c.offs, c.bytes = make([]int32, 1, n+1), make([]byte, 0, len(data))
		for range n {
			text, rest, err := plainText(data)
			if err != nil {
				return err
			}
			c.bytes, data = append(c.bytes, text...), rest
			c.offs = append(c.offs, int32(len(c.bytes)))
		}
		return nil
	case column.Double:
		c.floats = make([]float64, n)
		_, err := plainDoubles(c.floats, data)
		return err
	}
	c.ints = make([]int64, n)
	_, err := plainLongs(c.ints, data, c.wide)
	return err
}

// room is s with n elements. What it held is kept if there was room before.
func room[T any](s []T, n int) []T {
	if n <= cap(s) {
		return s[:n]
	}
	return make([]T, n)
}

func fill(flags []bool, to bool) {
	for i := range flags {
		flags[i] = to
	}
}
