package expr

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
)

// The columns that testdata/expr.txt speaks of: one row.
var testColumns = []struct {
	name  string
	kind  column.Kind
	value any // nil: NULL
}{
	{"n", long, int64(7)},
	{"big", long, int64(9223372036854775807)},
	{"x", double, 2.5},
	{"huge", double, 1e308},
	{"neg0", double, negativeZero()},
	{"yes", boolean, int64(1)},
	{"no", boolean, int64(0)},
	{"s", text, "Héllo, World "},
	{"digits", text, " 42 "},
	{"empty", text, ""},
	{"at", instant, int64(1782907323456789)}, // 2026-07-01T12:02:03.456789Z
	{"day", date, int64(20635)},              // 2026-07-01
	{"tags", list, []string{"a", "b", "a"}},
	{"_extra", json, `{"mood":"ha\u0070py","deep":{"n":12.0,"m":[1,{"k":2}]},"t":true,"nil":null,"dup":1,"dup":2,"a b":"q\"x"}`},
	{"ln", long, nil},
	{"dn", double, nil},
	{"bn", boolean, nil},
	{"sn", text, nil},
	{"tn", instant, nil},
	{"listn", list, nil},
	{"jn", json, nil},
}

func negativeZero() float64 { z := 0.0; return -z * 1 }

func testEnv(t testing.TB, zone string) Env {
	z, err := calendar.Load(zone)
	if err != nil {
		t.Fatal(err)
	}
	e := Env{Zone: z}
	for _, c := range testColumns {
		e.Columns = append(e.Columns, Column{c.name, c.kind})
	}
	return e
}

func indexIn(cols []Column) func(string) int {
	return func(name string) int {
		for i, c := range cols {
			if c.Name == name {
				return i
			}
		}
		return -1
	}
}

// vecOf makes a column of copies of one value.
func vecOf(kind column.Kind, value any, n int) column.Vec {
	v := column.Vec{Kind: kind, Len: n}
	if value == nil {
		v.Valid = make([]bool, n)
	}
	if kind == text || kind == json || kind == list {
		v.Offs = []int32{0}
	}
	if kind == list {
		v.ListOffs = []int32{0}
	}
	for range n {
		appendTo(&v, value)
	}
	return v
}

func appendTo(v *column.Vec, value any) {
	switch v.Kind {
	case double:
		x, _ := value.(float64)
		v.Floats = append(v.Floats, x)
	case text, json:
		x, _ := value.(string)
		v.Bytes = append(v.Bytes, x...)
		v.Offs = append(v.Offs, int32(len(v.Bytes)))
	case list:
		x, _ := value.([]string)
		for _, e := range x {
			v.Bytes = append(v.Bytes, e...)
			v.Offs = append(v.Offs, int32(len(v.Bytes)))
		}
		v.ListOffs = append(v.ListOffs, int32(len(v.Offs)-1))
	default:
		x, _ := value.(int64)
		v.Ints = append(v.Ints, x)
	}
}

// shown is value i as testdata writes it.
func shown(v *column.Vec, i int) string {
	if v.IsNull(i) {
		return "NULL"
	}
	switch v.Kind {
	case double:
		return strconv.FormatFloat(v.Floats[i], 'g', -1, 64)
	case text, json:
		return string(v.Text(i))
	case boolean:
		return strconv.FormatBool(v.Ints[i] != 0)
	case instant:
		return instantText(v.Ints[i])
	case date:
		return dateText(v.Ints[i])
	case list:
		from, to := v.List(i)
		var out []string
		for e := from; e < to; e++ {
			out = append(out, string(v.Text(int(e))))
		}
		return "[" + strings.Join(out, " ") + "]"
	default:
		return strconv.FormatInt(v.Ints[i], 10)
	}
}

