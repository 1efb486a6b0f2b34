package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// seedBlocks is how many times the decoded pins make a day.
const seedBlocks = 16

// seedRows is how many rows a seeded day has.
const seedRows = seedBlocks * kernelRows

// seedDays is how many days hold so many rows.
func seedDays(rows int) int { return max(1, (rows+seedRows-1)/seedRows) }

// stores are a data folder's ledger and lake without its log.
type stores struct {
	ledger *sqlledger.DB
	lake   *icelake.Lake
	data   string
}

// openStores opens what `up` made. warehouse "": in the data folder; s3://: on the server of s3At.
func openStores(ctx context.Context, data, warehouse string) (*stores, error) {
	cfg, err := lakeAt(data, warehouse)
	if err != nil {
		return nil, err
	}
	led, err := sqlledger.Open(ctx, filepath.Join(data, "ledger.db"), childLog())
	if err != nil {
		return nil, err
	}
	l, err := icelake.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, led.Close())
	}
	return &stores{ledger: led, lake: l, data: data}, nil
}

func (s *stores) close() error { return errors.Join(s.lake.Close(), s.ledger.Close()) }

func lakeAt(data, warehouse string) (icelake.Config, error) {
	cfg := icelake.Config{Warehouse: warehouse, Catalog: filepath.Join(data, "lake", "catalog.db"), Log: childLog()}
	if warehouse == "" {
		cfg.Warehouse = filepath.Join(data, "lake", "warehouse")
		return cfg, nil
	}
	u, err := url.Parse(os.Getenv(s3At))
	if err != nil || u.Host == "" {
		return cfg, fmt.Errorf("%s does not say where S3 is: %q", s3At, os.Getenv(s3At))
	}
	secret, _ := u.User.Password()
	cfg.S3 = icelake.S3{Endpoint: u.Scheme + "://" + u.Host, Region: u.Query().Get("region"), PathStyle: true, AccessKey: u.User.Username(), SecretKey: secret}
	return cfg, nil
}

// seed fills a lake that `up` made, in a process of its own.
func (e *env) seed(ctx context.Context, data, warehouse string, rows int, newest time.Time) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	_, _, err = measure(ctx, exec.Command(self, "-child", "seed", data, warehouse, strconv.Itoa(rows), newest.UTC().Format(time.DateOnly)))
	return err
}

// childSeed puts real pins into lake and ledger as an import of a file does: some days of a million rows
// each, of which last is the newest. All views get these days to fill in, and wait with it.
func childSeed(ctx context.Context, data, warehouse, rows, last string) (err error) {
	n, err := strconv.Atoi(rows)
	if err != nil {
		return err
	}
	newest, err := time.Parse(time.DateOnly, last)
	if err != nil {
		return err
	}
	s, err := openStores(ctx, data, warehouse)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	log, err := s.ledger.AddLog(ctx, ledger.Log{Kind: ledger.KindImport, Stream: "pin", ClusterID: "pin", TopicID: "bench", Topic: "bench", Partitions: 1})
	if err != nil {
		return err
	}
	held, err := s.ledger.TakeOver(ctx, ledger.Batch, "bench", span.Key{Log: log}, 0)
	if err != nil {
		return err
	}
	committer, err := batch.NewCommitter(batch.CommitterConfig{Owner: "bench", Every: time.Second}, childLog(), batch.NewMetrics(prometheus.NewRegistry()), s.ledger, s.lake)
	if err != nil {
		return err
	}
	in := ledger.Import{Log: log, Owner: held.Owner}
	if err := s.seed(ctx, seedDays(n), newest, &in); err != nil {
		return err
	}
	err = until(ctx, func() (bool, error) {
		at, err := s.ledger.LakeVector(ctx)
		if err != nil || at[span.Key{Log: log}] < in.Rows {
			return false, err
		}
		return true, s.ledger.FinishImport(ctx, in)
	}, committer.Run)
	if err != nil {
		return err
	}
	all, err := s.ledger.Backfills(ctx, 0)
	for _, b := range all {
		err = errors.Join(err, s.ledger.Steer(ctx, b.ID, ledger.Pause))
	}
	return err
}

// seed stages the days of an import, one after the other.
func (s *stores) seed(ctx context.Context, days int, newest time.Time, in *ledger.Import) error {
	snap, err := s.ledger.Load(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(snap.Streams, func(st ledger.Stream) bool { return st.Name == "pin" })
	if at < 0 {
		return errors.New("there is no stream pin")
	}
	stream := snap.Streams[at]
	schema, err := event.Compile(stream.Schemas[0].Definition, 1)
	if err != nil {
		return err
	}
	one, err := seedBlock(schema, in.Log)
	if err != nil {
		return err
	}
	for d := range days {
		day := newest.AddDate(0, 0, d+1-days)
		blocks := make([]lake.Block, seedBlocks)
		for i := range blocks {
			blocks[i] = shifted(one, day.Sub(seedDay).Microseconds(), in.Rows+int64(i*kernelRows))
		}
		files, err := s.lake.Stage(ctx, "pin", blocks)
		if err != nil {
			return err
		}
		to := in.Rows + seedRows
		if err := s.ledger.Seal(ctx, ledger.Seal{
			Write: ledger.Write{Kind: ledger.Stage, Stream: "pin", Epoch: stream.Epoch, Owner: "bench"}, Unit: ledger.Batch, Files: files,
			Moves: []ledger.Move{{Key: span.Key{Log: in.Log}, Owner: in.Owner, From: in.Rows, To: to, Counts: ledger.Counts{Rows: seedRows}}},
		}); err != nil {
			return err
		}
		in.Rows, in.Days = to, append(in.Days, ledger.Task{Day: day.Format(time.DateOnly), Expect: seedRows})
	}
	return nil
}

// seedDay is the day of seedBlock.
var seedDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// seedBlock is real pins of most of a day.
func seedBlock(schema *event.Schema, log span.Log) (*lake.Block, error) {
	records, _, err := kernelRecords()
	if err != nil {
		return nil, err
	}
	for i := range records {
		at := seedDay.Add(time.Duration(i) * time.Second)
		patch(records[i].Value, uint64(i), moment(at))
		records[i].Key, records[i].Received = span.Key{Log: log}, at.UnixMicro()+1000
	}
	decoded, err := decodeAll(schema, records)
	if err != nil {
		return nil, err
	}
	return &lake.Block{Columns: lake.Columns(schema), N: decoded.N, Cols: decoded.Cols}, nil
}

// shifted is the block at another time and at other offsets.
func shifted(b *lake.Block, by, offset int64) lake.Block {
	out := *b
	out.Cols = slices.Clone(b.Cols)
	for i, c := range b.Columns {
		add := by
		switch c.Name {
		case event.ColumnOffset:
			add = offset
		case event.ColumnEventTime, event.ColumnReceivedAt, "event_time":
		default:
			continue
		}
		v := &out.Cols[i]
		v.Ints = slices.Clone(v.Ints)
		for at := range v.Ints {
			v.Ints[at] += add
		}
	}
	return out
}
