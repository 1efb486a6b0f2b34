package expr

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write docs/functions.md")

const docsHead = `# Functions

Made from the table in ` + "`internal/expr/functions.go`" + ` (` + "`go test ./internal/expr -run TestFunctionsAreDocumented -update`" + `).
Expressions of views are a typed subset of SQL with three-valued logic: unless said otherwise NULL in is NULL out. An
operation that **fails** on a row gives NULL and counts once under ` + "`_errors`" + `, in history and live alike. NaN and
infinities become NULL, −0.0 becomes 0.0, where an expression ends (measure, dimension) and in comparisons.

In other engines instants are microseconds and dates are days since 1970-01-01, both bigint: a column ` + "`at`" + ` is
` + "`epoch_us(\"at\")`" + ` in DuckDB and ` + "`unix_micros(`at`)`" + ` in Spark, so that no session's time zone matters. Forms that depend on the
view's zone are shown for Europe/London. Zones whose clocks change at midnight or within an hour, members of json, and
what says **kernel only** below run in the kernel alone; a view with them is refused for ` + "`engine: spark`" + ` and ` + "`--sql`" + `, with the reason.
DuckDB and the kernel are held equal by generated expressions and views (` + "`make oracle`" + `), Spark by a fixed corpus (` + "`make soak`" + `).

Written out before anything else: ` + "`x > y`" + ` as ` + "`y < x`" + `, ` + "`x between a and b`" + ` as ` + "`a <= x and x <= b`" + `, ` + "`not in`, `not like`, `is not …`" + ` as ` + "`not (…)`" + `,
` + "`nullif(a, b)`" + ` as ` + "`case when a = b then null else a end`" + `, ` + "`case x when a`" + ` as ` + "`case when x = a`" + `. A long becomes a double and a text literal a time where
the other operand asks for it. There is no arithmetic on times, no ` + "`concat`" + ` and no regular expression: engines do not agree on them.

| function | takes | gives | exact semantics | DuckDB | Spark |
|---|---|---|---|---|---|
`

const docsTail = `
## Aggregates

| agg | over | state, merged by | DuckDB and Spark |
|---|---|---|---|
| count | rows, or values that are not NULL | count, + | ` + "`count(*)`, `count(v)`" + ` |
| sum, avg | long | 128-bit sum and count, + | ` + "`sum(v)`" + ` as hugeint, decimal(38, 0) |
| sum, avg | double | sum with what rounding took from it, and count, + | ` + "`sum(v)`" + `, within 1e-9 · Σ\|v\| |
| min, max | long, double, timestamptz, date | limit and count | ` + "`min(v)`, `max(v)`" + ` |
| count_distinct_approx | any but list and json | 4096 registers, greatest rank | ` + "`max(rank)` grouped by register of `xxhash64(v)`" + `; ±1.6 % |
| percentile | long, double | counts by bucket, +; least and greatest value | ` + "`count(*)` grouped by bucket" + `; nearest rank, within 0.8 % |
| ratio | two measures | none: divided when read, NULL for a zero denominator | – |

## Cleaning

The rules of ` + "`streams/*.yaml`" + ` run once, when a record is judged; the lake holds what they gave, so no other engine has to know them.

| rule | exact semantics |
|---|---|
| from | another member, or a path into objects; of duplicate keys the last |
| trim | first: without white space at both ends |
| null_if | then: equal texts are NULL |
| strip_prefix | then: removed once, if the text begins with it |
| lower | then: A-Z to a-z, nothing else |
| split | last: at each separator, into a list |
| parse: human_number | last: a decimal number with an optional k, m or b of either case: thousand, million, billion |
| layout | last: as Go writes times, or unix, unix_ms, unix_us |
`

// The table for people is that of the code.
func TestFunctionsAreDocumented(t *testing.T) {
	var b strings.Builder
	b.WriteString(docsHead)
	cell := func(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
	code := func(s string) string {
		if s == "" {
			return "kernel only"
		}
		return "`` " + cell(s) + " ``"
	}
	for _, r := range Table() {
		if !strings.Contains(r.Semantics, "fail") && r.Fails {
			r.Semantics += "; fails outside the years 1 to 9999"
			if strings.HasPrefix(r.Takes, "(json") {
				r.Semantics = strings.TrimSuffix(r.Semantics, "; fails outside the years 1 to 9999") + "; fails as that does"
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", cell(r.Name), cell(r.Takes), cell(r.Gives), cell(r.Semantics), code(r.DuckDB), code(r.Spark))
	}
	b.WriteString(docsTail)
	name := filepath.Join("..", "..", "docs", "functions.md")
	if *update {
		if err := os.WriteFile(name, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != b.String() {
		t.Error("docs/functions.md is not what the table says: go test ./internal/expr -run TestFunctionsAreDocumented -update")
	}
}

// Every function either has a form in both engines, or says that the kernel alone has it.
func TestEveryFunctionHasAForm(t *testing.T) {
	for _, r := range Table() {
		if (r.DuckDB == "") != (r.Spark == "") || strings.Contains(r.DuckDB+r.Spark, "{0}") {
			t.Errorf("%s %s: %q, %q", r.Name, r.Takes, r.DuckDB, r.Spark)
		}
	}
}
