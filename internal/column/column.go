package column

// Kind is the type of a column. The names are Iceberg's, as in streams/*.yaml.
type Kind uint8

// The kinds, with the slice of Vec that carries the values.
const (
	Invalid     Kind = iota
	Long             // Ints
	Double           // Floats
	Boolean          // Ints, 0 or 1
	Timestamptz      // Ints, microseconds since 1970-01-01T00:00:00Z
	Date             // Ints, days since 1970-01-01
	String           // Offs, Bytes: UTF-8
	JSON             // Offs, Bytes: one JSON value as text
	List             // ListOffs into elements; the elements are strings in Offs, Bytes
)

var kindNames = [...]string{
	Invalid: "invalid", Long: "long", Double: "double", Boolean: "boolean", Timestamptz: "timestamptz",
	Date: "date", String: "string", JSON: "json", List: "list<string>",
}

func (k Kind) String() string { return kindNames[k] }

// KindOf returns the kind with that name, or Invalid.
func KindOf(name string) Kind {
	for k, n := range kindNames {
		if n == name && Kind(k) != Invalid {
			return Kind(k)
		}
	}
	return Invalid
}

// Vec is a column of Len values. Slices beyond the kind's own are nil.
// A value at a NULL position is present and unspecified.
type Vec struct {
	Kind  Kind
	Len   int
	Valid []bool // nil: no NULL

	Ints   []int64
	Floats []float64

	// Text of value i is Bytes[Offs[i]:Offs[i+1]]; Offs has one entry more than there are texts.
	Offs  []int32
	Bytes []byte

	// Of a String or JSON column that is a dictionary and codes: value i is text Codes[i]. The dictionary
	// is not written to again, so its columns may share it; where NULL is, the code is 0 and means nothing.
	// Of a List column of codes: element i is text Codes[i].
	Codes []int32

	// Elements of list i are texts ListOffs[i] to ListOffs[i+1]; Len+1 entries.
	ListOffs []int32
}

// IsNull tells whether value i is NULL.
func (v *Vec) IsNull(i int) bool { return v.Valid != nil && !v.Valid[i] }

// Text returns text i: the value of a String or JSON column, or element i of a List column's elements.
// It shares memory with the column. The text of a NULL means nothing, and a column of codes has none.
func (v *Vec) Text(i int) []byte {
	if v.Codes != nil {
		i = int(v.Codes[i])
	}
	return v.Bytes[v.Offs[i]:v.Offs[i+1]]
}

// Entries is how many texts the dictionary of a column of codes has.
func (v *Vec) Entries() int { return len(v.Offs) - 1 }

// Flat returns the column with a text for each value or element, as whoever works on Offs needs it: itself, if
// it has no codes, else a copy.
func (v *Vec) Flat() *Vec {
	if v.Codes == nil {
		return v
	}
	out := *v
	out.Codes, out.Bytes = nil, nil
	out.Offs = append(make([]int32, 0, len(v.Codes)+1), 0)
	for i := range v.Codes {
		if v.Kind == List || !v.IsNull(i) {
			out.Bytes = append(out.Bytes, v.Text(i)...)
		}
		out.Offs = append(out.Offs, int32(len(out.Bytes)))
	}
	return &out
}

// List returns the range of element texts of value i of a List column.
func (v *Vec) List(i int) (from, to int32) { return v.ListOffs[i], v.ListOffs[i+1] }

// Reset empties the column and keeps its memory.
func (v *Vec) Reset() {
	v.Len, v.Valid, v.Ints, v.Floats = 0, v.Valid[:0], v.Ints[:0], v.Floats[:0]
	v.Offs, v.Bytes, v.ListOffs, v.Codes = v.Offs[:0], v.Bytes[:0], v.ListOffs[:0], nil
}
