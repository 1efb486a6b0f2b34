package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pinflow/pinflow/internal/emulate"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/metric"
)

type emulateFlags struct {
	streams              []string
	users, events        string
	rate                 string
	late, bad, duplicate string
	malformed, future    string
	rhythm, growth       string
	burst, since         string
	connections, batch   int
	single, makeUp       bool
	seed                 uint64
	truth                string
}

func (c *cli) emulateCommand() *cobra.Command {
	f := &emulateFlags{}
	cmd := &cobra.Command{
		Use:   "emulate",
		Short: "Post the events of many users: pins, geolocations, users",
		Long: `Post the events of many users to a server that runs the built-in streams, until --events are sent or
Ctrl-C. Few users post most, in sessions, about few categories; a pin, its place and its user have one
index. With --truth what was sent and answered is kept in a file, against which verify checks the server.
Numbers may end in k or M.`,
		Example: "  pinflow emulate --users 500 --rate 2k/s --late 1% --bad 0.1% --duplicate 0.5% --truth run.truth\n  pinflow verify --truth run.truth\n  pinflow emulate --events 500k --rate max --connections 8 --since 30d --rhythm 60% --growth 20%/7d",
		Args:    arguments(),
		RunE:    func(cmd *cobra.Command, _ []string) error { return c.emulate(cmd, f) },
	}
	fs := cmd.Flags()
	fs.StringVar(&f.users, "users", "500", "how many users post")
	fs.StringVar(&f.rate, "rate", "100/s", "events a second, like 2k/s; max: as fast as the server takes them")
	fs.StringVar(&f.events, "events", "", "how many events (default: until Ctrl-C)")
	fs.StringVar(&f.late, "late", "0%", "share of events that are late, like 1% or 0.01")
	fs.StringVar(&f.bad, "bad", "0%", "share of events that are to be refused or dead-lettered")
	fs.StringVar(&f.duplicate, "duplicate", "0%", "share of events that are sent twice")
	fs.StringVar(&f.malformed, "malformed", "0%", "share of events that are no events, to be refused")
	fs.StringVar(&f.future, "future", "0%", "share of events that are dated ahead: half of them too far")
	fs.StringVar(&f.rhythm, "rhythm", "0%", "swing of the rate over the day, like 60%: least at 04:00 UTC, most at 16:00")
	fs.StringVar(&f.growth, "growth", "", "how the rate grows, like 10%/h, 50%/7d")
	fs.StringVar(&f.burst, "burst", "", "bursts of the rate, like 5x:30s/10m: five times as high for 30 s, every 10 minutes")
	fs.StringVar(&f.since, "since", "", "let the events' times begin so long ago, like 7d, and reach now with the last of --events; rhythm, growth and bursts are then theirs")
	fs.StringSliceVar(&f.streams, "streams", nil, "streams to post to (default pin,geo,user)")
	fs.Uint64Var(&f.seed, "seed", 1, "the same seed makes the same events")
	fs.StringVar(&f.truth, "truth", "", "file to add to what was sent and answered")
	fs.BoolVar(&f.makeUp, "make-up", false, "keep the rate in the mean: what the server could not take in time is sent as soon as it takes it")
	fs.IntVar(&f.connections, "connections", 4, "requests at the same time")
	fs.IntVar(&f.batch, "batch", 500, "most events in a request")
	fs.BoolVar(&f.single, "single", false, "one event a request, to /pin/, /geo/ and /user/, as the public scripts do")
	return cmd
}

func (c *cli) emulate(cmd *cobra.Command, f *emulateFlags) error {
	cfg, err := f.config(cmd)
	if err != nil {
		return err
	}
	server, err := c.client()
	if err != nil {
		return err
	}
	cfg.URL = server.URL()
	if cfg.APIKey, err = c.key(); err != nil {
		return err
	}
	if err := server.Reach(cmd.Context()); err != nil {
		return err
	}
	e, err := emulate.New(cfg, c.logger())
	if err != nil {
		return err
	}
	stop := c.watch(func() (int64, string) {
		n := e.Counts()
		return n.Sent, fmt.Sprintf("%d accepted, %d dead-lettered, %d rejected, %d sent again", n.Accepted, n.DeadLettered, n.Rejected, n.Retried)
	}, cfg.Events)
	n, err := e.Run(cmd.Context())
	stop()
	if err != nil {
		return err
	}
	err = c.print(sheet{
		columns: []string{"sent", "accepted", "dead_lettered", "rejected", "duplicates", "retried", "unresolved", "unexpected"},
		right:   []bool{true, true, true, true, true, true, true, true},
		rows:    [][]any{{n.Sent, n.Accepted, n.DeadLettered, n.Rejected, n.Duplicates, n.Retried, n.Unresolved, n.Unexpected}},
	})
	switch {
	case err != nil:
		return err
	case n.Unexpected > 0:
		return fault.New(fault.Unknown, "unexpected", "%s got another answer than they should have", plural(int(n.Unexpected), "event"))
	case cfg.Events > 0 && cmd.Context().Err() != nil:
		return context.Canceled
	}
	return nil
}

