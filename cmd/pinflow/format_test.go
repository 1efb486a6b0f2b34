package main

import (
	"encoding/json"
	"testing"
)

func TestTablesShowNumbersInTheMeasuresFormat(t *testing.T) {
	for _, c := range []struct{ format, number, want string }{
		{"percent", "0.1234", "12.3 %"},
		{"percent", "1", "100.0 %"},
		{"percent", "0", "0.0 %"},
		{"percent", "0.00012", "0.012 %"},
		{"humanize", "9904", "9,904"},
		{"humanize", "124049", "124K"},
		{"humanize", "12404", "12.4K"},
		{"humanize", "999999", "1M"},
		{"humanize", "-1500000000", "-1.5B"},
		{"humanize", "0.03333", "0.0333"},
		{"humanize", "3.5", "3.5"},
		{"bytes", "0", "0 B"},
		{"bytes", "1023", "1,023 B"},
		{"bytes", "1536", "1.5 KiB"},
		{"bytes", "1500833372065896", "1.33 PiB"},
		{"duration_ms", "12", "12 ms"},
		{"duration_ms", "1234", "1.2 s"},
		{"duration_ms", "-90000", "-1 min"},
		{"duration_ms", "7860000", "2 h 11 min"},
		{"currency", "1234567.891", "1,234,567.89"},
		{"integer", "170141183460469231731687303715884105727", "170,141,183,460,469,231,731,687,303,715,884,105,727"},
		{"integer", "1234.6", "1,235"},
		{"number", "1234.5", "1,234.5"},
		{"number", "0.00123", "0.00123"},
	} {
		if got, ok := formatted(json.Number(c.number), c.format); !ok || got != c.want {
			t.Errorf("%s as %s: %q, %v, want %q", c.number, c.format, got, ok, c.want)
		}
	}
	for _, c := range []struct{ format, number string }{{"", "5"}, {"humanize", "1e300"}, {"bytes", "1e300"}, {"integer", "1e300"}} {
		if got, ok := formatted(json.Number(c.number), c.format); ok {
			t.Errorf("%s as %q: %q, want it left as it is", c.number, c.format, got)
		}
	}
}
