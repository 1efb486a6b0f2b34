package event

import "github.com/pinflow/pinflow/internal/column"

// A Valid slice begins with the first NULL; from then on it has an entry per value.

func appendValid(v *column.Vec) {
	if v.Valid != nil {
		v.Valid = append(v.Valid, true)
	}
	v.Len++
}

func appendNull(v *column.Vec) {
	if v.Valid == nil {
		v.Valid = make([]bool, v.Len, max(2*v.Len, 64))
		for i := range v.Valid {
			v.Valid[i] = true
		}
	}
	v.Valid = append(v.Valid, false)
	v.Len++
	switch v.Kind {
	case column.String, column.JSON:
		startText(v)
		v.Offs = append(v.Offs, int32(len(v.Bytes)))
	case column.List:
		startList(v)
		v.ListOffs = append(v.ListOffs, int32(len(v.Offs)-1))
	case column.Double:
		v.Floats = append(v.Floats, 0)
	default:
		v.Ints = append(v.Ints, 0)
	}
}

func appendInt(v *column.Vec, i int64) {
	v.Ints = append(v.Ints, i)
	appendValid(v)
}

func appendFloat(v *column.Vec, f float64) {
	v.Floats = append(v.Floats, f)
	appendValid(v)
}

// startText readies a column for the bytes of one more text, endText takes them for a value.
func startText(v *column.Vec) {
	if len(v.Offs) == 0 {
		v.Offs = append(v.Offs, 0)
	}
}

func endText(v *column.Vec) {
	v.Offs = append(v.Offs, int32(len(v.Bytes)))
	appendValid(v)
}

func appendText(v *column.Vec, text []byte) {
	startText(v)
	v.Bytes = append(v.Bytes, text...)
	endText(v)
}

func startList(v *column.Vec) {
	startText(v)
	if len(v.ListOffs) == 0 {
		v.ListOffs = append(v.ListOffs, 0)
	}
}

func appendList(v *column.Vec, items [][]byte) {
	startList(v)
	for _, item := range items {
		v.Bytes = append(v.Bytes, item...)
		v.Offs = append(v.Offs, int32(len(v.Bytes)))
	}
	v.ListOffs = append(v.ListOffs, int32(len(v.Offs)-1))
	appendValid(v)
}
