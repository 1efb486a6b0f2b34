package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	lakedef "github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
	"github.com/pinflow/pinflow/internal/span"
)

// catalogue is the part of the ledger that bring needs.
type catalogue interface {
	ledger.Catalogue
	PositionsOf(ctx context.Context, unit ledger.Unit) (span.Vector, error)
	Backfills(ctx context.Context, id int64) ([]ledger.Backfill, error)
}

// bring brings the project into ledger, log and lake. A process that runs everything applies what `up`
// applies by itself; a unit takes streams and views from the ledger, and only a ledger that lacks either
// gets the project's, whichever unit is first.
func (p *parts) bring(ctx context.Context) error {
	b := p.bringer()
	for {
		snap, err := p.ledger.Load(ctx)
		if err != nil {
			return fmt.Errorf("reading the catalogue: %w", err)
		}
		known := len(snap.Streams) > 0 && (len(snap.Views) > 0 || len(p.cfg.Project.Views) == 0)
		if !p.cfg.Units.all() && known {
			return b.prepare(ctx, snap)
		}
		err = b.bring(ctx, p.cfg.Project, snap)
		if err == nil || !fault.Is(err, fault.Stale) {
			return err
		}
		p.log.Debug("another process was faster", "cause", err)
	}
}

// bringer brings definitions into the stores. lake is nil in a process that has none.
type bringer struct {
	led   catalogue
	admin *kafkalog.Admin
	lake  *icelake.Lake
	how   config.Log
	log   *slog.Logger
	out   io.Writer

	engine string // of the histories that new views begin with
}

func (p *parts) bringer() *bringer {
	return &bringer{led: p.ledger, admin: p.admin, lake: p.lake, how: p.cfg.Project.Settings.Log, log: p.log, out: p.cfg.Out, engine: p.engine()}
}

// bring makes the ledger, the log and the lake run what the project's files say, as far as `up` does
// so by itself: new streams, new fields, new views and metadata. The rest is printed and goes on as it
// runs.
func (b *bringer) bring(ctx context.Context, p *config.Project, snap *ledger.Snapshot) error {
	changes, err := plan.Compare(planned(p), snap)
	if err != nil {
		return err
	}
	plan.FillBy(changes, b.engine)
	for _, c := range changes {
		if c.Auto {
			b.log.Info("applying", "change", c.Category, "stream", c.Stream, "view", c.View, "detail", c.Detail)
		}
	}
	if err := b.led.Apply(ctx, plan.Compose(changes, snap, true)...); err != nil {
		return fmt.Errorf("applying the project: %w", err)
	}
	if snap, err = b.led.Load(ctx); err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	if err := b.prepare(ctx, snap); err != nil {
		return err
	}
	return b.rest(ctx, p)
}

// prepare makes the topics, logs and tables that the catalogue's streams need, and checks those that are
// there.
func (b *bringer) prepare(ctx context.Context, snap *ledger.Snapshot) error {
	for i := range snap.Streams {
		s := &snap.Streams[i]
		if err := bringStream(ctx, s, snap, b.led, b.admin, b.lake, b.how); err != nil {
			return fmt.Errorf("preparing stream %s: %w", s.Name, err)
		}
	}
	if b.lake != nil {
		if err := b.lake.EnsureTable(ctx, lakedef.DeadLetterTable()); err != nil {
			return err
		}
	}
	return logHoldsWhatWasRead(ctx, snap, b.led, b.admin)
}

// rest prints the plan of what is not applied by itself.
func (b *bringer) rest(ctx context.Context, p *config.Project) error {
	if b.lake == nil {
		return nil
	}
	doc, err := (&planner{led: b.led, lake: b.lake, engine: b.engine}).document(ctx, planned(p), request{})
	if err != nil || len(doc.Changes) == 0 {
		return err
	}
	b.log.Warn("the files say something else than what runs", "changes", len(doc.Changes))
	end := "Nothing of this was changed. Run: pinflow apply"
	if !doc.Does() {
		end = "Nothing of this was changed: see what to write instead."
	}
	_, err = fmt.Fprint(b.out, doc.Text(end))
	return err
}

// bringStream makes the stream's topics and table, and registers the topics as logs. A topic that the
// ledger knows already is not made again: its records would be other ones.
func bringStream(ctx context.Context, s *ledger.Stream, snap *ledger.Snapshot, led ledger.Catalogue, admin *kafkalog.Admin, lake *icelake.Lake, how config.Log) error {
	def := s.Schemas[len(s.Schemas)-1].Definition
	specs := TopicsOf(&def, how)
	for _, dead := range []bool{false, true} {
		spec := specs[dead]
		if l := openLog(snap, s.Name, dead); l != nil {
			if err := grow(ctx, *l, spec.Partitions, led, admin); err != nil {
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
	return ensureTable(ctx, s, lake)
}

// grow checks the topic of a log that the ledger knows, and gives both the partitions that they lack. The
// topic gets them first: until the ledger names them nobody writes to them.
func grow(ctx context.Context, l ledger.Log, partitions int32, led ledger.Catalogue, admin *kafkalog.Admin) error {
	if partitions <= l.Partitions {
		return logIsThere(ctx, l, admin)
	}
	t, err := admin.Topic(ctx, l.Topic)
	if fault.CodeOf(err) == "unknown_topic" {
		return topicGone(l)
	} else if err != nil {
		return err
	}
	if err := sameIncarnation(l, t); err != nil {
		return err
	}
	if t.Partitions < partitions {
		if err := admin.AddPartitions(ctx, l.Topic, partitions); err != nil {
			return err
		}
	}
	l.Partitions = max(partitions, t.Partitions)
	if _, err := led.AddLog(ctx, l); err != nil {
		return fmt.Errorf("registering the partitions of topic %s: %w", l.Topic, err)
	}
	return nil
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
