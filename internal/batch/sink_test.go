package batch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/intake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// shelf keeps what is staged: offsets by file.
type shelf struct {
	mu     sync.Mutex
	files  map[string][]int64
	fail   int // the so-manieth file of rows cannot be written; 0: none
	writes int
}

func (s *shelf) EnsureTable(context.Context, lake.Table) error { return nil }

func (s *shelf) Stage(_ context.Context, table string, blocks []lake.Block) ([]ledger.LakeFile, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writes++; s.writes == s.fail {
		return nil, errors.New("no")
	}
	f := ledger.LakeFile{Table: table, Path: fmt.Sprint(table, "-", s.writes)}
	for _, b := range blocks {
		s.files[f.Path] = append(s.files[f.Path], b.Cols[b.Index(event.ColumnOffset)].Ints...)
	}
	f.Records = int64(len(s.files[f.Path]))
	return []ledger.LakeFile{f}, nil
}

func (s *shelf) Discard(_ context.Context, files []ledger.LakeFile) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range files {
		delete(s.files, f.Path)
	}
	return nil
}

// offsets are those of a table's files, in order.
func (s *shelf) offsets(table string) (all []int64, files int) {
	for at, offsets := range s.files {
		if strings.HasPrefix(at, table+"-") {
			all, files = append(all, offsets...), files+1
		}
	}
	slices.Sort(all)
	return all, files
}

// However its records are spread over goroutines, each is one row or one letter; only many rows are spread
// over files, and files of a try that failed are removed.
func TestAStageOfAllCoresHoldsEveryRecordOnce(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	seed := uint64(time.Now().UnixNano())
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for _, c := range []struct {
		name    string
		text    int // bytes of a row
		fail    int // file of the first try that cannot be written
		files   int
		records int
	}{
		{"few rows", 20, 0, 1, 3000},
		{"many rows", 8000, 0, 2, 3000},
		{"many rows, the first file fails", 8000, 1, 2, 3000},
		{"many rows, the second file fails", 8000, 2, 2, 3000},
		{"few records", 20, 0, 1, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			def := definition()
			def.SetDefaults()
			cat, err := intake.NewCatalogue(&ledger.Snapshot{Streams: []ledger.Stream{{Name: "pin", Schemas: []ledger.SchemaVersion{{Version: 1, Definition: def}}}}})
			if err != nil {
				t.Fatal(err)
			}
			files := &shelf{files: map[string][]int64{}, fail: c.fail}
			s := newSink(Config{Owner: "me"}, slog.New(slog.DiscardHandler), NewMetrics(prometheus.NewRegistry()), noLedger{}, files)
			if err := s.Catalogue(cat); err != nil {
				t.Fatal(err)
			}
			p := &intake.Partition{Key: span.Key{Log: 1}, Stream: cat.Stream("pin")}
			var rows, dead []int64
			for from := 0; from < c.records; {
				n := min(1+rng.IntN(2000), c.records-from)
				slice := &intake.Slice{P: p, Records: make([]event.Record, n), Duplicate: make([]bool, n)}
				for i := range n {
					at := int64(from + i)
					r := event.Record{Key: p.Key, Offset: at, ID: fmt.Sprint("id", at), Received: received, Value: fmt.Appendf(nil, `{"n":%d,"title":"%0*d"}`, at, c.text, at)}
					switch rng.IntN(20) {
					case 0:
						slice.Duplicate[i] = true
					case 1:
						r.Value = []byte(`{"n":"none"}`)
						dead = append(dead, at)
					default:
						rows = append(rows, at)
					}
					slice.Records[i] = r
				}
				if err := s.Add(t.Context(), slice); err != nil {
					t.Fatal(err)
				}
				from += n
				p.Next = int64(from)
			}
			if p.Counts.Rows != int64(len(rows)) || p.Counts.Dead != int64(len(dead)) {
				t.Errorf("counts %+v of %d rows and %d letters", p.Counts, len(rows), len(dead))
			}
			move, _ := p.Move()
			err = s.seal(t.Context(), s.streams["pin"], []ledger.Move{move})
			if c.fail > 0 {
				if err == nil {
					t.Fatal("a file could not be written, and the stage was sealed")
				}
				err = s.seal(t.Context(), s.streams["pin"], []ledger.Move{move})
			}
			if err != nil {
				t.Fatal(err)
			}
			got, n := files.offsets("pin")
			if diff := cmp.Diff(rows, got); diff != "" || n != c.files {
				t.Errorf("%d files of rows, want %d: %s", n, c.files, diff)
			}
			if got, _ := files.offsets(ledger.DeadLetters); !slices.Equal(got, dead) {
				t.Errorf("letters %v, want %v", got, dead)
			}
		})
	}
}
