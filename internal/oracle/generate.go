package oracle

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
)

// Gen draws schemas, rows, expressions and views. Equal seeds draw equal ones.
type Gen struct{ *rand.Rand }

// NewGen returns a generator of case number n of a seed.
func NewGen(seed, n uint64) Gen { return Gen{rand.New(rand.NewPCG(seed, n))} }

func pick[T any](g Gen, of ...T) T { return of[g.IntN(len(of))] }

func (g Gen) chance(percent int) bool { return g.IntN(100) < percent }

// Zones of views: west and east of Greenwich, half hours, and one without summer time.
var Zones = []string{"UTC", "Europe/London", "America/New_York", "Asia/Kolkata", "Australia/Sydney"}

// Schema draws a stream's fields: some of each kind.
func (g Gen) Schema() (*event.Schema, error) {
	s := event.Stream{Name: "pin", Topic: "pin", EventTime: "event_time", Grace: 10 * time.Minute}
	for i, kind := range []string{"long", "double", "boolean", "timestamptz", "date", "string", "list<string>"} {
		for k := range 1 + g.IntN(3) {
			s.Fields = append(s.Fields, event.Field{Name: fmt.Sprintf("%c%d", "nxbtdsl"[i], k), Type: kind})
		}
	}
	return event.Compile(s, 1)
}

// Rows draws n rows of a schema.
func (g Gen) Rows(s *event.Schema, n int) *event.Rows {
	rows := &event.Rows{Schema: s, N: n}
	for _, c := range s.Columns() {
		rows.Cols = append(rows.Cols, g.vec(c, n))
	}
	times, received := &rows.Cols[s.Index(event.ColumnEventTime)], &rows.Cols[s.Index(event.ColumnReceivedAt)]
	for i := range n {
		at := g.eventTime()
		times.Ints[i] = at
		received.Ints[i] = at + pick[int64](g, 0, 1, 60, 599, 600, 3600, 86400, 10*86400)*1_000_000 + g.Int64N(3)
	}
	return rows
}

func (g Gen) vec(c event.Column, n int) column.Vec {
	v := column.Vec{Kind: c.Kind, Len: n}
	system := strings.HasPrefix(c.Name, "_")
	if !system || c.Name == event.ColumnEventID || c.Name == event.ColumnExtra {
		if g.chance(80) {
			v.Valid = make([]bool, n)
			for i := range v.Valid {
				v.Valid[i] = !g.chance(20)
			}
		}
	}
	switch c.Kind {
	case column.Double:
		for range n {
			v.Floats = append(v.Floats, g.double())
		}
	case column.String, column.JSON:
		v.Offs = []int32{0}
		if entries := 1 + g.IntN(7); c.Kind == column.String && g.chance(50) { // as it comes from Parquet
			for range entries {
				v.Bytes = append(v.Bytes, g.text()...)
				v.Offs = append(v.Offs, int32(len(v.Bytes)))
			}
			for range n {
				v.Codes = append(v.Codes, int32(g.IntN(entries)))
			}
			break
		}
		for range n {
			t := g.text()
			if c.Kind == column.JSON {
				t = "{}"
			}
			v.Bytes = append(v.Bytes, t...)
			v.Offs = append(v.Offs, int32(len(v.Bytes)))
		}
	case column.List:
		v.Offs, v.ListOffs = []int32{0}, []int32{0}
		for range n {
			for range g.IntN(5) {
				v.Bytes = append(v.Bytes, g.text()...)
				v.Offs = append(v.Offs, int32(len(v.Bytes)))
			}
			v.ListOffs = append(v.ListOffs, int32(len(v.Offs)-1))
		}
	default:
		for range n {
			v.Ints = append(v.Ints, g.integer(c.Kind))
		}
	}
	return v
}

func (g Gen) integer(k column.Kind) int64 {
	switch k {
	case column.Boolean:
		return g.Int64N(2)
	case column.Timestamptz:
		return g.eventTime() + g.Int64N(1_000_000)
	case column.Date:
		return pick[int64](g, 0, -1, 59, 20635, 11016, 20000+g.Int64N(3000))
	}
	return pick[int64](g, 0, 1, -1, 7, math.MaxInt64, math.MinInt64, math.MaxInt64-1, 1<<53+1, g.Int64N(100), g.Int64N(100), g.Int64())
}

// moments are where clocks change or days, months and years end.
var moments = []string{
	"2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-11-01T05:30:00Z",
	"2026-11-01T06:30:00Z", "2024-02-29T12:00:00Z", "2025-12-31T23:59:59Z", "2026-01-01T00:00:00Z", "2026-10-03T16:00:00Z",
}

func (g Gen) eventTime() int64 {
	if g.chance(40) {
		t, err := time.Parse(time.RFC3339, pick(g, moments...))
		if err == nil {
			return t.UnixMicro()
		}
	}
	return time.Date(2026, 1+time.Month(g.IntN(12)), 1+g.IntN(28), g.IntN(24), g.IntN(60), 0, 0, time.UTC).UnixMicro()
}

func (g Gen) double() float64 {
	return pick[float64](g, 0, math.Copysign(0, -1), 1, -1.5, 0.1, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, -math.MaxFloat64,
		math.SmallestNonzeroFloat64, 5e-310, 1e-300, 9223372036854775808, -9223372036854775808, 1<<53+2, g.NormFloat64(),
		g.NormFloat64()*1e6, math.Ldexp(1, g.IntN(40)), math.Nextafter(math.Ldexp(1, g.IntN(60)), 0), float64(g.IntN(20)))
}

func (g Gen) text() string {
	return pick(g, "", "a", "A", "art", "video", "Ünïcode", "日本", "🤦🏼‍♂️", " x ", "\tx\n", "it's", `back\slash`, "100%", "a_b", "12", " 12 ", "+7",
		"-0", "9223372036854775808", "1.5", "1e3", ".5", "1.", "1e999", "1e-999", "0x10", "1_000", "NaN", "inf", "true", "FALSE", " tRue ", "2026-03-29",
		"2026-02-30", "0000-01-01", "0001-01-01", "10000-01-01", "2026-3-9", "é́", "ſ", "K", "a\x00b", strings.Repeat("long ", 20))
}

// Env is what expressions of a schema may name.
func Env(s *event.Schema) expr.Env {
	var e expr.Env
	for _, c := range s.Columns() {
		e.Columns = append(e.Columns, expr.Column{Name: c.Name, Kind: c.Kind})
	}
	return e
}
