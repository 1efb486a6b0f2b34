package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	iceio "github.com/apache/iceberg-go/io"
	"github.com/apache/iceberg-go/table"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/app"
	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

var commitBench = bench{
	name: "commits", title: "what a commit costs, the more of them there are",
	how: "`-commits` stages one after the other, each a commit, bring `-files` data files into one table: rows of the day and of the days before, a day being a thousand commits. The files are staged, sealed and committed as the batch unit does, on the disk and synced, the committer with its own settings but for its pace (as fast as it can) and for the snapshots it keeps: as many as `up` has after ten minutes of a commit a second. Merging of small files, expiry and clean-up run as ever; then all of it again on a table whose data files are never merged, so that it ends with all of them. A commit is timed from the intent to its end in the ledger. The curve shows each piece of the way: `append` what the commits waited for (and its p99), `maintenance` the commits of merging and expiry, `merging` the rewriting of files beside them, `CPU` all that the process took, the staging of the files included; then the head's manifests and live files, its metadata file, all metadata on the disk, and how long it took to list the files of one day and to count its rows.",
	run: func(ctx context.Context, e *env) ([]figure, error) {
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		var all []figure
		for _, way := range []string{"merged", "unmerged"} {
			data, err := e.prepare(ctx)
			if err != nil {
				return nil, err
			}
			got, err := e.inChild(ctx, self, "commits", data, e.profile, way, strconv.Itoa(e.commits), strconv.Itoa(e.files))
			if err != nil {
				return nil, err
			}
			if err := os.RemoveAll(data); err != nil {
				return nil, err
			}
			all = append(all, got...)
		}
		return all, nil
	},
}

const (
	dayCommits  = 1000 // commits until a day is over
	curvePoints = 10
	// upSnapshots is how many snapshots younger than ten minutes there are of a commit a second.
	upSnapshots = 600
)

// committing is a table that gets one small commit after the other.
type committing struct {
	*stores
	stream ledger.Stream
	key    span.Key
	held   ledger.Held
	block  *lake.Block
	days   int // that a commit has rows of

	sealed chan struct{} // there is a stage to commit
	done   chan struct{} // an append has ended
	over   chan struct{} // nothing comes any more
	mu     sync.Mutex
	begun  time.Time
	append []time.Duration
	kept   time.Duration // in commits of merging and expiry
	merged time.Duration // in rewriting of files beside them
}

func childCommits(ctx context.Context, data, profile, way, commits, files string) (_ []figure, err error) {
	n, err := strconv.Atoi(commits)
	if err != nil {
		return nil, err
	}
	all, err := strconv.Atoi(files)
	if err != nil {
		return nil, err
	}
	if n < curvePoints || all < n {
		return nil, fmt.Errorf("%d commits cannot bring %d files: at least %d, and a file each", n, all, curvePoints)
	}
	defer app.FewerCollections()() // as app.Run does
	s, err := openStores(ctx, data, "")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	t := &committing{stores: s, sealed: make(chan struct{}, 1), done: make(chan struct{}, 1), over: make(chan struct{}), days: all / n}
	if err := t.take(ctx); err != nil {
		return nil, err
	}
	cfg := batch.CommitterConfig{Owner: "bench", Every: time.Millisecond, Keep: lake.Retention{Keep: upSnapshots}, Shape: lake.DefaultShape()}
	if way == "unmerged" {
		cfg.Shape.MinFiles = all + 1
	}
	c, err := batch.NewCommitter(cfg, childLog(), batch.NewMetrics(prometheus.NewRegistry()), timedLedger{s.ledger, t}, timedLake{s.lake, t})
	if err != nil {
		return nil, err
	}
	ended, err := profiled(profile, "commits-"+way)
	if err != nil {
		return nil, err
	}
	defer ended()
	running, stop := context.WithCancel(ctx)
	defer stop()
	failed := make(chan error, 1)
	go func() { failed <- c.Run(running) }()
	out, err := t.run(ctx, way, n, failed)
	stop()
	close(t.over)
	return out, errors.Join(err, <-failed)
}

