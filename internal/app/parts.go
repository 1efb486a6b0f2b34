package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"

	"github.com/pinflow/pinflow/internal/batch"
	"github.com/pinflow/pinflow/internal/fault"
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
	lake   *icelake.Lake
	broker *kafkalog.Broker
	wire   kafkalog.Config // how our own clients reach the log
	admin  *kafkalog.Admin
	door   *kafkalog.Producer
	http   net.Listener

	batched *batch.Metrics

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
	s := p.cfg.Project.Settings
	var err error
	if p.folder, err = openFolder(s.Data); err != nil {
		return err
	}
	p.onClose(p.folder.close)
	if p.ledger, err = sqlledger.Open(ctx, s.Ledger.DSN, p.log); err != nil {
		return p.explain(fmt.Errorf("opening the ledger: %w", err))
	}
	p.onClose(p.ledger.Close)
	if p.lake, err = icelake.Open(ctx, icelake.Config{Warehouse: s.Lake.Warehouse, Catalog: s.Lake.Catalog, Log: p.log}); err != nil {
		return p.explain(fmt.Errorf("opening the lake: %w", err))
	}
	p.onClose(p.lake.Close)
	if err := p.openLog(ctx); err != nil {
		return p.explain(err)
	}
	if p.http, err = listen(p.cfg.Listen, s.Listen, p.cfg.Project.Chosen("listen"), "the page and the API", "--listen", p.log); err != nil {
		return err
	}
	p.onClose(func() error {
		if err := p.http.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("closing the port: %w", err)
		}
		return nil
	})
	if err := bring(ctx, p.cfg.Project, p.ledger, p.admin, p.lake, p.log); err != nil {
		return p.explain(err)
	}
	return nil
}

// openLog starts the embedded broker and its clients.
func (p *parts) openLog(ctx context.Context) error {
	s := p.cfg.Project.Settings
	var err error
	p.broker, err = kafkalog.OpenBroker(ctx, kafkalog.BrokerConfig{
		Dir: filepath.Join(s.Data, "log"), Listen: s.Log.Listen, Cap: s.Log.Cap,
		ListenFn: func(_, addr string) (net.Listener, error) {
			return listen(p.cfg.Listen, addr, p.cfg.Project.Chosen("log.listen"), "Kafka clients", "--log-listen", p.log)
		},
	}, p.log)
	if err != nil {
		return fmt.Errorf("opening the log: %w", err)
	}
	p.onClose(p.broker.Close)
	p.wire = p.cfg.Wire(p.broker, p.broker.Client())
	if p.admin, err = kafkalog.NewAdmin(p.wire, p.log); err != nil {
		return err
	}
	p.onClose(func() error { p.admin.Close(); return nil })
	client := p.wire
	client.MaxInFlight = s.Limits.InFlight
	if p.door, err = kafkalog.NewProducer(client, p.log); err != nil {
		return err
	}
	p.onClose(func() error { p.door.Close(); return nil })
	return nil
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
