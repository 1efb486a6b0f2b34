package app

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	lakedef "github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/plan"
	"github.com/pinflow/pinflow/internal/span"
)

// catalogue is the part of the ledger that bring needs.
type catalogue interface {
	ledger.Catalogue
	PositionsOf(ctx context.Context, unit ledger.Unit) (span.Vector, error)
}

// bring brings the project into ledger, log and lake. A process that runs everything applies what `up`
// applies by itself; a unit takes streams and views from the ledger, and only a ledger that has none yet
// gets the project's, whichever unit is first.
func (p *parts) bring(ctx context.Context) error {
	for {
		snap, err := p.ledger.Load(ctx)
		if err != nil {
			return fmt.Errorf("reading the catalogue: %w", err)
		}
		if !p.cfg.Units.all() && len(snap.Streams) > 0 {
			return prepare(ctx, p.cfg.Project, snap, p.ledger, p.admin, p.lake)
		}
		err = bring(ctx, p.cfg.Project, snap, p.ledger, p.admin, p.lake, p.log)
		if err == nil || !fault.Is(err, fault.Stale) {
			return err
		}
		p.log.Debug("another process was faster", "cause", err)
	}
}

// bring makes the ledger, the log and the lake run what the project's files say, as far as `up` does
// so by itself: new streams, new fields, new views and metadata. The rest is printed and goes on as it
// runs.
func bring(ctx context.Context, p *config.Project, snap *ledger.Snapshot, led catalogue, admin *kafkalog.Admin, lake *icelake.Lake, log *slog.Logger) error {
	if err := apply(ctx, led, plan.Streams(p.EventStreams(), snap), snap, log); err != nil {
		return err
	}
	snap, err := led.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if err := prepare(ctx, p, snap, led, admin, lake); err != nil {
		return err
	}
	if snap, err = led.Load(ctx); err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	views, err := compile(p, snap)
	if err != nil {
		return err
	}
	return apply(ctx, led, plan.Views(views, snap), snap, log)
}

// prepare makes the topics, logs and tables that the catalogue's streams need, and checks those that are
// there. lake is nil in a process that has none.
func prepare(ctx context.Context, p *config.Project, snap *ledger.Snapshot, led catalogue, admin *kafkalog.Admin, lake *icelake.Lake) error {
	for i := range snap.Streams {
		s := &snap.Streams[i]
		if err := bringStream(ctx, s, snap, led, admin, lake, p.Settings.Log); err != nil {
			return fmt.Errorf("preparing stream %s: %w", s.Name, err)
		}
	}
	if lake != nil {
		if err := lake.EnsureTable(ctx, lakedef.DeadLetterTable()); err != nil {
			return err
		}
	}
	return logHoldsWhatWasRead(ctx, snap, led, admin)
}

// apply composes what may be applied by itself and says what is not.
func apply(ctx context.Context, led ledger.Catalogue, changes []plan.Change, snap *ledger.Snapshot, log *slog.Logger) error {
	for _, c := range changes {
		name := c.Stream
		if c.View != "" {
			name = c.View
		}
		if c.Auto {
			log.Info("applying", "change", c.Category, "of", name, "detail", c.Detail)
		} else {
			log.Warn("not applied", "change", c.Category, "of", name, "detail", c.Detail)
		}
	}
	for _, c := range plan.Compose(changes, snap) {
		if err := led.Apply(ctx, c); err != nil {
			return fmt.Errorf("applying the project to stream %s: %w", c.Stream, err)
		}
	}
	return nil
}

