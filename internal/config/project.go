package config

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/metric"
)

// Project is everything that the files say, checked.
type Project struct {
	Root       string // folder of the files; the working folder for the built-in project
	BuiltIn    bool   // no pinflow.yaml: the project that `pinflow init` writes
	Settings   Settings
	Values     []Value // the settings with their origins
	Streams    []Stream
	Views      []View
	Dashboards []Dashboard
	Files      []string // read, as the user names them

	texts map[string]string // by name in the project
	vars  map[string]string
	docs  map[string]*document
}

// Texts are the files that declare streams, views and dashboards, by their names in the project.
func (p *Project) Texts() map[string]string {
	out := map[string]string{}
	for name, text := range p.texts {
		if k := fileKindOf(name); k != "" && k != SettingsFile {
			out[name] = text
		}
	}
	return out
}

// Vars are the variables of the environment that those files are made of, by name.
func (p *Project) Vars() map[string]string { return p.vars }

// Line is the line of a file on which the value of a path stands, like measures[2].expr; of the nearest
// thing around it if it is not there. 0: no such file.
func (p *Project) Line(file, path string) int {
	d := p.docs[file]
	if d == nil {
		return 0
	}
	return d.find(path).line
}

// Stream is a stream with the file that declares it.
type Stream struct {
	event.Stream
	File string
}

// View is a metrics view with the file that declares it.
type View struct {
	metric.View
	File      string
	TestLines []int // where its tests begin
}

// Dashboard is dashboards/NAME.yaml.
type Dashboard struct {
	Name        string    `json:"name"`
	DisplayName string    `json:"display_name,omitempty"`
	Description string    `json:"description,omitempty"`
	Defaults    Defaults  `json:"defaults,omitzero"`
	Rows        []DashRow `json:"rows"`
	File        string    `json:"-"`
}

// Defaults say where a visit of a dashboard begins.
type Defaults struct {
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	Grain string `json:"grain,omitempty"`
}

// DashRow is one row of panels.
type DashRow struct {
	Panels []Panel `json:"panels"`
}

// Panel draws one measure.
type Panel struct {
	Measure string `json:"measure"` // VIEW.MEASURE
	Title   string `json:"title,omitempty"`
	By      string `json:"by,omitempty"`
	Chart   string `json:"chart,omitempty"`
	Top     int    `json:"top,omitempty"`
	Compare string `json:"compare,omitempty"`
	Grain   string `json:"grain,omitempty"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
}

// EventStreams are the streams as the units take them.
func (p *Project) EventStreams() []event.Stream {
	out := make([]event.Stream, len(p.Streams))
	for i := range p.Streams {
		out[i] = p.Streams[i].Stream
	}
	return out
}

// MetricViews are the views as the kernel compiles them.
func (p *Project) MetricViews() []metric.View {
	out := make([]metric.View, len(p.Views))
	for i := range p.Views {
		out[i] = p.Views[i].View
	}
	return out
}

// Origin says where a setting came from: "flag --listen", "env PINFLOW_LISTEN", "pinflow.yaml:3",
// "built-in" or "default".
func (p *Project) Origin(key string) string {
	for _, v := range p.Values {
		if v.Key == key {
			return v.Origin
		}
	}
	return originDefault
}

// Chosen tells whether somebody chose the setting's value. A port that nobody chose may be replaced.
func (p *Project) Chosen(key string) bool {
	o := p.Origin(key)
	return o != originDefault && o != originBuiltIn
}

// AddressFile is the file of the data folder in which a running `up` says where it is.
const AddressFile = "up.url"

// maxAddress bounds what is read of it.
const maxAddress = 1 << 10

// ServerURL is where the project's server is: what a running `up` says, else the address it is to have.
func (p *Project) ServerURL() string {
	if f, err := os.Open(filepath.Join(p.Settings.Data, AddressFile)); err == nil {
		defer f.Close()
		if text, err := io.ReadAll(io.LimitReader(f, maxAddress)); err == nil {
			if s := strings.TrimSpace(string(text)); strings.HasPrefix(s, "http") {
				return s
			}
		}
	}
	return p.Settings.URL(p.Settings.Listen)
}

// URL is how this host reaches what listens on the address.
func (s *Settings) URL(addr string) string {
	scheme := "http://"
	if s.TLS.CertFile != "" {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip != nil && ip.IsUnspecified()) {
		return scheme + net.JoinHostPort("127.0.0.1", port)
	}
	return scheme + addr
}

// fileKindOf is the kind of a file by its path in the project, "" for no file of ours.
func fileKindOf(name string) string {
	if name == SettingsFile+".yaml" {
		return SettingsFile
	}
	dir, base := path.Split(name)
	if !isYAML(base) {
		return ""
	}
	switch k := strings.TrimSuffix(dir, "/"); k {
	case StreamFile, ViewFile, DashFile:
		return k
	}
	return ""
}

func isYAML(base string) bool {
	return (strings.HasSuffix(base, ".yaml") || strings.HasSuffix(base, ".yml")) && !strings.HasPrefix(base, ".")
}

// decode makes a typed value of a checked one. The tables and the types have the same keys, which a
// test holds; so what is left out by the check is all that can be missing.
func decode(checked map[string]any, into any) error {
	text, err := json.Marshal(checked)
	if err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.UseNumber()
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return fmt.Errorf("decoding: %w", err)
	}
	return nil
}

// maxSecret bounds a file that holds one secret.
const maxSecret = 64 << 10

// ReadSecret reads a file that holds one secret; line ends at its end are not part of it.
func ReadSecret(name string) (string, error) {
	s, err := readSecret(name)
	if err != nil {
		return "", fault.New(fault.Config, "bad_secret_file", "%w", err)
	}
	return s, nil
}

func readSecret(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSecret))
	if err != nil {
		return "", fmt.Errorf("reading a secret: %w", err)
	}
	s := strings.TrimRight(string(text), "\r\n")
	if s == "" {
		return "", fmt.Errorf("reading a secret: %s is empty", name)
	}
	return s, nil
}
