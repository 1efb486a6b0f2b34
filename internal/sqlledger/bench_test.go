package sqlledger

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

const (
	sealers    = 4
	flushBytes = 50_000
	flushEvery = 250 * time.Millisecond
)

// BenchmarkSeal is four processes that each flush 50 kB every 250 ms into one ledger file; b.N is the
// number of flushes of each. Run it with -benchtime=40x.
func BenchmarkSeal(b *testing.B) {
	db, path := benchLedger(b)
	defer db.Close() //nolint:errcheck // the end of the benchmark
	outs := make([]bytes.Buffer, sealers)
	cmds := make([]*exec.Cmd, sealers)
	for p := range cmds {
		cmds[p] = exec.Command(os.Args[0], "-test.run=^TestSealerProcess$")
		cmds[p].Env = append(os.Environ(), "LEDGER_SEALER="+path, fmt.Sprintf("LEDGER_PARTITION=%d", p), fmt.Sprintf("LEDGER_FLUSHES=%d", b.N))
		cmds[p].Stdout = &outs[p]
		if err := cmds[p].Start(); err != nil {
			b.Fatal(err)
		}
	}
	var all []time.Duration
	for p := range cmds {
		if err := cmds[p].Wait(); err != nil {
			b.Fatalf("%v\n%s", err, &outs[p])
		}
		for s := bufio.NewScanner(&outs[p]); s.Scan(); {
			if us, err := strconv.Atoi(s.Text()); err == nil {
				all = append(all, time.Duration(us)*time.Microsecond)
			}
		}
	}
	slices.Sort(all)
	for _, q := range []struct {
		name string
		at   float64
	}{{"p50-ms", 0.5}, {"p95-ms", 0.95}, {"p99-ms", 0.99}} {
		b.ReportMetric(float64(all[int(q.at*float64(len(all)-1))].Microseconds())/1000, q.name)
	}
}

func benchLedger(b *testing.B) (*DB, string) {
	b.Helper()
	path := b.TempDir() + "/ledger.db"
	db, err := Open(b.Context(), path, quiet)
	if err != nil {
		b.Fatal(err)
	}
	if err := addStream(b.Context(), db, "pin"); err != nil {
		b.Fatal(err)
	}
	_, err = db.AddLog(b.Context(), ledger.Log{Kind: ledger.KindKafka, Stream: "pin", Topic: "pin", TopicID: "t", Partitions: sealers})
	if err != nil {
		b.Fatal(err)
	}
	return db, path
}

// BenchmarkSealAlone is how long one seal of 50 kB takes when nothing else runs.
func BenchmarkSealAlone(b *testing.B) {
	db, _ := benchLedger(b)
	defer db.Close() //nolint:errcheck // the end of the benchmark
	s, err := newSealer(b.Context(), db, 0)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := s.flush(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

type sealer struct {
	db   *DB
	seal ledger.Seal
}

func newSealer(ctx context.Context, db *DB, partition int32) (*sealer, error) {
	key := span.Key{Log: 1, Partition: partition}
	h, err := db.TakeOver(ctx, ledger.Live, "bench", key, 0)
	if err != nil {
		return nil, err
	}
	data := make([]byte, flushBytes/3)
	if _, err := rand.Read(data); err != nil {
		return nil, err
	}
	s := &sealer{db: db, seal: ledger.Seal{
		Write: ledger.Write{Kind: ledger.Flush, Stream: "pin", Epoch: 2, Owner: "bench"}, Unit: ledger.Live,
		Moves: []ledger.Move{{Key: key, Owner: h.Owner, To: 1000, Counts: ledger.Counts{Rows: 1000}}},
	}}
	for v := range int64(3) {
		s.seal.Segments = append(s.seal.Segments, ledger.Segment{Version: v, Tier: "minute", Rows: 500, Source: ledger.SourceLive, Data: data})
	}
	return s, nil
}

func (s *sealer) flush(ctx context.Context) error {
	err := s.db.Seal(ctx, s.seal)
	m := &s.seal.Moves[0]
	m.From, m.To = m.To, m.To+1000
	return err
}

// TestSealerProcess is one of the processes of BenchmarkSeal; without its environment it has nothing to do.
func TestSealerProcess(t *testing.T) {
	path, partition, flushes := os.Getenv("LEDGER_SEALER"), 0, 1
	if path == "" {
		return
	}
	partition, _ = strconv.Atoi(os.Getenv("LEDGER_PARTITION"))
	flushes, _ = strconv.Atoi(os.Getenv("LEDGER_FLUSHES"))
	db, err := Open(t.Context(), path, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close() //nolint:errcheck // the end of the process
	s, err := newSealer(t.Context(), db, int32(partition))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for range flushes {
		<-tick.C
		start := time.Now()
		if err := s.flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		fmt.Println(time.Since(start).Microseconds())
	}
}

// BenchmarkRead is one query over 2,000 small segments of 10 kB: with all their data, and with none of it
// because the caller holds them already.
func BenchmarkRead(b *testing.B) {
	db, _ := benchLedger(b)
	defer db.Close() //nolint:errcheck // the end of the benchmark
	ctx := b.Context()
	if err := db.Apply(ctx, ledger.Change{Stream: "pin", Epoch: 2, Views: []ledger.ViewChange{{
		Name: "v", Hash: "h", Definition: []byte("{}"), State: ledger.Serving,
	}}}); err != nil {
		b.Fatal(err)
	}
	s, err := newSealer(ctx, db, 0)
	if err != nil {
		b.Fatal(err)
	}
	s.seal.Write.Epoch, s.seal.Segments = 3, nil
	for range 4 {
		s.seal.Segments = append(s.seal.Segments, ledger.Segment{Version: 1, Tier: "minute", Source: ledger.SourceLive, Data: make([]byte, 10_000)})
	}
	for range 500 {
		if err := s.flush(ctx); err != nil {
			b.Fatal(err)
		}
	}
	for name, cached := range map[string]func(int64) bool{"data": nil, "cached": func(int64) bool { return true }} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				data, err := db.Read(ctx, ledger.Read{View: "v", To: 1, Cached: cached})
				if err != nil || len(data.Segments) != 2000 {
					b.Fatal(err, len(data.Segments))
				}
			}
		})
	}
}
