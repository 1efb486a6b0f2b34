package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/nearest"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// Topics are the project's topics and what the ledger knows of them, for whoever looks after them. It
// opens the embedded log, too; one that an `up` has is reached by its Kafka port.
type Topics struct {
	p       *parts
	running string // the Kafka port of the process that has the embedded log; "": this one, or there is none
}

// OpenTopics opens log and ledger and starts nothing. With look it makes neither of them: Topics are then
// only for List.
func OpenTopics(ctx context.Context, cfg Config, look bool) (*Topics, error) {
	a, err := New(cfg)
	if err != nil {
		return nil, err
	}
	t := &Topics{p: &parts{cfg: a.cfg, log: a.log}}
	open := t.open
	if look {
		open = t.look
	}
	if err := open(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// look opens what is there.
func (t *Topics) look(ctx context.Context) error {
	p, s := t.p, t.p.cfg.Project.Settings
	blank, err := sqlledger.Blank(ctx, s.Ledger.DSN)
	switch {
	case err != nil:
		return err
	case !blank:
		return t.open(ctx)
	case s.Log.Kind == config.Embedded:
		if _, err := os.Stat(s.Ledger.DSN); errors.Is(err, fs.ErrNotExist) {
			_, err = compare(ctx, s, p.log)
			return err
		}
		return t.open(ctx) // pinflow topics create made it
	}
	p.folder = &folder{path: s.Data}
	return p.openLog(ctx)
}

func (t *Topics) open(ctx context.Context) error {
	p, s := t.p, t.p.cfg.Project.Settings
	open := useFolder
	if s.Log.Kind == config.Embedded {
		open = openFolder
	}
	var err error
	p.folder, err = open(s.Data)
	if fault.CodeOf(err) == "data_in_use" {
		if _, kafka, lost := readLock(s.Data); lost == nil && kafka != "" {
			t.running = kafka
			p.folder, err = useFolder(s.Data)
		}
	}
	if err != nil {
		return err
	}
	p.onClose(p.folder.close)
	if p.ledger, err = sqlledger.Open(ctx, s.Ledger.DSN, p.log); err != nil {
		return p.explain(fmt.Errorf("opening the ledger: %w", err))
	}
	p.onClose(p.ledger.Close)
	if t.running != "" {
		return p.joinLog(ctx, t.running)
	}
	return p.openLog(ctx)
}

// Close closes log and ledger.
func (t *Topics) Close() error { return t.p.close() }

// TopicState is a topic beside what the project and the ledger say of it.
type TopicState struct {
	Name, Stream string
	Dead         bool
	Partitions   int32
	Replicas     int
	InSync       int           // of the partition that has the fewest
	MinInSync    int           // replicas that must have a record before it is acknowledged; 0: unknown
	Retention    time.Duration // 0: unknown; -1: for ever
	Cleanup      string        // cleanup.policy
	MaxMessage   int64         // bytes; 0: unknown
	Records      int64         // offsets that it holds
	State        string        // ok | missing | new | recreated | gone | partitions_differ | topic_differs
	Problem      error
}

// wanted are the streams' definitions by name: the ledger's, and the project's that the ledger does not know.
func (t *Topics) wanted(snap *ledger.Snapshot) map[string]event.Stream {
	all := map[string]event.Stream{}
	for _, s := range t.p.cfg.Project.EventStreams() {
		all[s.Name] = s
	}
	for _, s := range snap.Streams {
		if n := len(s.Schemas); n > 0 {
			all[s.Name] = s.Schemas[n-1].Definition
		}
	}
	return all
}

// List tells how every topic is.
func (t *Topics) List(ctx context.Context) ([]TopicState, error) {
	snap := &ledger.Snapshot{}
	if t.p.ledger != nil {
		var err error
		if snap, err = t.p.ledger.Load(ctx); err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
	}
	var states []TopicState
	specs := map[string]kafkalog.TopicSpec{}
	defs := t.wanted(snap)
	for _, name := range slices.Sorted(maps.Keys(defs)) {
		def := defs[name]
		for dead, spec := range TopicsOf(&def, t.p.cfg.Project.Settings.Log) {
			states = append(states, TopicState{Name: spec.Name, Stream: name, Dead: dead})
			specs[spec.Name] = spec
		}
	}
	slices.SortFunc(states, func(a, b TopicState) int {
		if a.Stream != b.Stream {
			return cmpText(a.Stream, b.Stream)
		}
		return cmpText(a.Name, b.Name)
	})
	if t.p.admin == nil {
		for i := range states {
			states[i].State = "missing"
		}
		return states, nil
	}
	there, err := t.p.admin.Topics(ctx, slices.Sorted(maps.Keys(specs))...)
	if err != nil {
		return nil, err
	}
	configs, err := t.p.admin.TopicConfigs(ctx, slices.Sorted(maps.Keys(there))...)
	if err != nil {
		return nil, err
	}
	for i := range states {
		s := &states[i]
		topic, ok := there[s.Name]
		s.judge(openLog(snap, s.Stream, s.Dead), specs[s.Name], topic, ok)
		if !ok {
			continue
		}
		s.Partitions, s.Replicas, s.InSync = topic.Partitions, topic.Replication, topic.InSync
		s.settings(configs[s.Name])
		if s.Records, err = t.held(ctx, s.Name); err != nil {
			return nil, err
		}
	}
	return states, nil
}

func cmpText(a, b string) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// judge compares a topic with the log that the ledger knows, or with what it is to become.
func (s *TopicState) judge(l *ledger.Log, spec kafkalog.TopicSpec, topic kafkalog.Topic, there bool) {
	switch {
	case l == nil && !there:
		s.State = "missing"
	case l == nil && topic.Partitions != spec.Partitions:
		s.Problem = topicDiffers(s.Stream, s.Dead, spec, topic)
	case l == nil:
		s.State = "new"
	case !there:
		s.Problem = topicGone(*l)
	case sameIncarnation(*l, topic) != nil:
		s.Problem = sameIncarnation(*l, topic)
	default:
		s.Problem = samePartitions(*l, topic)
	}
	switch {
	case s.Problem != nil:
		s.State = fault.CodeOf(s.Problem)
	case s.State == "":
		s.State = "ok"
	}
}

func (s *TopicState) settings(configs map[string]string) {
	number := func(key string) int64 {
		n, err := strconv.ParseInt(configs[key], 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	s.MinInSync, s.Cleanup, s.MaxMessage = int(number(kafkalog.MinInSync)), configs[kafkalog.CleanupPolicy], number(kafkalog.MaxMessageBytes)
	s.Retention = time.Duration(number(kafkalog.RetentionMillis)) * time.Millisecond
	if configs[kafkalog.RetentionMillis] == "-1" {
		s.Retention = -1
	}
}

// held is how many offsets a topic holds.
func (t *Topics) held(ctx context.Context, topic string) (n int64, err error) {
	starts, err := t.p.admin.Starts(ctx, topic)
	if err != nil {
		return 0, err
	}
	ends, err := t.p.admin.HighWatermarks(ctx, topic)
	if err != nil {
		return 0, err
	}
	for p, end := range ends {
		n += end - starts[p]
	}
	return n, nil
}

// Create makes the topics of the streams named, or of all, that are not there. Partitions above 0 and a
// replication factor replace what the stream and the settings say. One that is there otherwise is an error.
func (t *Topics) Create(ctx context.Context, streams []string, partitions int32, replication int16, retention time.Duration) (made []string, err error) {
	snap, err := t.p.ledger.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	how := t.p.cfg.Project.Settings.Log
	if replication > 0 {
		how.ReplicationFactor = int(replication)
	}
	if retention > 0 {
		how.Retention = retention
	}
	if how.Kind == config.Embedded && (how.ReplicationFactor > 1 || how.Retention > 0) {
		return nil, fault.New(fault.Config, "not_supported", "the embedded log has one copy, and keeps records until both units have them").
			WithAdvice("leave out replication factor and retention, or use log.kind: kafka")
	}
	defs := t.wanted(snap)
	if len(streams) == 0 {
		streams = slices.Sorted(maps.Keys(defs))
	}
	for _, name := range streams {
		def, ok := defs[name]
		if !ok {
			return made, unknownStream(name, defs)
		}
		if partitions > 0 {
			def.Partitions = partitions
		}
		for dead, spec := range TopicsOf(&def, how) {
			if l := openLog(snap, name, dead); l != nil {
				if err := logIsThere(ctx, *l, t.p.admin); err != nil {
					return made, err
				}
			}
			topic, now, err := t.p.admin.EnsureTopic(ctx, spec)
			if err != nil {
				return made, err
			}
			if topic.Partitions != spec.Partitions {
				return made, topicDiffers(name, dead, spec, topic)
			}
			if now {
				made = append(made, spec.Name)
			}
		}
	}
	slices.Sort(made)
	return made, nil
}

func unknownStream(name string, defs map[string]event.Stream) error {
	names := slices.Sorted(maps.Keys(defs))
	err := fault.New(fault.Config, "unknown_stream", "there is no stream %q", name).WithExit(fault.ExitUsage)
	if near := nearest.Name(name, names); near != "" {
		return err.WithAdvice("did you mean %q?", near)
	}
	return err.WithAdvice("use one of: %v", names)
}
