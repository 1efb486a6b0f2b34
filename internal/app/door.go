package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/access"
	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/emulate"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
)

// openAccess reads the API keys, and refuses to be open to other hosts without one.
func (p *parts) openAccess(ctx context.Context) error {
	s := p.cfg.Project.Settings
	open := !config.Loopback(p.address())
	var err error
	p.access, err = access.New(access.Config{
		Required: s.Keys.Required, Open: open, Session: s.Keys.Session, Refresh: p.cfg.WatchEvery, Streams: streamsOf(p.ledger, nil),
	}, p.log.With("unit", "access"), p.ledger)
	if err != nil {
		return err
	}
	if err := p.access.Refresh(ctx); err != nil {
		return err
	}
	if !open {
		return nil
	}
	keys, err := p.access.List(ctx)
	if err != nil {
		return err
	}
	for i := range keys {
		if !keys[i].Revoked() {
			return nil
		}
	}
	return keysMissing(p.address())
}

// needsLedger refuses to be open to other hosts where there is no ledger yet that could hold a key,
// before anything is made.
func (p *parts) needsLedger() error {
	dsn := p.cfg.Project.Settings.Ledger.DSN
	if config.Loopback(p.address()) || strings.Contains(dsn, "://") {
		return nil
	}
	if _, err := os.Stat(dsn); errors.Is(err, fs.ErrNotExist) {
		return keysMissing(p.address())
	}
	return nil
}

func keysMissing(listen string) error {
	return fault.New(fault.Config, "keys_missing", "listen %s can be reached from other hosts and there is no API key in force", listen).
		WithAdvice("make one with `pinflow keys create --local`, or listen on an address of this host alone, like 127.0.0.1:8080")
}

// doorConfig is how the API presents itself and guards itself.
func (p *parts) doorConfig() (httpapi.Config, error) {
	s := p.cfg.Project.Settings
	cfg := httpapi.Config{Version: p.cfg.Version, Body: s.Limits.Body, InFlight: s.Limits.InFlight, Conns: s.Limits.Connections, Hosts: s.Hosts}
	if host, _, err := net.SplitHostPort(p.address()); err == nil && host != "" {
		cfg.Hosts = append(cfg.Hosts[:len(cfg.Hosts):len(cfg.Hosts)], host)
	}
	if s.TLS.CertFile == "" {
		return cfg, nil
	}
	cert, err := httpapi.NewCertificate(s.TLS.CertFile, s.TLS.KeyFile, p.log.With("unit", "http"))
	if err != nil {
		return cfg, err
	}
	cfg.Certificate = cert
	return cfg, nil
}

// url is how this host reaches the front door.
func (p *parts) url() string { return p.cfg.Project.Settings.URL(p.http.Addr().String()) }

// demo posts the demonstration's events to our own front door until it closes.
func (p *parts) demo(ctx context.Context) error {
	e, err := emulate.New(emulate.Config{
		URL: p.url(), APIKey: p.access.Own(), Client: p.ownClient(), Rate: demoRate, Users: demoUsers,
		Seed: uint64(time.Now().UnixNano()), Shares: emulate.Shares{Late: 0.01, Duplicate: 0.005, Bad: 0.001, Future: 0.001},
		Pace: emulate.Pace{Rhythm: 0.3, Burst: emulate.Burst{Factor: 3, For: 40 * time.Second, Every: 4 * time.Minute}},
	}, p.log.With("unit", "demonstration"))
	if err != nil {
		return err
	}
	if _, err := e.Run(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("posting the demonstration: %w", err)
	}
	<-ctx.Done()
	return nil
}

// The demonstration is a small town: enough to see lines move, little enough to leave the machine alone.
const (
	demoRate  = 60 // events a second
	demoUsers = 500
)

// ownClient asks our own front door. Its certificate is for the name that others know: of ourselves we
// need none.
func (p *parts) ownClient() *http.Client {
	if p.cfg.Project.Settings.TLS.CertFile == "" {
		return nil
	}
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}, //nolint:gosec // this process's own port, on this host
	}}
}

// serve runs the API's server on the listener until ctx ends. Then /readyz says so for a while, so that
// a load balancer sends its clients elsewhere, and requests in progress are let end.
func serve(api *httpapi.API, p *parts) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := api.Server("")
		ended := make(chan error, 1)
		go func() {
			if srv.TLSConfig != nil {
				ended <- srv.ServeTLS(p.http, "", "")
				return
			}
			ended <- srv.Serve(p.http)
		}()
		select {
		case err := <-ended:
			return fmt.Errorf("serving HTTP: %w", err)
		case <-ctx.Done():
		}
		api.Drain()
		seen := time.NewTimer(p.cfg.Project.Settings.Drain)
		defer seen.Stop()
		select {
		case err := <-ended:
			return fmt.Errorf("serving HTTP: %w", err)
		case <-seen.C:
		}
		api.Close()
		budget, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.cfg.StopBudget/2)
		defer cancel()
		err := srv.Shutdown(budget)
		if serveErr := <-ended; !errors.Is(serveErr, http.ErrServerClosed) {
			err = errors.Join(err, serveErr)
		}
		if err != nil {
			return fmt.Errorf("closing the front door: %w", err)
		}
		return nil
	}
}