// TestExpressions runs testdata/expr.txt: "expression => value" or "expression !! part of the
// message"; a value followed by " (failed)" flags the row. "zone X" sets the zone.
func TestExpressions(t *testing.T) {
	f, err := os.Open("testdata/expr.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const n = 3
	var cols []column.Vec
	for _, c := range testColumns {
		cols = append(cols, vecOf(c.kind, c.value, n))
	}
	zone := "UTC"
	sc := bufio.NewScanner(f)
	for line := 1; sc.Scan(); line++ {
		text := sc.Text()
		switch {
		case text == "" || strings.HasPrefix(text, "#"):
		case strings.HasPrefix(text, "zone "):
			zone = strings.TrimPrefix(text, "zone ")
		case strings.Contains(text, " !! "):
			src, want, _ := strings.Cut(text, " !! ")
			_, err := Compile(src, testEnv(t, zone))
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("line %d: %s: got %v, want an error with %q", line, src, err, want)
			}
		default:
			src, want, ok := strings.Cut(text, " => ")
			if !ok {
				t.Fatalf("line %d: neither => nor !!", line)
			}
			if got := evalText(t, src, zone, cols, n); got != want {
				t.Errorf("line %d: %s: got %s, want %s", line, src, got, want)
			}
		}
	}
}

func evalText(t *testing.T, src, zone string, cols []column.Vec, n int) string {
	env := testEnv(t, zone)
	e, err := Compile(src, env)
	if err != nil {
		return "error: " + err.Error()
	}
	again, err := Compile(e.Canonical(), env)
	if err != nil {
		t.Errorf("%s: canonical form %s does not compile: %v", src, e.Canonical(), err)
	} else if again.Canonical() != e.Canonical() || again.Kind() != e.Kind() {
		t.Errorf("%s: canonical form %s reads back as %s", src, e.Canonical(), again.Canonical())
	}
	p := e.NewProgram(indexIn(env.Columns))
	var got string
	for range 2 { // the second run reuses the first one's memory
		v := p.Eval(cols, n)
		got = shown(v, n-1)
		if failed, bad := p.Failed(); failed > 0 {
			if failed != n || !bad[n-1] {
				t.Errorf("%s: %d of %d equal rows failed", src, failed, n)
			}
			got += " (failed)"
		}
	}
	return got
}

// Evaluating a batch gives what evaluating its rows one by one gives, and the canonical form is the
// same expression.
func TestBatchIsRows(t *testing.T) {
	env := testEnv(t, "Europe/London")
	rapid.Check(t, func(t *rapid.T) {
		src := genExpr(t, rapid.SampledFrom(scalarKinds).Draw(t, "kind"), 4)
		e, err := Compile(src, env)
		if err != nil {
			if strings.Contains(err.Error(), "null") { // a case of nothing but NULL has no type
				return
			}
			t.Fatalf("%s: %v", src, err)
		}
		again, err := Compile(e.Canonical(), env)
		if err != nil || again.Canonical() != e.Canonical() {
			t.Fatalf("%s: canonical form %s: %v", src, e.Canonical(), err)
		}
		n := rapid.IntRange(1, 12).Draw(t, "rows")
		rows := make([][]any, n)
		cols := make([]column.Vec, len(env.Columns))
		for c, col := range env.Columns {
			cols[c] = vecOf(col.Kind, nil, 0)
			cols[c].Len = n
		}
		for r := range rows {
			rows[r] = make([]any, len(cols))
			for c, col := range env.Columns {
				rows[r][c] = genValue(t, col.Kind)
				appendTo(&cols[c], rows[r][c])
				cols[c].Valid = append(cols[c].Valid, rows[r][c] != nil)
			}
		}
		p, q := e.NewProgram(indexIn(env.Columns)), again.NewProgram(indexIn(env.Columns))
		forms := [][]column.Vec{cols, dictionaries(cols), cols, dictionaries(cols)}
		v := p.Eval(cols, n)
		for range rapid.IntRange(0, 3).Draw(t, "batches before") {
			v = p.Eval(rapid.SampledFrom(forms).Draw(t, "texts as they are or by codes"), n)
		}
		_, bad := p.Failed()
		for r := range rows {
			one := make([]column.Vec, len(cols))
			for c, col := range env.Columns {
				one[c] = vecOf(col.Kind, rows[r][c], 1)
			}
			w := q.Eval(one, 1)
			failed, _ := q.Failed()
			if shown(v, r) != shown(w, 0) || (failed > 0) != (bad != nil && bad[r]) {
				t.Fatalf("%s\nrow %d %v: in the batch %s, alone %s", e.Canonical(), r, rows[r], shown(v, r), shown(w, 0))
			}
		}
	})
}

