package batch

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// realPins are the public data set's pins as events, each with an id of its own.
func realPins(b *testing.B, n int) []event.Record {
	b.Helper()
	f, err := os.Open(filepath.Join("..", "project", "demo", "pin.csv"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		b.Fatal(err)
	}
	records := make([]event.Record, n)
	for i := range records {
		row := rows[1+i%(len(rows)-1)]
		e := map[string]any{}
		for c, name := range rows[0] {
			e[name] = row[c]
			if name == "index" || name == "downloaded" {
				e[name] = json.Number(row[c])
			}
		}
		id := fmt.Sprintf("0191c2f0-%04x-7%03x-8000-%012x", i>>12, i&0xFFF, i)
		e["event_id"] = id
		doc, err := json.Marshal(e)
		if err != nil {
			b.Fatal(err)
		}
		at := received + int64(i)*100
		records[i] = event.Record{Offset: int64(i), Value: doc, ID: id, Received: at, Timestamp: at, Schema: 1}
	}
	return records
}

func pinDefinition() event.Stream {
	noTitle, noStory := []string{"No Title Data Available"}, []string{"No description available", "No description available Story format"}
	return event.Stream{
		Name: "pin", Topic: "pin", Partitions: 1, Key: "unique_id", EventID: "event_id", Fields: []event.Field{
			{Name: "index", Type: "long"},
			{Name: "unique_id", Type: "string"},
			{Name: "category", Type: "string"},
			{Name: "title", Type: "string", NullIf: noTitle},
			{Name: "description", Type: "string", NullIf: noStory},
			{Name: "poster_name", Type: "string", NullIf: []string{"User Info Error"}},
			{Name: "follower_count", Type: "long", NullIf: []string{"User Info Error"}, Parse: "human_number"},
			{Name: "tag_list", Type: "list<string>", Split: ",", NullIf: []string{"N,o, ,T,a,g,s, ,A,v,a,i,l,a,b,l,e"}},
			{Name: "is_image_or_video", Type: "string"},
			{Name: "image_src", Type: "string", NullIf: []string{"Image src error."}},
			{Name: "downloaded", Type: "long"},
			{Name: "save_location", Type: "string", StripPrefix: "Local save in "},
		},
	}
}

// noLedger seals everything.
type noLedger struct{ Store }

func (noLedger) Open(context.Context, ledger.Write) (int64, error)        { return 1, nil }
func (noLedger) AddFiles(context.Context, int64, []ledger.LakeFile) error { return nil }
func (noLedger) Seal(context.Context, ledger.Seal) error                  { return nil }

// BenchmarkStagePins is records as read → judged, decoded, written as synced Parquet and sealed.
func BenchmarkStagePins(b *testing.B) {
	records := realPins(b, 200_000)
	dir := b.TempDir()
	log := slog.New(slog.DiscardHandler)
	lk, err := icelake.Open(b.Context(), icelake.Config{Warehouse: filepath.Join(dir, "warehouse"), Catalog: filepath.Join(dir, "catalog.db"), Log: log})
	if err != nil {
		b.Fatal(err)
	}
	defer lk.Close()
	def := pinDefinition()
	def.SetDefaults()
	snap := &ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{{Version: 1, Definition: def}}}}}
	cat, err := intake.NewCatalogue(snap)
	if err != nil {
		b.Fatal(err)
	}
	s := newSink(Config{Owner: "me", StageEvery: time.Hour}, log, NewMetrics(prometheus.NewRegistry()), noLedger{}, lk)
	if err := s.Catalogue(cat); err != nil {
		b.Fatal(err)
	}
	p := &intake.Partition{Key: span.Key{Log: 1}, Stream: cat.Stream("pin")}
	dups := make([]bool, 2000)
	bytes, n := 0, 0
	before := cpuTime(b)
	for b.Loop() {
		for from := 0; from < len(records); from += len(dups) {
			part := records[from : from+len(dups)]
			if err := s.Add(b.Context(), &intake.Slice{P: p, Records: part, Duplicate: dups}); err != nil {
				b.Fatal(err)
			}
			for i := range part {
				bytes += len(part[i].Value)
			}
			p.Next += int64(len(part))
			if n += len(part); s.FlushBy().Before(time.Now()) || from+len(dups) == len(records) {
				move, _ := p.Move()
				if err := s.seal(b.Context(), s.streams["pin"], []ledger.Move{move}); err != nil {
					b.Fatal(err)
				}
				s.since = time.Time{}
			}
		}
	}
	if p.Counts.Dead > 0 {
		b.Fatalf("%d dead letters", p.Counts.Dead)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(float64(n)/(cpuTime(b)-before).Seconds(), "events/core-s")
	b.ReportMetric(float64(bytes)/float64(n), "B/event")
}

// BenchmarkMergePins is eight small files read, sorted and written as one.
func BenchmarkMergePins(b *testing.B) {
	records := realPins(b, 200_000)
	dir := b.TempDir()
	lk, err := icelake.Open(b.Context(), icelake.Config{Warehouse: filepath.Join(dir, "warehouse"), Catalog: filepath.Join(dir, "catalog.db"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	defer lk.Close()
	def := pinDefinition()
	def.SetDefaults()
	schema, err := event.Compile(def, 1)
	if err != nil {
		b.Fatal(err)
	}
	if err := lk.EnsureTable(b.Context(), lake.StreamTable(schema)); err != nil {
		b.Fatal(err)
	}
	for n := range 8 {
		d := schema.NewDecoder(nil)
		for i := n; i < len(records); i += 8 {
			if v := d.Append(&records[i]); v.Dead() {
				b.Fatal(v)
			}
		}
		rows := d.Rows()
		files, err := lk.Stage(b.Context(), "pin", []lake.Block{{Columns: lake.Columns(schema), N: rows.N, Cols: rows.Cols}})
		if err != nil {
			b.Fatal(err)
		}
		in := &ledger.Intent{Table: "pin", N: int64(n + 1), ID: fmt.Sprint("commit-", n), Kind: lake.Append, Open: true, Files: files}
		if _, err := lk.Commit(b.Context(), in); err != nil {
			b.Fatal(err)
		}
	}
	rows, bytes, before := int64(0), int64(0), cpuTime(b)
	for b.Loop() {
		r, err := lk.Rewrite(b.Context(), "pin", lake.DefaultShape())
		if err != nil || r == nil {
			b.Fatal(r, err)
		}
		rows += r.Rows
		for _, f := range r.Files {
			bytes += f.Bytes
		}
		if err := lk.Discard(b.Context(), r.Files); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(rows)/(cpuTime(b)-before).Seconds(), "rows/core-s")
	b.ReportMetric(float64(bytes)/float64(rows), "B/row")
}

// cpuTime is what the process has used of all cores, which a busy machine does not distort.
func cpuTime(b *testing.B) time.Duration {
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
