package column

// Append appends the values of v, whose texts need not begin at 0, to a column without codes.
func (to *Vec) Append(v *Vec) {
	v = v.Flat()
	to.AppendValid(v)
	to.Ints = append(to.Ints, v.Ints...)
	to.Floats = append(to.Floats, v.Floats...)
	if v.Kind == List {
		at := int32(max(len(to.Offs)-1, 0))
		first, last := v.ListOffs[0], v.ListOffs[v.Len]
		to.ListOffs = appendOffs(to.ListOffs, v.ListOffs[:v.Len+1], at)
		appendTexts(to, v, int(first), int(last))
	}
	if v.Kind == String || v.Kind == JSON {
		appendTexts(to, v, 0, v.Len)
	}
}

// AppendValid appends which values of v are NULL, and their number.
func (to *Vec) AppendValid(v *Vec) {
	if v.Valid != nil || to.Valid != nil {
		for len(to.Valid) < to.Len {
			to.Valid = append(to.Valid, true)
		}
		for i := range v.Len {
			to.Valid = append(to.Valid, !v.IsNull(i))
		}
	}
	to.Len += v.Len
}

func appendTexts(to, v *Vec, from, until int) {
	at := int32(len(to.Bytes))
	to.Bytes = append(to.Bytes, v.Bytes[v.Offs[from]:v.Offs[until]]...)
	to.Offs = appendOffs(to.Offs, v.Offs[from:until+1], at)
}

// appendOffs appends offsets, moved so that the first one is at.
func appendOffs(to, offs []int32, at int32) []int32 {
	if len(to) == 0 {
		to = append(to, at)
	}
	for _, o := range offs[1:] {
		to = append(to, o-offs[0]+at)
	}
	return to
}
