package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"syscall"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
)

// listenFunc opens a listener, as net.Listen does.
type listenFunc func(network, addr string) (net.Listener, error)

// tries is how many ports beyond the wanted one are looked at.
const tries = 50

// listen opens addr. If it is taken and nobody chose it, the next free port is used, and said.
// setting names the key that chooses it, flag its flag.
func listen(open listenFunc, addr string, chosen bool, what, flag string, log *slog.Logger) (net.Listener, error) {
	l, err := open("tcp", addr)
	if err == nil {
		return l, nil
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		return nil, fault.New(fault.Config, "cannot_listen", "listening on %s for %s: %w", addr, what, err).
			WithAdvice("choose another address with %s", flag).WithExit(fault.ExitFailed)
	}
	host, portText, splitErr := net.SplitHostPort(addr)
	port, atoiErr := strconv.Atoi(portText)
	if chosen || splitErr != nil || atoiErr != nil {
		return nil, fault.New(fault.Config, "port_taken", "%s, for %s, is taken by another process", addr, what).
			WithAdvice("stop that process, or choose another address with %s", flag).WithExit(fault.ExitConflict)
	}
	for next := port + 1; next <= min(port+tries, 65535); next++ {
		at := net.JoinHostPort(host, strconv.Itoa(next))
		if l, err = open("tcp", at); err == nil {
			log.Warn(fmt.Sprintf("%s is taken: using %s for %s", addr, at, what))
			return l, nil
		}
		if !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return nil, fault.New(fault.Config, "port_taken", "%s and the %d ports after it, for %s, are taken", addr, tries, what).
		WithAdvice("choose another address with %s", flag).WithExit(fault.ExitConflict)
}

// openProfiles opens the address of profiles, if there is to be one.
func (p *parts) openProfiles() (err error) {
	addr := p.cfg.Project.Settings.Admin
	if addr == "" {
		return nil
	}
	// Several processes of a host share the file, and each takes a port.
	if p.pprof, err = listen(p.cfg.Listen, addr, false, "profiles", "admin in pinflow.yaml", p.log); err != nil {
		return err
	}
	p.onClose(func() error { return closed(p.pprof) })
	return nil
}

// profiles is what serves them; empty where there are none.
func (p *parts) profiles() stage {
	if p.pprof == nil {
		return nil
	}
	p.log.Info("profiles are at http://" + p.pprof.Addr().String() + "/debug/pprof/")
	return stage{{"profiles", httpapi.ServeProfiles(p.pprof)}}
}

// closed closes a port that its server may have closed already.
func closed(l net.Listener) error {
	if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("closing the port: %w", err)
	}
	return nil
}
