package ledger

// pieceSize is more than what a segment takes in a transaction beside its data.
const pieceSize = 256

// Chunks cuts segments into transactions of at most MaxTx bytes, or one larger segment. There is always a
// last one.
func Chunks(segs []Segment) [][]Segment {
	var chunks [][]Segment
	start, size := 0, 0
	for i := range segs {
		n := len(segs[i].Data) + pieceSize
		if i > start && size+n > MaxTx {
			chunks, start, size = append(chunks, segs[start:i]), i, 0
		}
		size += n
	}
	return append(chunks, segs[start:])
}
