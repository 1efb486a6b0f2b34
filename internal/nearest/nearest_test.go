package config

import "testing"

func TestNearest(t *testing.T) {
	for _, test := range []struct {
		given, want string
		of          []string
	}{
		{"distinct", "count_distinct_approx", Aggs},
		{"avreage", "", []string{"count", "avg"}}, // nothing is better than a wrong guess
		{"cuont", "count", Aggs},
		{"COUNT", "count", Aggs},
		{"strng", "string", FieldTypes},
		{"lnit", "lint", []string{"init", "lint"}},
		{"xyz", "", Aggs},
		{"", "", Aggs},
		{"p", "", Aggs},
		{"pins", "pin", []string{"geo", "pin", "user"}},
	} {
		got := Nearest(test.given, test.of)
		if got != test.want {
			t.Errorf("Nearest(%q) = %q, want %q", test.given, got, test.want)
		}
	}
}
