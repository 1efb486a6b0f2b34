package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
)

// Settings are pinflow.yaml with flags and environment over it and defaults under it.
// Paths are absolute; durations and sizes are read; secrets are what their files hold.
type Settings struct {
	Version  int           `json:"version"`
	Data     string        `json:"data"`
	Listen   string        `json:"listen"`
	Admin    string        `json:"admin"` // of profiles; "": none
	Hosts    []string      `json:"hosts"`
	TLS      ServerTLS     `json:"tls"`
	Keys     Keys          `json:"keys"`
	Log      Log           `json:"log"`
	Lake     Lake          `json:"lake"`
	Ledger   Ledger        `json:"ledger"`
	Limits   Limits        `json:"limits"`
	Drain    time.Duration `json:"drain"`
	Backfill Backfill      `json:"backfill"`
	Rollback time.Duration `json:"rollback"`
}

// ServerTLS is how the API speaks TLS; without files it does not.
type ServerTLS struct {
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
}

// Keys say when API keys are asked for.
type Keys struct {
	Required string        `json:"required"` // auto | always | never
	Session  time.Duration `json:"session"`
}

// Log says where events are kept until both units have them.
type Log struct {
	Kind   string `json:"kind"`   // embedded | kafka
	Listen string `json:"listen"` // Kafka port of the embedded broker
	// Advertise is where clients of the embedded broker are told to connect to; "": Listen.
	Advertise string   `json:"advertise"`
	Cap       int64    `json:"cap"` // bytes
	Brokers   []string `json:"brokers"`
	Group     string   `json:"group"` // consumer groups are GROUP-live and GROUP-batch
	SASL      SASL     `json:"sasl"`
	TLS       TLS      `json:"tls"`

	ReplicationFactor int           `json:"replication_factor"` // of topics that pinflow makes; 0: the cluster's default
	Retention         time.Duration `json:"retention"`          // of topics that pinflow makes; 0: the cluster's default
}

// Kinds of log.
const (
	Embedded = "embedded"
	Kafka    = "kafka"
)

// SASL is the log-in at a Kafka cluster, or what clients of the embedded broker's port have to know.
type SASL struct {
	Mechanism string `json:"mechanism"` // plain | scram-sha-256 | scram-sha-512
	Username  string `json:"username"`
	Password  string `json:"password"`
}

// TLS is how a client speaks TLS.
type TLS struct {
	Enabled  bool   `json:"enabled"`
	CAFile   string `json:"ca_file"`
	CertFile string `json:"cert_file"`
	KeyFile  string `json:"key_file"`
}

// Lake says where the Iceberg tables are.
type Lake struct {
	Warehouse string `json:"warehouse"` // folder or s3://bucket/prefix
	Catalog   string `json:"catalog"`   // SQLite file or postgres:// URL
	S3        S3     `json:"s3"`
}

// S3 is how the warehouse's bucket is reached.
type S3 struct {
	Endpoint  string `json:"endpoint"`
	Region    string `json:"region"`
	PathStyle bool   `json:"path_style"`
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
	CAFile    string `json:"ca_file"`
}

// Ledger says where the ledger is.
type Ledger struct {
	DSN string `json:"dsn"` // SQLite file or postgres:// URL
}

// Limits bound what a client may send.
type Limits struct {
	Body     int64 `json:"body"`  // bytes
	Event    int64 `json:"event"` // bytes
	Batch    int   `json:"batch"` // events
	InFlight int64 `json:"in_flight"`

	Connections int `json:"connections"` // also requests at the same time
}

// Backfill says how history is filled in.
type Backfill struct {
	Engine  string  `json:"engine"` // kernel | spark
	Spark   Spark   `json:"spark"`
	Workers int     `json:"workers"` // inside up
	Share   float64 `json:"share"`   // of its time that a worker works
}

// Engines of back-fills.
const (
	EngineKernel = "kernel"
	EngineSpark  = "spark"
)

// Spark says how back-fills reach Apache Spark.
type Spark struct {
	Submit   string   `json:"submit"`
	Master   string   `json:"master"`
	Packages []string `json:"packages"`
	Jars     []string `json:"jars"`
	Conf     []string `json:"conf"` // KEY=VALUE
}

// Value is one setting as `config show` prints it: what, and who says so.
type Value struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // secrets masked
	Origin string `json:"origin"` // flag --listen | env PINFLOW_LISTEN | pinflow.yaml:3 | built-in | default
}

