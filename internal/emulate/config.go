package emulate

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says who posts what, how fast, and where to.
type Config struct {
	URL    string // of the server: http://127.0.0.1:8080
	APIKey string
	Client *http.Client // nil: one of its own

	Streams     []string // nil: all
	Users       int64    // who post; default 500
	Rate        float64  // events a second; 0: as fast as the server takes them
	Events      int64    // how many, resent ones not counted; 0: until the context ends
	Connections int      // requests at the same time; default 4
	BatchSize   int      // most events in a request; default 500. At a low Rate requests hold fewer
	Single      bool     // one event a request, to /pin/, /geo/ and /user/, as the public scripts do
	Shares      Shares
	Pace        Pace
	MakeUp      bool // what the server could not take in time is sent as soon as it takes it: the rate holds in the mean

	Seed  uint64
	Run   string // part of every id, so that two runs never share one; default: made of the time
	Truth string // file to append the truth to; "": none
}

func (c *Config) setDefaults(now time.Time) {
	if c.Client == nil {
		c.Client = &http.Client{
			Timeout:   30 * time.Second,
			Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 30 * time.Second},
		}
	}
	if len(c.Streams) == 0 {
		c.Streams = Streams
	}
	if c.Users == 0 {
		c.Users = 500
	}
	if c.Connections == 0 {
		c.Connections = 4
	}
	if c.BatchSize == 0 {
		c.BatchSize = 500
	}
	if c.Single {
		c.BatchSize = 1
	}
	if c.Rate > 0 { // some requests a second, so that the rate is even
		c.BatchSize = max(1, min(c.BatchSize, int(c.Rate/20)))
	}
	if c.Run == "" {
		c.Run = strconv.FormatInt(now.UnixMicro(), 36)
	}
	c.URL = strings.TrimSuffix(c.URL, "/")
}

func (c *Config) check() error {
	bad := func(format string, args ...any) error {
		return fault.New(fault.Config, "bad_emulation", format, args...).WithExit(fault.ExitUsage)
	}
	for _, s := range c.Streams {
		if !slices.Contains(Streams, s) {
			return bad("cannot emulate stream %q, only %s", s, strings.Join(Streams, ", "))
		}
	}
	for _, x := range []struct {
		name  string
		share float64
	}{
		{"late", c.Shares.Late},
		{"bad", c.Shares.Bad},
		{"duplicate", c.Shares.Duplicate},
		{"malformed", c.Shares.Malformed},
		{"future", c.Shares.Future},
	} {
		if !(x.share >= 0 && x.share <= 1) {
			return bad("the share of %s events must be 0 to 1: %v", x.name, x.share)
		}
	}
	switch {
	case !strings.HasPrefix(c.URL, "http://") && !strings.HasPrefix(c.URL, "https://"):
		return bad("%q is not the address of a server: write it like http://127.0.0.1:8080", c.URL)
	case c.Users < 0 || c.Events < 0 || c.Connections < 0 || c.BatchSize < 0 || !(c.Rate >= 0):
		return bad("users, rate, events, connections and batch size cannot be negative")
	case c.Users > maxUsers:
		return bad("%d users are too many: at most %d", c.Users, maxUsers)
	}
	return c.Pace.check(c.Rate, c.Events, bad)
}

// longestSince is within the age that a stream takes.
const longestSince = 9 * 365 * 24 * time.Hour

func (p *Pace) check(rate float64, events int64, bad func(format string, args ...any) error) error {
	b := p.Burst
	switch {
	case !(p.Rhythm >= 0 && p.Rhythm <= 1):
		return bad("the swing of the daily rhythm must be 0 to 1: %v", p.Rhythm)
	case !(p.Growth > -1 && p.Growth <= 1000), p.Per < 0:
		return bad("the rate cannot grow by %v in %s", p.Growth, p.Per)
	case b != Burst{} && (!(b.Factor > 0 && b.Factor <= 1000) || b.For <= 0 || b.Every <= b.For):
		return bad("a burst has a factor of at most 1000 and is shorter than the time from one to the next: %v times for %s every %s", b.Factor, b.For, b.Every)
	case p.Since < 0 || p.Since > longestSince:
		return bad("the events' times can begin at most nine years ago")
	case p.Since > 0 && events == 0:
		return bad("events that begin in the past must be counted: say how many")
	case !p.even() && p.Since == 0 && rate == 0:
		return bad("rhythm, growth and bursts change a rate, and there is none")
	}
	return nil
}

// Counts are what was sent and what became of it.
type Counts struct {
	Sent         int64 `json:"sent"`          // events, each counted once
	Accepted     int64 `json:"accepted"`      // as rows to be
	DeadLettered int64 `json:"dead_lettered"` //
	Rejected     int64 `json:"rejected"`      //
	Duplicates   int64 `json:"duplicates"`    // sent once more on purpose, and accepted
	Unresolved   int64 `json:"unresolved"`    // never answered before the end
	Retried      int64 `json:"retried"`       // events sent again because the first answer did not come or said so
	Unexpected   int64 `json:"unexpected"`    // with another fate than they should have
}

// Emulator posts events.
type Emulator struct {
	cfg  Config
	log  *slog.Logger
	head header
	gen  *generator

	mu     sync.Mutex
	counts Counts
}

// New checks cfg and returns an emulator that has started nothing.
func New(cfg Config, log *slog.Logger) (*Emulator, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.setDefaults(time.Now())
	rows, err := loadTemplates()
	if err != nil {
		return nil, fmt.Errorf("loading the demonstration: %w", err)
	}
	e := &Emulator{cfg: cfg, log: log}
	e.head = header{Truth: truthFormat, Run: cfg.Run, Seed: cfg.Seed, Users: cfg.Users, Shares: cfg.Shares}
	e.gen = newGenerator(&e.head, rows)
	return e, nil
}

// Counts are those so far.
func (e *Emulator) Counts() Counts {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.counts
}

func (e *Emulator) count(add func(c *Counts)) {
	e.mu.Lock()
	add(&e.counts)
	e.mu.Unlock()
}