// take makes a partition of the pins' log ours, and the rows that each file gets.
func (t *committing) take(ctx context.Context) error {
	snap, err := t.ledger.Load(ctx)
	if err != nil {
		return err
	}
	for _, s := range snap.Streams {
		if s.Name == "pin" {
			t.stream = s
		}
	}
	for _, l := range snap.Logs {
		if l.Topic == "pin" {
			t.key.Log = l.ID
		}
	}
	if t.key.Log == 0 {
		return errors.New("there is no log of pins")
	}
	if t.held, err = t.ledger.TakeOver(ctx, ledger.Batch, "bench", t.key, 0); err != nil {
		return err
	}
	schema, err := event.Compile(t.stream.Schemas[0].Definition, 1)
	if err != nil {
		return err
	}
	whole, err := seedBlock(schema, t.key.Log)
	if err != nil {
		return err
	}
	t.block = whole.Pick([]int32{0, 1, 2, 3})
	return nil
}

// stage seals the files of commit n: some rows of its day and of the days before.
func (t *committing) stage(ctx context.Context, n int) error {
	blocks := make([]lake.Block, t.days)
	at := t.held.Position
	for d := range blocks {
		day := time.Duration(24*(t.days-1+n/dayCommits-d)) * time.Hour
		blocks[d] = shifted(t.block, day.Microseconds(), at)
		at += int64(t.block.N)
	}
	files, err := t.lake.Stage(ctx, "pin", blocks)
	if err != nil {
		return err
	}
	err = t.ledger.Seal(ctx, ledger.Seal{
		Write: ledger.Write{Kind: ledger.Stage, Stream: "pin", Epoch: t.stream.Epoch, Owner: "bench"}, Unit: ledger.Batch, Files: files,
		Moves: []ledger.Move{{Key: t.key, Owner: t.held.Owner, From: t.held.Position, To: at, Counts: ledger.Counts{Rows: at - t.held.Position}}},
	})
	t.held.Position = at
	t.sealed <- struct{}{}
	return err
}

// run stages and waits for each commit, and looks at the table at some points of the way.
func (t *committing) run(ctx context.Context, way string, n int, failed chan error) ([]figure, error) {
	var out []figure
	var third, last float64
	for point := range curvePoints {
		cpu := cpuTime()
		from, to := n*point/curvePoints, n*(point+1)/curvePoints
		for i := from; i < to; i++ {
			if err := t.stage(ctx, i); err != nil {
				return nil, err
			}
			select {
			case <-t.done:
			case err := <-failed:
				failed <- err
				return nil, errors.New("the committer ended by itself")
			}
		}
		used := (cpuTime() - cpu).Seconds() * 1000 / float64(to-from)
		more, err := t.look(ctx, way, to, used)
		if err != nil {
			return nil, err
		}
		if out = append(out, more...); point == 2 { // by now there are as many snapshots as ever
			third = used
		}
		last = used
	}
	return append([]figure{most("files "+way+": CPU of the last tenth of the commits ÷ of the third", last/third, "times", 1.25)}, out...), nil
}

// look makes the figures of the commits since the last look.
func (t *committing) look(ctx context.Context, way string, at int, cpu float64) ([]figure, error) {
	t.mu.Lock()
	times, kept, merged := slices.Sorted(slices.Values(t.append)), t.kept, t.merged
	t.append, t.kept, t.merged = nil, 0, 0
	t.mu.Unlock()
	h, err := t.head(ctx)
	if err != nil {
		return nil, err
	}
	day := seedDay.AddDate(0, 0, at/2/dayCommits)
	sel := lake.Selection{Table: "pin", Columns: []string{event.ColumnEventTime}, From: day.UnixMicro(), To: day.AddDate(0, 0, 1).UnixMicro()}
	start := time.Now()
	if _, _, err := t.lake.Files(ctx, lake.Selection{Table: "pin", Columns: sel.Columns, From: sel.From, To: sel.To, Snapshot: h.snapshot}); err != nil {
		return nil, err
	}
	listed := time.Since(start)
	rows := 0
	start = time.Now()
	if _, err := t.lake.Scan(ctx, sel, func(b *lake.Block) error { rows += b.N; return nil }); err != nil {
		return nil, err
	}
	scanned := time.Since(start)
	bytes, files := folderBytes(t.dir(), ".json", ".avro")
	each := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(max(len(times), 1)) }
	middle := quantile(times, 0.5)
	out := []figure{
		fact("append, p50", middle, "ms"), fact("append, p99", quantile(times, 0.99), "ms"),
		fact("maintenance", each(kept), "ms/commit"), fact("merging", each(merged), "ms/commit"), fact("CPU", cpu, "ms/commit"),
		fact("manifests", float64(h.manifests), ""), fact("live files", float64(h.files), ""),
		fact("metadata file", float64(h.bytes)/1e3, "kB"), fact("all metadata", float64(bytes)/1e6, "MB"), fact("its files", float64(files), ""),
		fact("list a day", listed.Seconds()*1000, "ms"), fact("count its rows", scanned.Seconds()*1000, "ms"), fact("rows", float64(rows), ""),
	}
	for i := range out {
		out[i].at = fmt.Sprintf("%s, after %s commits", way, number(float64(at)))
	}
	fmt.Fprintf(os.Stderr, "    files %s, %d commits: p50 %.2f ms, p99 %.2f, maintenance %.2f, merging %.2f, CPU %.2f; %d manifests, %d files; %.0f kB, %.1f MB in %d; list %.1f ms, count %d in %.1f\n",
		way, at, middle, quantile(times, 0.99), each(kept), each(merged), cpu, h.manifests, h.files, float64(h.bytes)/1e3, float64(bytes)/1e6, files, listed.Seconds()*1000, rows, scanned.Seconds()*1000)
	return out, nil
}