// config reads the flags' numbers.
func (f *emulateFlags) config(cmd *cobra.Command) (emulate.Config, error) {
	cfg := emulate.Config{
		Streams: f.streams, Connections: f.connections, BatchSize: f.batch, Single: f.single, MakeUp: f.makeUp, Seed: f.seed, Truth: f.truth,
	}
	for _, x := range []struct {
		flag, text string
		whole      *int64
		share      *float64
	}{
		{flag: "--users", text: f.users, whole: &cfg.Users},
		{flag: "--events", text: f.events, whole: &cfg.Events},
		{flag: "--late", text: f.late, share: &cfg.Shares.Late},
		{flag: "--bad", text: f.bad, share: &cfg.Shares.Bad},
		{flag: "--duplicate", text: f.duplicate, share: &cfg.Shares.Duplicate},
		{flag: "--malformed", text: f.malformed, share: &cfg.Shares.Malformed},
		{flag: "--future", text: f.future, share: &cfg.Shares.Future},
		{flag: "--rhythm", text: f.rhythm, share: &cfg.Pace.Rhythm},
	} {
		if x.text == "" {
			continue
		}
		if x.whole != nil {
			v, ok := parseCount(x.text)
			if *x.whole = int64(v); !ok || *x.whole < 1 {
				return cfg, usage(cmd, "%s cannot be %q: write it like 500 or 2k", x.flag, x.text)
			}
			continue
		}
		var ok bool
		if *x.share, ok = parseShare(x.text); !ok {
			return cfg, usage(cmd, "%s cannot be %q: write it like 1%% or 0.01", x.flag, x.text)
		}
	}
	if f.connections < 1 || f.batch < 1 {
		return cfg, usage(cmd, "--connections and --batch are at least 1")
	}
	if f.rate != "max" {
		v, ok := parseCount(strings.TrimSuffix(f.rate, "/s"))
		if !ok || v <= 0 {
			return cfg, usage(cmd, "--rate cannot be %q: write it like 2k/s, or max", f.rate)
		}
		cfg.Rate = v
	}
	return cfg, f.pace(cmd, &cfg.Pace)
}

// pace reads how the rate changes.
func (f *emulateFlags) pace(cmd *cobra.Command, p *emulate.Pace) error {
	if f.since != "" {
		d, ok := parseSpan(f.since)
		if !ok {
			return usage(cmd, "--since cannot be %q: write it like 7d or 12h", f.since)
		}
		p.Since = d
	}
	if f.growth != "" {
		share, per, _ := strings.Cut(f.growth, "/")
		if !strings.ContainsAny(per, "0123456789") {
			per = "1" + per
		}
		var ok, also bool
		p.Growth, ok = parseGrowth(share)
		if p.Per, also = parseSpan(per); !ok || !also {
			return usage(cmd, "--growth cannot be %q: write it like 10%%/h or -5%%/1d", f.growth)
		}
	}
	if f.burst != "" {
		factor, rest, _ := strings.Cut(f.burst, "x:")
		long, every, _ := strings.Cut(rest, "/")
		v, err := strconv.ParseFloat(factor, 64)
		d, ok := parseSpan(long)
		e, also := parseSpan(every)
		if err != nil || !ok || !also {
			return usage(cmd, "--burst cannot be %q: write it like 5x:30s/10m", f.burst)
		}
		p.Burst = emulate.Burst{Factor: v, For: d, Every: e}
	}
	return nil
}

// parseSpan reads a duration above zero, like 90s, 12h and 7d.
func parseSpan(s string) (time.Duration, bool) {
	us, err := metric.ParseDuration(s)
	return time.Duration(us) * time.Microsecond, err == nil && us > 0 && us < int64(1<<62)/1000
}

// parseGrowth is parseShare for what may also shrink, or more than double.
func parseGrowth(s string) (float64, bool) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	return v, err == nil
}

// parseCount reads 500, 2k, 1.5M.
func parseCount(s string) (float64, bool) {
	scale := 1.0
	switch {
	case strings.HasSuffix(s, "k"), strings.HasSuffix(s, "K"):
		scale, s = 1e3, s[:len(s)-1]
	case strings.HasSuffix(s, "M"):
		scale, s = 1e6, s[:len(s)-1]
	}
	v, err := strconv.ParseFloat(s, 64)
	return v * scale, err == nil && v >= 0 && v*scale < 1e15
}

// parseShare reads 1% or 0.01.
func parseShare(s string) (float64, bool) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	return v, err == nil && v >= 0 && v <= 1
}
