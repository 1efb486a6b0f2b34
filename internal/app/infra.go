package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	lakedef "github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// lakeConfig is where the settings put the lake.
func lakeConfig(s config.Settings, log *slog.Logger) icelake.Config {
	return icelake.Config{
		Warehouse: s.Lake.Warehouse, Catalog: s.Lake.Catalog, Log: log,
		S3: icelake.S3{
			Endpoint: s.Lake.S3.Endpoint, Region: s.Lake.S3.Region, PathStyle: s.Lake.S3.PathStyle,
			AccessKey: s.Lake.S3.AccessKey, SecretKey: s.Lake.S3.SecretKey, CAFile: s.Lake.S3.CAFile,
		},
	}
}

// Infra makes what a project needs before its first start and `up` only finds: the ledger's tables with
// the project's streams, the bucket in its region, the lake's catalog and tables, and
// on Kafka the topics. What is there stays as
// it is. say is told of each thing.
func Infra(ctx context.Context, p *config.Project, log *slog.Logger, say func(format string, args ...any)) (err error) {
	if err := supported(p.Settings, allUnits); err != nil {
		return err
	}
	if _, err := compare(ctx, p.Settings, log); err != nil {
		return err
	}
	led, err := sqlledger.Open(ctx, p.Settings.Ledger.DSN, log)
	if err != nil {
		return fmt.Errorf("opening the ledger: %w", err)
	}
	defer func() { err = errors.Join(err, led.Close()) }()
	snap, err := led.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if err := applyStreams(ctx, p, snap, led); err != nil {
		return err
	}
	if snap, err = led.Load(ctx); err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	say("ledger  %d streams", len(snap.Streams))
	cfg := lakeConfig(p.Settings, log)
	made, err := icelake.Make(cfg)
	if err != nil {
		return fmt.Errorf("making the bucket: %w", err)
	}
	if made {
		say("bucket  made")
	}
	lk, err := icelake.Open(ctx, cfg)
	if err != nil {
		return fmt.Errorf("opening the lake: %w", err)
	}
	defer func() { err = errors.Join(err, lk.Close()) }()
	if p.Settings.Log.Kind == config.Kafka {
		if err := infraTopics(ctx, p, snap, led, lk, log); err != nil {
			return err
		}
		say("topics  %d", 2*len(snap.Streams))
	}
	if err := lk.EnsureTable(ctx, lakedef.DeadLetterTable()); err != nil {
		return err
	}
	for i := range snap.Streams {
		if err := ensureTable(ctx, &snap.Streams[i], lk); err != nil {
			return fmt.Errorf("preparing stream %s: %w", snap.Streams[i].Name, err)
		}
	}
	say("lake    %d tables", len(snap.Streams)+1)
	return nil
}

// infraTopics makes the streams' topics at Kafka and registers them as logs.
func infraTopics(ctx context.Context, p *config.Project, snap *ledger.Snapshot, led catalogue, lk *icelake.Lake, log *slog.Logger) error {
	wire, err := KafkaClient(p.Settings.Log)
	if err != nil {
		return err
	}
	admin, err := kafkalog.NewAdmin(wire, log)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := reachLog(ctx, admin, wire, "; then run this again: what was made stays"); err != nil {
		return err
	}
	return (&bringer{led: led, admin: admin, lake: lk, how: p.Settings.Log, log: log}).prepare(ctx, snap)
}

// applyStreams makes new streams and fields known to the ledger; views come with the first start.
func applyStreams(ctx context.Context, p *config.Project, snap *ledger.Snapshot, led ledger.Catalogue) error {
	changes, err := plan.Compare(planned(p), snap)
	if err != nil {
		return err
	}
	changes = slices.DeleteFunc(changes, func(c plan.Change) bool { return c.View != "" })
	if err := led.Apply(ctx, plan.Compose(changes, snap, true)...); err != nil {
		return fmt.Errorf("applying the project's streams: %w", err)
	}
	return nil
}

// ensureTable makes a stream's table.
func ensureTable(ctx context.Context, s *ledger.Stream, lk *icelake.Lake) error {
	newest := s.Schemas[len(s.Schemas)-1]
	schema, err := event.Compile(newest.Definition, newest.Version)
	if err != nil {
		return err
	}
	return lk.EnsureTable(ctx, lakedef.StreamTable(schema))
}
