package column

// Pick returns the values at rows, in that order, as a column of its own.
func (v *Vec) Pick(rows []int32) Vec {
	out := Vec{Kind: v.Kind, Len: len(rows)}
	if len(v.Valid) > 0 {
		out.Valid = pick(v.Valid, rows)
	}
	switch v.Kind {
	case Long, Boolean, Timestamptz, Date:
		out.Ints = pick(v.Ints, rows)
	case Double:
		out.Floats = pick(v.Floats, rows)
	case String, JSON:
		if v.Codes != nil {
			out.Codes, out.Offs, out.Bytes = pick(v.Codes, rows), v.Offs, v.Bytes
			break
		}
		out.Offs, out.Bytes = pickTexts(v, rows)
	case List:
		var elements []int32
		out.ListOffs = append(make([]int32, 0, len(rows)+1), 0)
		for _, r := range rows {
			from, to := v.List(int(r))
			for e := from; e < to; e++ {
				elements = append(elements, e)
			}
			out.ListOffs = append(out.ListOffs, int32(len(elements)))
		}
		if v.Codes != nil {
			out.Codes, out.Offs, out.Bytes = pick(v.Codes, elements), v.Offs, v.Bytes
			break
		}
		out.Offs, out.Bytes = pickTexts(v, elements)
	case Invalid:
	}
	return out
}

func pick[T any](from []T, rows []int32) []T {
	to := make([]T, len(rows))
	for i, r := range rows {
		to[i] = from[r]
	}
	return to
}

func pickTexts(v *Vec, rows []int32) ([]int32, []byte) {
	size := 0
	for _, r := range rows {
		size += int(v.Offs[r+1] - v.Offs[r])
	}
	offs, bytes := append(make([]int32, 0, len(rows)+1), 0), make([]byte, 0, size)
	for _, r := range rows {
		bytes = append(bytes, v.Text(int(r))...)
		offs = append(offs, int32(len(bytes)))
	}
	return offs, bytes
}