func (t *committing) dir() string {
	return filepath.Join(t.data, "lake", "warehouse", "pin", "metadata")
}

// tableHead is what the newest metadata file of the pins' table says.
type tableHead struct {
	snapshot         int64
	bytes            int64 // of the file
	manifests, files int
}

func (t *committing) head(ctx context.Context) (*tableHead, error) {
	// The names begin with the number of the version.
	names, err := filepath.Glob(filepath.Join(t.dir(), "*.metadata.json"))
	if err != nil || len(names) == 0 {
		return nil, errors.Join(err, errors.New("the table has no metadata"))
	}
	text, err := os.ReadFile(slices.Max(names))
	if err != nil {
		return nil, err
	}
	meta, err := table.ParseMetadataBytes(text)
	if err != nil {
		return nil, err
	}
	snap := meta.CurrentSnapshot()
	list, err := snap.Manifests(iceio.LocalFS{})
	if err != nil {
		return nil, err
	}
	h := &tableHead{snapshot: snap.SnapshotID, bytes: int64(len(text)), manifests: len(list)}
	for _, m := range list {
		h.files += int(m.AddedDataFiles() + m.ExistingDataFiles())
	}
	return h, nil
}

// timedLedger notes when an append begins and ends, and lets a round begin when there is something to commit.
type timedLedger struct {
	*sqlledger.DB
	t *committing
}

func (l timedLedger) Epochs(ctx context.Context) (map[string]int64, error) {
	select {
	case <-l.t.sealed:
	case <-l.t.over:
	case <-ctx.Done():
	}
	return l.DB.Epochs(ctx)
}

func (l timedLedger) Intent(ctx context.Context, lease ledger.Lease, table, kind string, limit int) (*ledger.Intent, error) {
	start := time.Now()
	in, err := l.DB.Intent(ctx, lease, table, kind, limit)
	if in != nil && table == "pin" {
		l.t.mu.Lock()
		l.t.begun = start
		l.t.mu.Unlock()
	}
	return in, err
}

func (l timedLedger) CloseIntent(ctx context.Context, lease ledger.Lease, in *ledger.Intent, snapshot int64) error {
	if err := l.DB.CloseIntent(ctx, lease, in, snapshot); err != nil || in.Table != "pin" {
		return err
	}
	l.t.mu.Lock()
	defer l.t.mu.Unlock()
	took := time.Since(l.t.begun)
	if in.Kind != lake.Append {
		l.t.kept += took
		return nil
	}
	l.t.append = append(l.t.append, took)
	l.t.done <- struct{}{}
	return nil
}

// timedLake notes how long files are merged.
type timedLake struct {
	*icelake.Lake
	t *committing
}

func (l timedLake) Rewrite(ctx context.Context, table string, shape lake.Shape) (*lake.Rewrite, error) {
	start := time.Now()
	r, err := l.Lake.Rewrite(ctx, table, shape)
	l.t.mu.Lock()
	l.t.merged += time.Since(start)
	l.t.mu.Unlock()
	return r, err
}
