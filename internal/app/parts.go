package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"

	"github.com/pinflow/pinflow/internal/access"
	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
	"github.com/pinflow/pinflow/internal/icelake"
	"github.com/pinflow/pinflow/internal/kafkalog"
	"github.com/pinflow/pinflow/internal/sqlledger"
)

// parts are the adapters of a process, opened in order and closed in the opposite one.
type parts struct {
	cfg Config
	log *slog.Logger

	folder *folder
	ledger *sqlledger.DB
	lake   *icelake.Lake    // nil in a unit that does not need it
	broker *kafkalog.Broker // nil on a Kafka cluster
	wire   kafkalog.Config  // how our own clients reach the log
	admin  *kafkalog.Admin
	door   *kafkalog.Producer // nil without the collector
	http   net.Listener
	pprof  net.Listener // nil: nobody asked for profiles
	access *access.Keeper

	name string // owner

	auditor    *audit.Auditor
	pace       *days.Pace                          // how fast days that wait come nearer to their landing
	pressure   *days.Pressure                      // after which what can wait asks
	dashboards atomic.Pointer[[]httpapi.Dashboard] // as the files said when they were last read

	closers []func() error
}

func (p *parts) onClose(close func() error) { p.closers = append(p.closers, close) }

// close closes what was opened, newest first.
func (p *parts) close() error {
	var errs []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		errs = append(errs, p.closers[i]())
	}
	p.closers = nil
	return errors.Join(errs...)
}

// open opens the stores, the log and the port, and brings the project into them.
func (p *parts) open(ctx context.Context) error {
	s, units := p.cfg.Project.Settings, p.cfg.Units
	if err := p.needsLedger(); err != nil {
		return err
	}
	var err error
	open := useFolder
	if units.all() {
		open = openFolder
	}
	if p.folder, err = open(s.Data); err != nil {
		return err
	}
	p.onClose(p.folder.close)
	if _, err := compare(ctx, s, p.log); err != nil {
		return p.explain(err)
	}
	if p.ledger, err = sqlledger.Open(ctx, s.Ledger.DSN, p.log); err != nil {
		return p.explain(fmt.Errorf("opening the ledger: %w", err))
	}
	p.onClose(p.ledger.Close)
	p.pressure = days.NewPressure(p.ledger)
	if err := p.openAccess(ctx); err != nil {
		return p.explain(err)
	}
	if units.Batch || units.Serve {
		if err := p.openLake(ctx); err != nil {
			return p.explain(err)
		}
	}
	if err := p.openLog(ctx); err != nil {
		return p.explain(err)
	}
	if p.http, err = listen(p.cfg.Listen, p.address(), p.cfg.Project.Chosen("listen"), units.serves(), "--listen", p.log); err != nil {
		return err
	}
	p.onClose(func() error { return closed(p.http) })
	if err := p.openProfiles(); err != nil {
		return err
	}
	if err := p.bring(ctx); err != nil {
		return p.explain(err)
	}
	if units.Collect {
		return p.openDoor(ctx)
	}
	return nil
}

// openLake opens the lake, if it is the one that the ledger knows.
func (p *parts) openLake(ctx context.Context) (err error) {
	if p.lake, err = icelake.Open(ctx, lakeConfig(p.cfg.Project.Settings, p.log)); err != nil {
		return fmt.Errorf("opening the lake: %w", err)
	}
	p.onClose(p.lake.Close)
	return p.agree(ctx)
}

// address is where this process listens. The project's address is that of the front door and the page: a
// unit that is only probed leaves it to them, and takes any free port unless it was given one itself.
func (p *parts) address() string {
	addr, origin := p.cfg.Project.Settings.Listen, p.cfg.Project.Origin("listen")
	own := strings.HasPrefix(origin, "flag ") || strings.HasPrefix(origin, "env ")
	if u := p.cfg.Units; own || u.Collect || u.Serve {
		return addr
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	return net.JoinHostPort(host, "0")
}

// explain gives faults of the data folder that come from deep below the words of the folder.
func (p *parts) explain(err error) error {
	if fault.KindOf(err) != fault.Unknown {
		return err
	}
	if known := folderFault(p.folder.path, err); fault.KindOf(known) != fault.Unknown {
		return known
	}
	return err
}