// Origins that are nobody's choice.
const (
	originDefault = "default"
	originBuiltIn = "built-in"
)

// Flag is a setting given on the command line.
type Flag struct {
	Key   string // log.listen
	Name  string // --log-listen
	Value string
}

// leaf is one setting that holds a value.
type leaf struct {
	key
	full string // log.listen
}

// env is the name of the variable that sets the leaf.
func (l leaf) env() string { return envName(l.full) }

func envName(key string) string {
	return "PINFLOW_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

func leaves(s *shape, prefix string) []leaf {
	var out []leaf
	for _, k := range s.expand() {
		full := join(prefix, k.name)
		switch {
		case full == "version":
		case k.shape.kind == object:
			out = append(out, leaves(k.shape, full)...)
		default:
			out = append(out, leaf{key: k, full: full})
		}
	}
	return out
}

// resolver puts the settings together: for every leaf, the first of flag, variable, file, default.
type resolver struct {
	l       *loader
	file    map[string]any // what pinflow.yaml holds
	doc     *walker        // nil without a pinflow.yaml
	builtIn bool
	values  map[string]any
	origins map[string]string
}

func (r *resolver) resolve() (Settings, []Value) {
	table := settingsTable()
	all := leaves(table, "")
	for _, l := range all {
		r.leaf(l)
	}
	for _, l := range all {
		if l.byFile {
			r.fromFile(l)
		}
	}
	r.derive()
	var s Settings
	tree := map[string]any{}
	for full, v := range r.values {
		put(tree, strings.Split(full, "."), v)
	}
	text, err := json.Marshal(tree)
	if err == nil {
		err = json.Unmarshal(text, &s)
	}
	if err != nil {
		r.l.problem(SettingsFile+".yaml", fmt.Sprintf("reading the settings: %v", err), "")
	}
	return s, r.show(all)
}

func put(tree map[string]any, path []string, v any) {
	for ; len(path) > 1; path = path[1:] {
		sub, ok := tree[path[0]].(map[string]any)
		if !ok {
			sub = map[string]any{}
			tree[path[0]] = sub
		}
		tree = sub
	}
	tree[path[0]] = v
}

func get(tree map[string]any, full string) (any, bool) {
	var v any = tree
	for _, name := range strings.Split(full, ".") {
		m, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = m[name]; !ok {
			return nil, false
		}
	}
	return v, true
}

// leaf finds the value of one setting and where it came from.
func (r *resolver) leaf(l leaf) {
	for _, f := range r.l.opts.Flags {
		if f.Key == l.full {
			r.given(l, f.Value, "flag "+f.Name, r.l.dir)
			return
		}
	}
	if v, ok := r.l.env[l.env()]; ok && v != "" {
		r.given(l, v, "env "+l.env(), r.l.dir)
		return
	}
	if v, ok := get(r.file, l.full); ok {
		r.values[l.full], r.origins[l.full] = r.absolute(l, v, r.l.root), originBuiltIn
		if !r.builtIn {
			r.origins[l.full] = fmt.Sprintf("%s:%d", r.doc.name, r.doc.find(l.full).line)
		}
		if l.secret && !r.doc.literal[l.full] {
			r.doc.secrets = append(r.doc.secrets, fmt.Sprint(v))
			r.doc.add(l.full, r.doc.find(l.full), fmt.Sprintf("a secret does not belong in the file: use %s_file or ${VAR}", l.name), "")
		}
		return
	}
	if l.def != "" {
		r.given(l, l.def, originDefault, r.l.root)
	}
}

// given reads the text of a flag, a variable or a default.
func (r *resolver) given(l leaf, raw, origin, base string) {
	v, message := any(nil), ""
	if l.shape.kind == list {
		var items []any
		for _, part := range strings.Split(raw, ",") {
			var item any
			if item, message = readScalar(strings.TrimSpace(part), text, l.shape.of, strconv.Quote(l.full)); message != "" {
				break
			}
			items = append(items, item)
		}
		v = items
	} else {
		v, message = readScalar(raw, text, l.shape, strconv.Quote(l.full))
	}
	if message != "" {
		if l.secret {
			message = fmt.Sprintf("%q cannot be read", l.full)
		}
		r.l.problem(origin, message, allowed(l.shape))
		if l.def != "" && origin != originDefault {
			r.given(l, l.def, originDefault, r.l.root) // so that one mistake is reported once
		}
		return
	}
	r.values[l.full], r.origins[l.full] = r.absolute(l, v, base), origin
}

// absolute makes paths absolute; URLs stay.
func (r *resolver) absolute(l leaf, v any, base string) any {
	p, ok := v.(string)
	if !ok || !l.path || p == "" || filepath.IsAbs(p) || isURL(p) {
		return v
	}
	return filepath.Join(base, p)
}

var dsnRE = regexp.MustCompile(`(^|\s)(host|dbname|user|service)=`)

func isURL(s string) bool { return strings.Contains(s, "://") || dsnRE.MatchString(s) }

// fromFile takes NAME from the file that NAME_file names, if nothing of higher rank gives NAME.
func (r *resolver) fromFile(l leaf) {
	path, ok := r.values[l.full+"_file"].(string)
	if !ok || path == "" {
		return
	}
	origin := r.origins[l.full+"_file"]
	if o, has := r.origins[l.full]; has && rank(o) >= rank(origin) {
		if rank(o) == rank(origin) {
			r.report(l.full+"_file", origin, fmt.Sprintf("%q and %q are both given: keep one", l.full, l.full+"_file"))
		}
		return
	}
	secret, err := readSecret(path)
	if err != nil {
		r.report(l.full+"_file", origin, err.Error())
		return
	}
	r.values[l.full], r.origins[l.full] = secret, origin
}

func rank(origin string) int {
	switch {
	case strings.HasPrefix(origin, "flag "):
		return 4
	case strings.HasPrefix(origin, "env "):
		return 3
	case origin == originDefault:
		return 1
	}
	return 2
}

// report puts a problem where the setting came from.
func (r *resolver) report(full, origin, message string) {
	if rank(origin) == 2 && r.doc != nil {
		r.doc.add(full, r.doc.find(full), message, "")
		return
	}
	r.l.problem(origin, message, "")
}

// derive fills in what follows from the data folder.
func (r *resolver) derive() {
	data, _ := r.values["data"].(string)
	for full, name := range map[string]string{
		"lake.warehouse": "lake/warehouse", "lake.catalog": "lake/catalog.db", "ledger.dsn": "ledger.db",
	} {
		if _, has := r.values[full]; !has {
			r.values[full], r.origins[full] = filepath.Join(data, filepath.FromSlash(name)), originDefault
		}
	}
}

func (r *resolver) show(all []leaf) []Value {
	var out []Value
	for _, l := range all {
		v, has := r.values[l.full]
		if !has {
			continue
		}
		out = append(out, Value{Key: l.full, Value: display(l, v), Origin: r.origins[l.full]})
	}
	return out
}

const mask = "********"

var passwordRE = regexp.MustCompile(`(?i)(password=)('[^']*'|\S+)`)

// display is a value for people: no secret, durations and sizes as files have them.
func display(l leaf, v any) string {
	if l.secret {
		return mask
	}
	switch v := v.(type) {
	case json.Number:
		n, err := v.Int64()
		switch {
		case err != nil:
		case l.shape.kind == duration:
			return calendar.Duration(time.Duration(n))
		case l.shape.kind == size:
			return formatSize(n)
		}
		return v.String()
	case []any:
		var parts []string
		for _, x := range v {
			parts = append(parts, fmt.Sprint(x))
		}
		return strings.Join(parts, ",")
	case string:
		if u, err := url.Parse(v); err == nil && u.User != nil {
			if _, has := u.User.Password(); has {
				u.User = url.UserPassword(u.User.Username(), mask)
				v = strings.Replace(u.String(), url.QueryEscape(mask), mask, 1)
			}
		}
		return passwordRE.ReplaceAllString(v, "${1}"+mask)
	}
	return fmt.Sprint(v)
}

// otherVariables are read by the commands, not by the settings.
var otherVariables = []string{
	"PINFLOW_URL", "PINFLOW_API_KEY", "PINFLOW_API_KEY_FILE", "PINFLOW_CONFIG", "PINFLOW_OUTPUT", "PINFLOW_TIME_ZONE",
}

// unknownVariables warns of PINFLOW_* that nothing reads: most likely misspelt.
func (l *loader) unknownVariables() {
	known := slices.Clone(otherVariables)
	for _, x := range leaves(settingsTable(), "") {
		known = append(known, x.env())
	}
	var names []string
	for name := range l.env {
		if strings.HasPrefix(name, "PINFLOW_") && !slices.Contains(known, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		l.problems = append(l.problems, Problem{
			File: "env " + name, Severity: SeverityWarning,
			Message: "nothing reads this variable" + didYouMean(name, known),
		})
	}
}
