package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// independent is a day of a table by an independent reader.
type independent struct {
	Day  string
	Rows int64
	IDs  int64 // distinct event ids
	Sums map[string]float64
}

// L6: pyiceberg and DuckDB, and with PINFLOW_SOAK Apache Spark, find the same rows, event ids and sums by day
// before, while and after the table is compacted, and these are ours.
func TestReadersAgree(t *testing.T) {
	t.Run("local", func(t *testing.T) {
		prove.Invariant(t, "L6", prove.Disk, prove.SQLite)
		readersAgree(t, nil)
	})
	t.Run("servers", func(t *testing.T) {
		place := testbed.Servers(t)
		prove.Invariant(t, "L6", place.On...)
		readersAgree(t, onServers(place))
	})
}

func readersAgree(t *testing.T, env []string) {
	readers, rate, events := []string{"pyiceberg", "duckdb"}, 5_000, 40_000
	if os.Getenv("PINFLOW_SOAK") != "" {
		readers, rate, events = append(readers, "spark"), 30_000, 900_000
	}
	if env != nil {
		if r := pinflowIn(t, env, "init", "--infra"); r.code != 0 {
			t.Fatalf("init --infra: %d\n%s", r.code, r.stderr)
		}
	}
	s := startIn(t, env, t.TempDir())
	truth := filepath.Join(t.TempDir(), "truth")
	must(t, fmtArgs("emulate --url %s --users 500 --rate %d/s --events %d --streams pin --since 3d --late 1%% --duplicate 1%% --seed %d --truth %s", s.url(), rate, events, testbed.Seed(t), truth)...)
	must(t, "verify", "--url", s.url(), "--truth", truth)
	fields := []string{"follower_count", "index"}
	ours := digestOf(s, fields)
	s.stop() // what it holds is committed, and it compacts no more

	l := &readLake{t: t, env: env, folder: filepath.Join(s.dir, "lake"), table: "pin", fields: fields, want: ours}
	l.all(readers)
	before := l.files()
	compacted := make(chan struct{})
	var reading sync.WaitGroup
	for _, reader := range readers {
		reading.Go(func() {
			for n := 1; ; n++ {
				l.by(reader)
				select {
				case <-compacted:
					t.Logf("%s read the table %d times", reader, n)
					return
				default:
				}
			}
		})
	}
	r := pinflowIn(t, env, "lake", "compact", "pin", "--min-files", "2", "--data", s.dir)
	close(compacted)
	reading.Wait()
	if r.code != 0 {
		t.Fatalf("lake compact: %d\n%s", r.code, r.stderr)
	}
	l.all(readers)
	after := l.files()
	t.Logf("%d data files before the compaction, %d after it", before, after)
	if after >= before {
		t.Errorf("%d data files before the compaction, %d after it", before, after)
	}
}

// digestOf is what our own reader finds. Duplicates are not in the lake: every row has an id of its own.
func digestOf(s *server, fields []string) []independent {
	var ours struct{ Days []dayTotals }
	s.get("/v1/lake/pin/digest", &ours)
	var days []independent
	for _, d := range ours.Days {
		day := independent{Day: d.Day, Rows: d.Rows, IDs: d.Rows, Sums: map[string]float64{}}
		for _, f := range fields {
			day.Sums[f] = d.sum(f)
		}
		days = append(days, day)
	}
	return days
}

// readLake reads a table with independent readers and wants what is there.
type readLake struct {
	t      *testing.T
	env    []string
	folder string
	table  string
	fields []string
	want   []independent
}

func (l *readLake) all(readers []string) {
	l.t.Helper()
	for _, r := range readers {
		l.by(r)
	}
}

// by may be called by several goroutines.
func (l *readLake) by(reader string) {
	python := os.Getenv("PINFLOW_PYTHON")
	if reader == "spark" {
		python = os.Getenv("PINFLOW_PYSPARK")
	}
	if python == "" {
		l.t.Error("PINFLOW_PYTHON or PINFLOW_PYSPARK is not set: run this with make e2e or make soak")
		return
	}
	cmd := exec.Command(python, append([]string{"testdata/read_lake.py", "--with", reader, l.folder, l.table}, l.fields...)...)
	cmd.Env = append(os.Environ(), l.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		l.t.Errorf("reading the lake with %s: %v\n%s", reader, err, stderr.String())
		return
	}
	var got struct{ Days []independent }
	if err := json.Unmarshal(stdout.Bytes(), &got); err != nil {
		l.t.Errorf("%s: %v: %s", reader, err, stdout.String())
		return
	}
	if d := cmp.Diff(l.want, got.Days); d != "" {
		l.t.Errorf("ours -, %s's +:\n%s", reader, d)
	}
}

// files counts the table's data files.
func (l *readLake) files() int {
	l.t.Helper()
	r := pinflowIn(l.t, l.env, "lake", "status", "--data", filepath.Dir(l.folder), "-o", "json")
	var tables []struct {
		Table string
		Files int
	}
	if err := json.Unmarshal([]byte(r.stdout), &tables); err != nil || r.code != 0 {
		l.t.Fatalf("lake status: %d %v\n%s", r.code, err, r.stderr)
	}
	for _, t := range tables {
		if t.Table == l.table {
			return t.Files
		}
	}
	return 0
}
