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

	// Elements of list i are texts ListOffs[i] to ListOffs[i+1]; Len+1 entries.
	ListOffs []int32
}

// IsNull tells whether value i is NULL.
func (v *Vec) IsNull(i int) bool { return v.Valid != nil && !v.Valid[i] }

// Text returns text i: the value of a String or JSON column, or element i of a List column's elements.
// It shares memory with the column.
func (v *Vec) Text(i int) []byte { return v.Bytes[v.Offs[i]:v.Offs[i+1]] }

// List returns the range of element texts of value i of a List column.
func (v *Vec) List(i int) (from, to int32) { return v.ListOffs[i], v.ListOffs[i+1] }

// Reset empties the column and keeps its memory.
func (v *Vec) Reset() {
	v.Len, v.Valid, v.Ints, v.Floats = 0, v.Valid[:0], v.Ints[:0], v.Floats[:0]
	v.Offs, v.Bytes, v.ListOffs = v.Offs[:0], v.Bytes[:0], v.ListOffs[:0]
}