// dictionaries gives text columns the form of a dictionary and codes, some entries of it unused.
func dictionaries(cols []column.Vec) []column.Vec {
	out := slices.Clone(cols)
	for c := range out {
		v := &out[c]
		if v.Kind != text {
			continue
		}
		entries := map[string]int32{"": 0, "12x": 1}
		offs, bytes := []int32{0, 0, 3}, []byte("12x")
		for i := range v.Len {
			word := string(cols[c].Text(i))
			code, ok := entries[word]
			if !ok {
				code = int32(len(entries))
				entries[word], bytes = code, append(bytes, word...)
				offs = append(offs, int32(len(bytes)))
			}
			if cols[c].IsNull(i) {
				code = 0
			}
			v.Codes = append(v.Codes, code)
		}
		v.Offs, v.Bytes = offs, bytes
	}
	return out
}

var scalarKinds = []column.Kind{long, double, boolean, text, instant, date}

func genValue(t *rapid.T, kind column.Kind) any {
	if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
		return nil
	}
	switch kind {
	case long:
		return rapid.SampledFrom([]int64{0, 1, -1, 7, 1 << 62, -1 << 63, 1<<63 - 1}).Draw(t, "long")
	case double:
		return rapid.SampledFrom([]float64{0, 1, -2.5, 1e308, -1e308, 1e-300, 9e18, 1e19}).Draw(t, "double")
	case boolean:
		return rapid.Int64Range(0, 1).Draw(t, "bool")
	case text:
		return rapid.SampledFrom([]string{"", "a", "Ab", " 12 ", "1e400", "é%_", "true", "2026-03-29", "2026-03-29T01:30:00"}).Draw(t, "text")
	case instant:
		return rapid.SampledFrom([]int64{0, -1, 1782907323456789, 1<<62 - 1, maxInstant, minInstant}).Draw(t, "instant")
	case date:
		return rapid.SampledFrom([]int64{0, -1, 20635, 1 << 40}).Draw(t, "date")
	case list:
		return rapid.SampledFrom([][]string{{}, {"a"}, {"b", "a"}}).Draw(t, "list")
	default:
		return rapid.SampledFrom([]string{`{}`, `{"m":1}`, `{"m":"12"}`, `{"m":{"k":"2026-01-01"}}`, `{"m":null}`, `{"m":1.5e3}`}).Draw(t, "json")
	}
}

// genExpr draws an expression of the kind.
func genExpr(t *rapid.T, kind column.Kind, depth int) string {
	sub := func(k column.Kind) string { return genExpr(t, k, depth-1) }
	if depth == 0 || rapid.IntRange(0, 5).Draw(t, "leaf") == 0 {
		return genLeaf(t, kind)
	}
	switch rapid.IntRange(0, 3).Draw(t, "shape") {
	case 0:
		return fmt.Sprintf("case when %s then %s when %s then %s else %s end", sub(boolean), sub(kind), sub(boolean), sub(kind), sub(kind))
	case 1:
		return fmt.Sprintf("coalesce(%s, %s)", sub(kind), sub(kind))
	case 2:
		return fmt.Sprintf("nullif(%s, %s)", sub(kind), sub(kind))
	}
	pick := func(s ...string) string { return rapid.SampledFrom(s).Draw(t, "op") }
	any := rapid.SampledFrom(scalarKinds).Draw(t, "of")
	switch kind {
	case long:
		return pick(fmt.Sprintf("(%s %s %s)", sub(long), pick("+", "-", "*"), sub(long)), "(- "+sub(long)+")", "length("+sub(text)+")",
			"cardinality(tags)", "extract(hour from "+sub(instant)+")", "extract(month from "+sub(date)+")", "cast("+sub(double)+" as long)",
			"cast("+sub(text)+" as long)", "cast("+sub(boolean)+" as long)", "cast(_extra.m as long)")
	case double:
		return pick(fmt.Sprintf("(%s %s %s)", sub(double), pick("+", "-", "*", "/"), sub(double)), fmt.Sprintf("%s / %s", sub(long), sub(double)),
			"cast("+sub(long)+" as double)", "cast("+sub(text)+" as double)", "cast(_extra.m as double)")
	case boolean:
		k := any
		cmp := pick("=", "<>", "<", "<=", ">", ">=")
		if k == boolean {
			cmp = "="
		}
		return pick(fmt.Sprintf("(%s %s %s)", sub(k), cmp, sub(k)), fmt.Sprintf("(%s and %s)", sub(boolean), sub(boolean)),
			fmt.Sprintf("(%s or %s)", sub(boolean), sub(boolean)), "(not "+sub(boolean)+")", "("+sub(k)+" is null)", "("+sub(boolean)+" is not true)",
			"("+sub(text)+" like '%a_')", "("+sub(text)+" not in ('a', null))", "("+sub(long)+" in (1, 7, 0))", "("+sub(long)+" between 0 and 7)",
			"contains(tags, "+sub(text)+")", "starts_with("+sub(text)+", 'a')", "cast("+sub(text)+" as boolean)")
	case text:
		return pick("trim("+sub(text)+")", "lower("+sub(text)+")", "upper("+sub(text)+")", "cast("+sub(any)+" as string)", "cast(_extra.m.k as string)")
	case instant:
		return pick("date_trunc('day', "+sub(instant)+")", "date_trunc('hour', "+sub(instant)+")", "cast("+sub(text)+" as timestamptz)", "cast("+sub(date)+" as timestamptz)")
	default:
		return pick("date_trunc('week', "+sub(date)+")", "cast("+sub(instant)+" as date)", "cast("+sub(text)+" as date)")
	}
}

