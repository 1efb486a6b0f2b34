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

// Doctor looks at everything that a project stands on, and says what is wrong or unwise. It makes and
// changes nothing but what opening a ledger and a lake makes.
func Doctor(ctx context.Context, cfg Config) []Finding {
	var all []Finding
	add := func(of string, err error, fine string) bool {
		if err != nil {
			all = append(all, Finding{of, "error", err.Error()})
			return false
		}
		all = append(all, Finding{of, "ok", fine})
		return true
	}
	s := cfg.Project.Settings
	lk, err := icelake.Open(ctx, lakeConfig(s, cfg.Log))
	if err == nil {
		_, err = lk.Tables(ctx)
		defer lk.Close() //nolint:errcheck // it was only looked at
	}
	add("lake", err, s.Lake.Warehouse)
	if s.Backfill.Engine == config.EngineSpark {
		how := sparkConfig(s)
		version, err := how.Version(ctx)
		add("spark", err, fmt.Sprintf("%s by %s, master %s", version, how.Submit, how.Master))
	}
	t, err := OpenTopics(ctx, cfg)
	if fault.CodeOf(err) == "data_in_use" { // the embedded log is inside of that process
		return append(all, Finding{"log", "ok", err.Error() + " (pinflow status asks it)"})
	}
	if !add("log and ledger", err, s.Log.Kind) {
		return all
	}
	defer t.Close() //nolint:errcheck // it was only looked at
	topics, err := t.List(ctx)
	if err != nil {
		add("topics", err, "")
	}
	for i := range topics {
		all = append(all, topics[i].findings(s)...)
	}
	return all
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
