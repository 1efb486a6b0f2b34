package icelake

import (
	"fmt"
	"testing"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/lake"
)

// BenchmarkStage writes a stage of realistic pins: 200,000 rows, about 300 bytes of text each.
func BenchmarkStage(b *testing.B) {
	const n = 200_000
	for _, days := range []int{1, 3} {
		b.Run(fmt.Sprintf("days=%d", days), func(b *testing.B) {
			l, err := open(b.Context(), Config{Warehouse: b.TempDir(), Catalog: b.TempDir() + "/catalog.db"}, hostFS{})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			t := pins()
			t.Columns = append(t.Columns, lake.Column{Name: "description", Kind: column.String}, lake.Column{Name: "link", Kind: column.String},
				lake.Column{Name: "category", Kind: column.String}, lake.Column{Name: "poster", Kind: column.String},
				lake.Column{Name: "_received_at", Kind: column.Timestamptz, Required: true},
				lake.Column{Name: "_log", Kind: column.Long, Required: true}, lake.Column{Name: "_partition", Kind: column.Long, Required: true},
				lake.Column{Name: "_schema", Kind: column.Long, Required: true})
			if err := l.EnsureTable(b.Context(), t); err != nil {
				b.Fatal(err)
			}
			blk := rows(0, n, days)
			var desc, link, cat, poster []string
			ones := make([]int64, n)
			for i := range n {
				desc = append(desc, fmt.Sprintf("A long description of pin %d with words like %x and some more words that repeat in every row of the data set, as people write", i%11000, i*7919))
				link = append(link, fmt.Sprintf("https://www.example.com/%x/pin/%d", i*31, i%11000))
				cat = append(cat, []string{"art", "travel", "beauty", "diy", "finance"}[i%5])
				poster = append(poster, fmt.Sprintf("poster %d", i%3000))
			}
			blk.Columns = t.Columns
			blk.Cols = append(blk.Cols, texts1(column.String, desc...), texts1(column.String, link...), texts1(column.String, cat...),
				texts1(column.String, poster...), blk.Cols[7], column.Vec{Kind: column.Long, Len: n, Ints: ones},
				column.Vec{Kind: column.Long, Len: n, Ints: ones}, column.Vec{Kind: column.Long, Len: n, Ints: ones})
			b.ResetTimer()
			size := int64(0)
			for b.Loop() {
				files, err := l.Stage(b.Context(), "pin", []lake.Block{blk})
				if err != nil {
					b.Fatal(err)
				}
				for _, f := range files {
					size += f.Bytes
				}
			}
			b.ReportMetric(float64(n*b.N)/b.Elapsed().Seconds(), "rows/s")
			b.ReportMetric(float64(size)/float64(n*b.N), "B/row")
		})
	}
}