func genLeaf(t *rapid.T, kind column.Kind) string {
	leaves := map[column.Kind][]string{
		long: {"n", "ln", "big", "0", "-9223372036854775808", "cast(null as long)"}, double: {"x", "dn", "huge", "0.5", "1e300"},
		boolean: {"yes", "bn", "true", "false"}, text: {"s", "sn", "digits", "'a'", "'it''s'", "''"},
		instant: {"at", "tn", "timestamp '2026-03-29T01:00:00Z'"}, date: {"day", "date '2026-02-28'"},
	}
	return rapid.SampledFrom(leaves[kind]).Draw(t, "leaf")
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"a.b.c = 'x'", "case when n > 1 then 2 end", "n in (1,2) and not s like '%x'", "cast(_extra.m as long) + 1"} {
		f.Add(s)
	}
	env := testEnv(f, "UTC")
	f.Fuzz(func(t *testing.T, src string) {
		e, err := Compile(src, env)
		if err != nil {
			if err.(*Error).End > len(src) {
				t.Fatalf("%q: position beyond the text: %+v", src, err)
			}
			return
		}
		again, err := Compile(e.Canonical(), env)
		if err != nil || again.Canonical() != e.Canonical() {
			t.Fatalf("%q: canonical form %q: %v", src, e.Canonical(), err)
		}
		cols := make([]column.Vec, len(testColumns))
		for i, c := range testColumns {
			cols[i] = vecOf(c.kind, c.value, 2)
		}
		e.NewProgram(indexIn(env.Columns)).Eval(cols, 2)
	})
}

// Checking takes time in proportion to the text, however deep it is nested.
func TestDeepNesting(t *testing.T) {
	for _, c := range []struct{ open, inner, close string }{
		{"(1 > n) = (", "yes", ")"},
		{"nullif(n, ", "n", ")"},
		{"coalesce(", "n", ", n)"},
		{"- (", "n", ")"},
		{"(yes >= ", "", ""},
		{"case when n > 1 then 1 else ", "n", " end"},
		{"(yes and n > (", "n", "))"},
	} {
		const depth = 40
		src := strings.Repeat(c.open, depth) + c.inner + strings.Repeat(c.close, depth)
		_, err := Compile(src, testEnv(t, "UTC"))
		if err != nil && strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %v", src, err)
		}
	}
	for _, src := range []string{strings.Repeat("(", 5000), strings.Repeat("not ", 5000), strings.Repeat("case ", 5000), "n" + strings.Repeat(" + n", 5000)} {
		if _, err := Compile(src, testEnv(t, "UTC")); err == nil {
			t.Errorf("%.20s… is accepted", src)
		}
	}
}
