package app

import (
	"context"
	"fmt"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/icelake"
)

// Finding is what a check-up says of one thing.
type Finding struct {
	Of     string // ledger, lake, log, or a topic
	State  string // ok | warning | error
	Detail string
}

// InUse is the code of the finding that a running `up` has the embedded log: it knows how the log is.
const InUse = "in use"

// Doctor looks at everything that a project stands on, and says what is wrong or unwise. What is not there
// yet it does not make.
func Doctor(ctx context.Context, cfg Config) []Finding {
	s := cfg.Project.Settings
	all := []Finding{lakeFinding(ctx, cfg)}
	if s.Backfill.Engine == config.EngineSpark {
		how := sparkConfig(s)
		if version, err := how.Version(ctx); err != nil {
			all = append(all, Finding{"spark", "error", err.Error()})
		} else {
			all = append(all, Finding{"spark", "ok", fmt.Sprintf("%s by %s, master %s", version, how.Submit, how.Master)})
		}
	}
	t, err := OpenTopics(ctx, cfg, true)
	if fault.CodeOf(err) == "data_in_use" { // the embedded log is inside of that process, which has no Kafka port
		return append(all, Finding{"log", InUse, err.Error()})
	}
	if err != nil {
		return append(all, Finding{"log and ledger", "error", err.Error()})
	}
	defer t.Close() //nolint:errcheck // it was only looked at
	detail := s.Log.Kind
	if t.p.ledger == nil {
		detail += ", no ledger yet: the first start makes it"
	}
	all = append(all, Finding{"log and ledger", "ok", detail})
	if t.running != "" {
		all = append(all, Finding{"log", InUse, "inside of the process whose Kafka port is " + t.running})
	}
	topics, err := t.List(ctx)
	if err != nil {
		all = append(all, Finding{"topics", "error", err.Error()})
	}
	for i := range topics {
		all = append(all, topics[i].findings(s)...)
	}
	return all
}

// lakeFinding also compares what is left of ledger, lake and log.
func lakeFinding(ctx context.Context, cfg Config) Finding {
	s := cfg.Project.Settings
	bad := func(err error) Finding { return Finding{"lake", "error", err.Error()} }
	named, err := compare(ctx, s, cfg.Log)
	if err != nil {
		return bad(err)
	}
	if named == 0 {
		return Finding{"lake", "ok", s.Lake.Warehouse + ", no table yet: the first start makes them"}
	}
	lk, err := icelake.Open(ctx, lakeConfig(s, cfg.Log))
	if err != nil {
		return bad(err)
	}
	defer lk.Close() //nolint:errcheck // it was only looked at
	tables, err := lk.Tables(ctx)
	if err != nil {
		return bad(err)
	}
	return Finding{"lake", "ok", fmt.Sprintf("%s, %d tables", s.Lake.Warehouse, len(tables))}
}

// findings are what is wrong with a topic, or unwise.
func (t *TopicState) findings(s config.Settings) []Finding {
	if t.Problem != nil {
		return []Finding{{"topic " + t.Name, "error", t.Problem.Error()}}
	}
	var all []Finding
	warn := func(format string, args ...any) {
		all = append(all, Finding{"topic " + t.Name, "warning", fmt.Sprintf(format, args...)})
	}
	if t.State == "missing" || s.Log.Kind == config.Embedded {
		return []Finding{{"topic " + t.Name, "ok", t.State}}
	}
	if t.MinInSync == 1 {
		warn("min.insync.replicas is 1: an event that was answered accepted may be lost with one broker; set it to 2, with 3 replicas")
	}
	if t.Replicas < 2 {
		warn("it has one replica: while its broker is away nothing is taken, and with its disk the log is gone")
	}
	if t.InSync < t.Replicas {
		warn("only %d of %d replicas are in sync", t.InSync, t.Replicas)
	}
	if t.Cleanup != "delete" && t.Cleanup != "" {
		all = append(all, Finding{"topic " + t.Name, "error", fmt.Sprintf("cleanup.policy is %s: compaction removes records that no unit has read; set it to delete", t.Cleanup)})
	}
	if t.Retention > 0 && t.Retention < 24*time.Hour {
		warn("records are kept for %s: a unit that is down for longer loses what came in", calendar.Duration(t.Retention))
	}
	if t.MaxMessage > 0 && t.MaxMessage < s.Limits.Event {
		warn("max.message.bytes is %d, limits.event %d: larger events are refused one by one", t.MaxMessage, s.Limits.Event)
	}
	if len(all) == 0 {
		all = append(all, Finding{"topic " + t.Name, "ok", t.State})
	}
	return all
}
