package pages

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Codes of any width are those packed, in whatever steps they are read, and one that the dictionary does not have
// is an error.
func TestCodesAreOfTheDictionary(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		width := rapid.IntRange(1, 31).Draw(t, "bits")
		groups := rapid.IntRange(1, 40).Draw(t, "groups")
		codes := rapid.SliceOfN(rapid.Int32Range(0, int32(1<<width-1)), 8*groups, 8*groups).Draw(t, "codes")
		data := []byte{byte(groups<<1 | 1)}
		data = append(data, make([]byte, groups*width)...)
		for i, c := range codes {
			for b := range width {
				at := i*width + b
				data[1+at>>3] |= byte(c>>b&1) << (at & 7)
			}
		}
		entries := int(slices.Max(codes)) + 1
		for _, missing := range []int{0, 1} {
			var h hybrid
			h.reset(data, width)
			got, err := []int32(nil), error(nil)
			for len(got) < len(codes) && err == nil {
				part := make([]int32, rapid.IntRange(1, len(codes)-len(got)).Draw(t, "step"))
				err = h.read(part, entries-missing)
				got = append(got, part...)
			}
			if missing == 1 && err == nil {
				t.Fatalf("code %d was read of a dictionary of %d", entries-1, entries-1)
			}
			if missing == 0 && (err != nil || !slices.Equal(got, codes)) {
				t.Fatalf("read %v, %v, want %v", got, err, codes)
			}
		}
	})
}
