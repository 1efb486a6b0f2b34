package icelake

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// inWords are the rows of blocks, one a line.
func inWords(b *lake.Block) []string {
	out := make([]string, b.N)
	for i, c := range b.Columns {
		v := &b.Cols[i]
		for row := range b.N {
			word := "NULL"
			switch {
			case v.IsNull(row):
			case c.Kind == column.List:
				word = "["
				for e, to := v.List(row); e < to; e++ {
					word += fmt.Sprintf("%q ", v.Text(int(e)))
				}
			case c.Kind == column.String || c.Kind == column.JSON:
				word = fmt.Sprintf("%q", v.Text(row))
			default:
				word = fmt.Sprint(v.Ints[row])
			}
			out[row] += c.Name + "=" + word + ";"
		}
	}
	return out
}

// everyRow is a table's rows in words, sorted.
func everyRow(t *testing.T, l *Lake, table string) (out []string) {
	t.Helper()
	_, err := l.Scan(t.Context(), lake.Selection{Table: table}, func(b *lake.Block) error {
		out = append(out, inWords(b)...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

// Whatever was gathered is what was appended, be it codes of several dictionaries or texts, whatever becomes of
// it, run after run.
func TestGatheredRowsAreThoseAppended(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	coded := 0
	for range 20 {
		g := &gathered{}
		for range 3 {
			var want []string
			for range 1 + r.IntN(4) {
				b := codesRows(r, 1+r.IntN(3000))
				if r.IntN(2) == 0 {
					other := gathered{}
					if err := other.append(&b); err != nil {
						t.Fatal(err)
					}
					other.end()
					b = other.rows
				}
				for from := 0; from < b.N; { // as a reader shows it, part by part
					to := min(b.N, from+1+r.IntN(2000))
					var rows []int32
					for i := from; i < to; i++ {
						rows = append(rows, int32(i))
					}
					part := b.Pick(rows)
					want, from = append(want, inWords(part)...), to
					if err := g.append(part); err != nil {
						t.Fatal(err)
					}
				}
			}
			g.end()
			for i := range g.rows.Cols {
				if g.rows.Cols[i].Codes != nil {
					coded++
				}
			}
			if diff := cmp.Diff(want, inWords(&g.rows)); diff != "" {
				t.Fatal(diff)
			}
			g.reset()
		}
	}
	if coded == 0 {
		t.Error("nothing was gathered as codes")
	}
}

// A rewrite keeps every value of every kind, in one run or in many, and a file of many runs is one that readers
// find ids in. What is codes in one run may be none in the next, and the other way round.
func TestARewriteKeepsTextsOfAllSorts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	for i, most := range []int{1, 200_000, 1 << 20, 64 << 20} {
		l := testLake(t, t.TempDir(), quickFS{})
		def := lake.Table{Name: "pin", Columns: codesColumns(), Time: event.ColumnEventTime}
		if err := l.EnsureTable(t.Context(), def); err != nil {
			t.Fatal(err)
		}
		for n := range int64(4) {
			b := codesRows(r, 2000+r.IntN(8000))
			if i := b.Index("many"); n%2 == 0 {
				b.Cols[i] = b.Cols[b.Index("few")]
			} else {
				b.Cols[b.Index("few")] = b.Cols[i]
			}
			files, err := l.Stage(t.Context(), "pin", []lake.Block{b})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Commit(t.Context(), intent(n+1, files)); err != nil {
				t.Fatal(err)
			}
		}
		before := everyRow(t, l, "pin")
		rewrite, err := l.Rewrite(t.Context(), "pin", lake.Shape{Target: 64 << 20, MinFiles: 2, MaxBytes: most})
		if err != nil || rewrite == nil {
			t.Fatal(rewrite, err)
		}
		in := &ledger.Intent{Table: "pin", N: 5, ID: fmt.Sprint("compact-", i), Kind: lake.Compact, Open: true}
		if landed, err := l.Replace(t.Context(), in, rewrite); err != nil || landed.Files != 1 {
			t.Fatalf("landed %+v, %v", landed, err)
		}
		after := everyRow(t, l, "pin")
		if diff := cmp.Diff(len(before), len(after)); diff != "" {
			t.Fatal(diff)
		}
		for k := range before {
			if before[k] != after[k] {
				t.Fatalf("runs of %d bytes:\n%s became\n%s", most, before[k], after[k])
			}
		}
		_, id, _ := strings.Cut(after[0], event.ColumnEventID+`="`)
		id, _, _ = strings.Cut(id, `";`)
		found, err := l.Find(t.Context(), "pin", strings.ReplaceAll(id, `\"`, `"`))
		if err != nil || len(found.Rows) == 0 {
			t.Errorf("runs of %d bytes: %s was not found: %+v, %v", most, id, found, err)
		}
	}
}
