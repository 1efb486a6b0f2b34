package export

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

var day = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

// fill makes a lake whose files hold rows of two logs, three partitions and three days in no order, and
// returns the events of the middle day in the order in which they must come out.
func fill(t *testing.T, schema *event.Schema) (*icelake.Lake, []string) {
	t.Helper()
	dir := t.TempDir()
	lk, err := icelake.Open(t.Context(), icelake.Config{
		Warehouse: filepath.Join(dir, "warehouse"), Catalog: filepath.Join(dir, "catalog.db"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lk.Close() })
	if err := lk.EnsureTable(t.Context(), lake.StreamTable(schema)); err != nil {
		t.Fatal(err)
	}
	type row struct {
		log, partition, offset int64
		body                   string
	}
	var rows []row
	var want []string
	for log := range int64(2) {
		for partition := range int64(3) {
			for offset := range int64(200) {
				at := day.Add(time.Duration(offset%3-1)*24*time.Hour + time.Duration(199-offset)*time.Minute)
				body := fmt.Sprintf(`{"n":%d,"title":"a,\"b\"\n %d","other":[%d],"event_time":"%s"}`, offset, partition, log, at.Format(time.RFC3339))
				rows = append(rows, row{log + 1, partition, offset, body})
				if offset%3 == 1 {
					want = append(want, body)
				}
			}
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	rnd.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	n := int64(0)
	for part := range slices.Chunk(rows, 100) {
		d := schema.NewDecoder(nil)
		for _, r := range part {
			if v := d.Append(&event.Record{Value: []byte(r.body), Received: day.AddDate(0, 0, 2).UnixMicro(), Key: span.Key{Log: span.Log(r.log), Partition: int32(r.partition)}, Offset: r.offset}); v.Code != "" {
				t.Fatalf("%s: %+v", r.body, v)
			}
		}
		files, err := lk.Stage(t.Context(), "pin", []lake.Block{{Columns: lake.Columns(schema), N: d.Rows().N, Cols: d.Rows().Cols}})
		if err != nil {
			t.Fatal(err)
		}
		n++
		if _, err := lk.Commit(t.Context(), &ledger.Intent{Table: "pin", N: n, ID: fmt.Sprint(n), Kind: lake.Append, Open: true, Files: files}); err != nil {
			t.Fatal(err)
		}
	}
	return lk, want
}

func TestDayComesInOrder(t *testing.T) {
	def := event.Stream{Name: "pin", Topic: "pin", Partitions: 3, EventTime: "event_time", Fields: []event.Field{
		{Name: "n", Type: "long"}, {Name: "title", Type: "string"}, {Name: "missing", Type: "list<string>"},
	}}
	def.SetDefaults()
	schema, err := event.Compile(def, 1)
	if err != nil {
		t.Fatal(err)
	}
	lk, want := fill(t, schema)
	schemas := map[int64]*event.Schema{1: schema}

	for _, held := range []int{40, pieceRows} {
		var out bytes.Buffer
		rows, err := writeDay(t.Context(), lk, "pin", 0, day, held, NewJSONLines(&out, schemas))
		if err != nil || rows != int64(len(want)) {
			t.Fatalf("%d rows of %d, %v", rows, len(want), err)
		}
		for i, line := range strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n") {
			var a, b any
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if err := json.Unmarshal([]byte(want[i]), &b); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(b, a); diff != "" {
				t.Fatalf("held %d, line %d:\n%s", held, i, diff)
			}
		}
	}

	var text bytes.Buffer
	w, err := NewCSV(&text, lake.Columns(schema))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Day(t.Context(), lk, "pin", 0, day, w); err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(&text).ReadAll()
	if err != nil || len(records) != len(want)+1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if got := records[1][:3]; !slices.Equal(got, []string{"1", "a,\"b\"\n 0", ""}) {
		t.Errorf("first record %q", got)
	}
}
