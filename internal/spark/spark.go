package spark

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
)

// Config says which Spark, and what of.
type Config struct {
	Home     string   // folder of Apache Spark; "": spark-submit is looked for in PATH
	Master   string   // as spark-submit takes it; "": local[*]
	Jars     []string // files: Iceberg's runtime for Spark, the JDBC driver of the catalog
	Packages []string // the same as Maven coordinates, which Spark downloads
	Conf     []string // KEY=VALUE, more for spark-submit

	Idle  time.Duration // how long a session is kept with nothing to do; 0: 5 min
	Start time.Duration // how long a session may take to start; 0: 10 min

	Lake Lake
}

//go:embed driver.scala
var driver []byte

// Spark runs statements, any number at a time, in one session. The session is started by the first of
// them, and again after it has ended for whatever cause.
type Spark struct {
	cfg  Config
	log  *slog.Logger
	conf [][2]string // of the session: the catalog, and what the emitted SQL relies on

	mu     sync.Mutex
	now    *session // nil: none
	idle   *time.Timer
	closed bool
	next   int // number of the next statement
}

// New returns a Spark that has started nothing.
func New(cfg Config, log *slog.Logger) *Spark {
	if cfg.Master == "" {
		cfg.Master = "local[*]"
	}
	if cfg.Idle == 0 {
		cfg.Idle = 5 * time.Minute
	}
	if cfg.Start == 0 {
		cfg.Start = 10 * time.Minute
	}
	return &Spark{cfg: cfg, log: log, conf: append(cfg.Lake.catalog(), semantics...)}
}

// semantics are the settings that the emitted SQL relies on, whatever the operator's defaults are. In ANSI
// mode what would be a silent NULL ends the statement.
var semantics = [][2]string{
	{"spark.sql.ansi.enabled", "true"},
	{"spark.sql.ansi.enforceReservedKeywords", "false"},
	{"spark.sql.ansi.doubleQuotedIdentifiers", "false"},
	{"spark.sql.caseSensitive", "true"},
	{"spark.sql.parser.escapedStringLiterals", "false"},
	{"spark.sql.parser.quotedRegexColumnNames", "false"},
	{"spark.sql.session.timeZone", "UTC"},
	{"spark.sql.variable.substitute", "false"},
}

// Version starts a session unless one runs, and tells which Spark it is.
func (s *Spark) Version(ctx context.Context) (string, error) {
	p, err := s.take(ctx)
	if err != nil {
		return "", err
	}
	defer s.release(p)
	return p.version, nil
}

// Run runs one statement and returns its rows, each as JSON. progress (nil: nobody) is told now and then how
// many of the tasks known so far are done. When ctx ends the statement is cancelled, and nothing of it goes on
// when Run returns. Config spark_missing: there is no Spark; Transient spark_start: it did not start;
// spark_ended: it ended meanwhile; Unknown spark_failed: what Spark says to the statement.
func (s *Spark) Run(ctx context.Context, sql string, progress func(done, of int)) ([]string, error) {
	return s.ask(ctx, progress, "run", text(sql))
}

// Register makes an Iceberg table known as pinflow._states.NAME by the location of its metadata, to the session
// that runs. Faults are those of Run.
func (s *Spark) Register(ctx context.Context, name, metadata string) error {
	_, err := s.ask(ctx, nil, "register", text(name), text(metadata))
	return err
}

// ask has the driver do something.
func (s *Spark) ask(ctx context.Context, progress func(done, of int), verb string, words ...string) ([]string, error) {
	p, err := s.take(ctx)
	if err != nil {
		return nil, err
	}
	defer s.release(p)
	s.mu.Lock()
	s.next++
	id := strconv.Itoa(s.next)
	s.mu.Unlock()
	rows, err := p.ask(ctx, id, progress, verb, words...)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return rows, err
}

// take returns the session, started if there is none, for one more user.
func (s *Spark) take(ctx context.Context) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, fault.New(fault.Transient, "spark_ended", "Spark is closed: pinflow stops")
	case s.now != nil && !s.now.ended():
		s.now.users++
		return s.now, nil
	case s.now != nil:
		s.now.close()
		s.now = nil
	}
	began := time.Now()
	p, err := start(ctx, &s.cfg, s.conf)
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "Spark runs", "version", p.version, "master", s.cfg.Master, "took", time.Since(began).Round(time.Millisecond))
	s.now, p.users = p, 1
	return p, nil
}

// release ends a use of a session; one that nobody uses ends after a while.
func (s *Spark) release(p *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.users--; p.users > 0 || s.closed || s.now != p {
		return
	}
	if s.idle != nil {
		s.idle.Stop()
	}
	s.idle = time.AfterFunc(s.cfg.Idle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.now == p && p.users == 0 {
			s.log.Info("Spark has nothing to do and ends")
			s.now.close()
			s.now = nil
		}
	})
}

// Close ends the session, with all that runs in it.
func (s *Spark) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.idle != nil {
		s.idle.Stop()
	}
	if s.now == nil {
		return nil
	}
	s.now.close()
	s.now = nil
	return nil
}

var errGone = errors.New("the session ended")
