package app

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/pinflow/pinflow/internal/config"
)

// Units are what a process runs.
type Units struct {
	Collect bool // the front door
	Batch   bool // stages, committer, table maintenance
	Live    bool // flushes, compaction
	Serve   bool // API, page, marks and days
}

var allUnits = Units{true, true, true, true}

func (u Units) all() bool { return u == allUnits }

// name is the command that runs the units.
func (u Units) name() string {
	var names []string
	for _, x := range []struct {
		on   bool
		name string
	}{{u.Collect, "collect"}, {u.Batch, "batch"}, {u.Live, "live"}, {u.Serve, "serve"}} {
		if x.on {
			names = append(names, x.name)
		}
	}
	if u.all() {
		return "up"
	}
	return strings.Join(names, "+")
}

// serves says what the HTTP port is for.
func (u Units) serves() string {
	switch {
	case u.Serve:
		return "the page and the API"
	case u.Collect:
		return "events"
	}
	return "probes and metrics"
}

// owner names this process in the ledger. Whoever has the data folder's lock is its one owner, so a
// lease that a killed process left is taken over at once; other processes have names of their own.
func (p *parts) owner() string {
	if p.name == "" {
		host, err := os.Hostname()
		switch {
		case !p.folder.held():
			p.name = fmt.Sprintf("%s:%s:%d:%.8s", p.cfg.Units.name(), host, os.Getpid(), uuid.NewString())
		case err != nil || p.cfg.Project.Settings.Log.Kind == config.Embedded:
			p.name = "up:" + p.cfg.Project.Settings.Data
		default: // other hosts may share the ledger, and have folders of the same name
			p.name = "up:" + host + ":" + p.folder.path
		}
	}
	return p.name
}

// greet says where everything is.
func (p *parts) greet() {
	url := p.url()
	s := p.cfg.Project.Settings
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	var b strings.Builder
	name := "pinflow"
	if !p.cfg.Units.all() {
		name += " " + p.cfg.Units.name()
	}
	fmt.Fprintf(&b, "\n%s %s runs on %s\n\n", name, p.cfg.Version, host)
	if p.cfg.Units.Serve {
		p.noteAddress(url)
		fmt.Fprintf(&b, "  page   %s\n", url)
	}
	switch {
	case p.cfg.Units.Serve || p.cfg.Units.Collect:
		fmt.Fprintf(&b, "  API    %s/openapi.json\n", url)
	default:
		fmt.Fprintf(&b, "  probes %s/readyz and /metrics\n", url)
	}
	if p.broker != nil {
		fmt.Fprintf(&b, "  Kafka  %s\n", p.broker.Addr())
	} else {
		fmt.Fprintf(&b, "  Kafka  %s\n", strings.Join(s.Log.Brokers, ", "))
	}
	fmt.Fprintf(&b, "  data   %s\n", s.Data)
	if p.cfg.Units.Collect {
		stream, body := "pin", `{"category":"travel","title":"hello"}`
		if len(p.cfg.Project.Streams) > 0 && !p.cfg.Project.BuiltIn {
			stream, body = p.cfg.Project.Streams[0].Name, "{}"
		}
		bearer := ""
		if p.access.Required() {
			bearer = ` -H "Authorization: Bearer $KEY"`
		}
		fmt.Fprintf(&b, "\npost an event:\n\n  curl -i %s/v1/streams/%s/events%s -d '%s'\n", url, stream, bearer, body)
	}
	b.WriteString("\nstop with Ctrl-C\n")
	if p.cfg.Demo {
		fmt.Fprintf(&b, "\nthe demonstration is posting pins, geolocations and users; watch them at\n\n  %s/explore/pins?by=category&from=now-15m\n", url)
	}
	if _, err := io.WriteString(p.cfg.Out, b.String()); err != nil {
		p.log.Warn("telling where everything is", "error", err)
	}
}