// bringStream makes the stream's topics and table, and registers the topics as logs. A topic that the
// ledger knows already is not made again: its records would be other ones.
func bringStream(ctx context.Context, s *ledger.Stream, snap *ledger.Snapshot, led ledger.Catalogue, admin *kafkalog.Admin, lake *icelake.Lake, how config.Log) error {
	def := s.Schemas[len(s.Schemas)-1].Definition
	specs := TopicsOf(&def, how)
	for _, dead := range []bool{false, true} {
		spec := specs[dead]
		if l := openLog(snap, s.Name, dead); l != nil {
			if err := logIsThere(ctx, *l, admin); err != nil {
				return err
			}
			continue
		}
		topic, made, err := admin.EnsureTopic(ctx, spec)
		if err != nil {
			return err
		}
		if !made && topic.Partitions != spec.Partitions {
			return topicDiffers(s.Name, dead, spec, topic)
		}
		if _, err := led.AddLog(ctx, ledger.Log{
			Kind: ledger.KindKafka, Stream: s.Name, Dead: dead, Topic: spec.Name,
			ClusterID: topic.ClusterID, TopicID: topic.TopicID, Partitions: topic.Partitions,
		}); err != nil {
			return fmt.Errorf("registering topic %s: %w", spec.Name, err)
		}
	}
	if lake == nil {
		return nil
	}
	schema, err := event.Compile(def, s.Schemas[len(s.Schemas)-1].Version)
	if err != nil {
		return err
	}
	kept, err := json.Marshal(s.Schemas)
	if err != nil {
		return fmt.Errorf("keeping the schemas of %s with its table: %w", s.Name, err)
	}
	return lake.EnsureTable(ctx, lakedef.StreamTable(schema, kept))
}

// openLog is the open log of a stream, or of its dead letters; nil if there is none yet.
func openLog(snap *ledger.Snapshot, stream string, dead bool) *ledger.Log {
	for i, l := range snap.Logs {
		if l.Stream == stream && l.Dead == dead && l.Kind == ledger.KindKafka && l.ClosedAt.IsZero() {
			return &snap.Logs[i]
		}
	}
	return nil
}

// logIsThere wants the topic of an open log as the ledger knows it.
func logIsThere(ctx context.Context, l ledger.Log, admin *kafkalog.Admin) error {
	there, err := admin.Topics(ctx, l.Topic)
	if err != nil {
		return err
	}
	t, ok := there[l.Topic]
	if !ok {
		return topicGone(l)
	}
	if err := sameIncarnation(l, t); err != nil {
		return err
	}
	return samePartitions(l, t)
}

// logHoldsWhatWasRead refuses a log that ends before a unit's position: an older copy was put in its
// place. It would give offsets anew that both units have passed, and what is accepted there would
// never be read.
func logHoldsWhatWasRead(ctx context.Context, snap *ledger.Snapshot, led catalogue, admin *kafkalog.Admin) error {
	for _, unit := range []ledger.Unit{ledger.Live, ledger.Batch} {
		at, err := led.PositionsOf(ctx, unit)
		if err != nil {
			return fmt.Errorf("reading positions: %w", err)
		}
		for _, l := range snap.Logs {
			if l.Kind != ledger.KindKafka || !l.ClosedAt.IsZero() {
				continue
			}
			ends, err := admin.HighWatermarks(ctx, l.Topic)
			if err != nil {
				return err
			}
			for p, end := range ends {
				if read := at[span.Key{Log: l.ID, Partition: p}]; read > end {
					return fault.New(fault.Config, "log_behind", "the log of %s/%d ends at offset %d, the %s unit has read up to %d", l.Topic, p, end, unit, read).
						WithAdvice("restore log, ledger and lake from the same moment, or start with an empty data folder")
				}
			}
		}
	}
	return nil
}

// compile compiles the project's views under the schemas that run.
func compile(p *config.Project, snap *ledger.Snapshot) ([]plan.View, error) {
	schemas := map[string]*event.Schema{}
	for _, s := range snap.Streams {
		v := s.Schemas[len(s.Schemas)-1]
		schema, err := event.Compile(v.Definition, v.Version)
		if err != nil {
			return nil, fmt.Errorf("compiling stream %s: %w", s.Name, err)
		}
		schemas[s.Name] = schema
	}
	var views []plan.View
	for _, v := range p.MetricViews() {
		c, problems := metric.Compile(v, schemas[v.Stream])
		if len(problems) > 0 {
			return nil, fault.New(fault.Config, "bad_view", "view %s cannot run on the schema of %s that runs: %s: %s", v.Name, v.Stream, problems[0].Path, problems[0].Message).
				WithAdvice("see what else differs with: pinflow lint")
		}
		views = append(views, plan.View{Name: v.Name, Stream: v.Stream, Hash: c.Hash(), Definition: c.Definition(), Metadata: c.Metadata()})
	}
	return views, nil
}
