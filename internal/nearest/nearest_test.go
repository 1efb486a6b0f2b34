package nearest

import "testing"

func TestName(t *testing.T) {
	aggs := []string{"count", "sum", "min", "max", "avg", "count_distinct_approx", "percentile"}
	types := []string{"string", "long", "double", "boolean", "timestamptz", "date", "list<string>", "json"}
	for _, test := range []struct {
		given, want string
		of          []string
	}{
		{"distinct", "count_distinct_approx", aggs},
		{"avreage", "", []string{"count", "avg"}}, // nothing is better than a wrong guess
		{"cuont", "count", aggs},
		{"COUNT", "count", aggs},
		{"strng", "string", types},
		{"lnit", "lint", []string{"init", "lint"}},
		{"xyz", "", aggs},
		{"", "", aggs},
		{"p", "", aggs},
		{"pins", "pin", []string{"geo", "pin", "user"}},
	} {
		got := Name(test.given, test.of)
		if got != test.want {
			t.Errorf("Name(%q) = %q, want %q", test.given, got, test.want)
		}
	}
}
