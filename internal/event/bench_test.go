package event

import (
	"testing"

	"github.com/valyala/fastjson"
)

func BenchmarkDecodePin(b *testing.B) { benchDecode(b, nil) }

func BenchmarkDecodeThreeColumns(b *testing.B) {
	benchDecode(b, []string{"category", "follower_count", ColumnEventTime})
}

func benchDecode(b *testing.B, columns []string) {
	s := compile(b, pinStream())
	var mask []bool
	if columns != nil {
		mask = make([]bool, len(s.Columns()))
		for _, c := range columns {
			mask[s.Index(c)] = true
		}
	}
	d := s.NewDecoder(mask)
	r := record(pinEvent)
	r.ID = "0191c2f0-0000-7000-8000-000000000001"
	b.SetBytes(int64(len(r.Value)))
	b.ReportAllocs()
	for b.Loop() {
		if v := d.Append(r); v.Dead() {
			b.Fatal(v)
		}
		if d.Rows().N == 10_000 {
			d.Reset()
		}
	}
}

func BenchmarkInspectPin(b *testing.B) {
	i := compile(b, pinStream()).NewInspector()
	value := []byte(pinEvent)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		i.Inspect(value, testReceived)
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	s := compile(b, pinStream())
	d := s.NewDecoder(nil)
	d.Append(record(pinEvent))
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = s.AppendJSON(dst[:0], d.Rows(), 0)
	}
}

// BenchmarkFastjsonParse is the parse alone, laxer than RFC 8259, for comparison.
func BenchmarkFastjsonParse(b *testing.B) {
	var p fastjson.Parser
	value := []byte(pinEvent)
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.ParseBytes(value); err != nil {
			b.Fatal(err)
		}
	}
}
