package config

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/human"
)

// cross checks what no file can know alone, and what the kernel knows of streams and views.
func (l *loader) cross(p *Project) {
	l.streams(p)
	schemas := l.schemas(p)
	l.views(p, schemas)
	l.dashboards(p)
	l.addresses(p)
	l.limits(p)
	l.spark(p)
}

// setting puts a problem where a setting came from: its place in pinflow.yaml, a flag, a variable.
func (l *loader) setting(p *Project, key, message, allowed string) {
	origin := p.Origin(key)
	if s := l.of(SettingsFile); rank(origin) == 2 && len(s) > 0 && s[0].doc.root != nil {
		s[0].doc.add(key, s[0].doc.find(key), message, allowed)
		return
	}
	if rank(origin) < 3 {
		origin = SettingsFile + ".yaml"
	}
	l.problem(origin, message, allowed)
}

// doc is the document of a file by its name.
func (l *loader) doc(name string) *walker {
	for _, s := range l.docs {
		if s.doc.name == name {
			return s.doc
		}
	}
	return nil
}

// streams checks each stream as the kernel sees it, and that no two share a name or topic.
func (l *loader) streams(p *Project) {
	if len(l.of(StreamFile)) == 0 {
		l.problem(StreamFile, "the project has no stream: write one to "+StreamFile+"/NAME.yaml, or copy those that `pinflow init DIR` writes to a new folder", "")
	}
	names, topics := map[string]string{}, map[string]string{}
	for i := range p.Streams {
		s := &p.Streams[i]
		d := l.doc(s.File)
		for _, f := range s.Check() {
			if f.Path == "topic" && s.Topic == "" {
				continue // the name it follows is wrong, which is said already
			}
			message := withSubject(f.Path, f.Message)
			if f.Suggestion != "" {
				message += fmt.Sprintf(`: did you mean "%s"?`, f.Suggestion)
			}
			if !d.reported(f.Path) {
				d.add(f.Path, d.find(f.Path), message, "")
			}
		}
		if first, twice := names[s.Name]; twice && s.Name != "" {
			d.add("name", d.find("name"), fmt.Sprintf("stream %q is already declared in %s", s.Name, first), "")
			continue
		}
		names[s.Name] = s.File
		if first, twice := topics[s.Topic]; twice && s.Topic != "" {
			d.add("topic", d.find("topic"), fmt.Sprintf("topic %q is already that of the stream in %s", s.Topic, first), "")
		}
		topics[s.Topic] = s.File
	}
}

// withSubject puts the key before a message that leaves it to the place: "must be 1 to 1024".
func withSubject(path, message string) string {
	for _, verb := range []string{"must ", "makes ", "is for "} {
		if strings.HasPrefix(message, verb) {
			return subject(path) + " " + message
		}
	}
	return message
}

// reported tells whether something is already said of the path, or of what it lies in.
func (d *document) reported(path string) bool {
	return slices.ContainsFunc(d.problems, func(p Problem) bool {
		return p.path != "" && (p.path == path || strings.HasPrefix(path, p.path+".") || strings.HasPrefix(path, p.path+"["))
	})
}

// schemas compiles the streams that are right.
func (l *loader) schemas(p *Project) map[string]*event.Schema {
	out := map[string]*event.Schema{}
	for i := range p.Streams {
		s := &p.Streams[i]
		if Errors(l.doc(s.File).problems) > 0 {
			continue
		}
		if schema, err := event.Compile(s.Stream, 1); err == nil {
			out[s.Name] = schema
		}
	}
	return out
}

func (l *loader) views(p *Project, schemas map[string]*event.Schema) {
	var streams []string
	for i := range p.Streams {
		streams = append(streams, p.Streams[i].Name)
	}
	names := map[string]string{}
	for i := range p.Views {
		v := &p.Views[i]
		d := l.doc(v.File)
		if first, twice := names[v.Name]; twice && v.Name != "" {
			d.add("name", d.find("name"), fmt.Sprintf("view %q is already declared in %s", v.Name, first), "")
		}
		names[v.Name] = v.File
		if v.Stream != "" && !slices.Contains(streams, v.Stream) {
			if slices.Contains(streams, "") || l.unread(StreamFile) {
				continue // it may be the one that cannot be read
			}
			d.add("stream", d.find("stream"), fmt.Sprintf("unknown stream %q%s", v.Stream, didYouMean(v.Stream, streams)), strings.Join(streams, ", "))
			continue
		}
		if schema := schemas[v.Stream]; schema != nil {
			l.compile(v, schema, d)
			if p.Settings.Backfill.Engine == EngineSpark {
				l.inSpark(v, schema, d)
			}
		}
	}
}

// dashboards checks that what a panel draws exists.
func (l *loader) dashboards(p *Project) {
	names := map[string]string{}
	for i := range p.Dashboards {
		b := &p.Dashboards[i]
		d := l.doc(b.File)
		if first, twice := names[b.Name]; twice && b.Name != "" {
			d.add("name", d.find("name"), fmt.Sprintf("dashboard %q is already declared in %s", b.Name, first), "")
		}
		names[b.Name] = b.File
		for r, row := range b.Rows {
			for c, panel := range row.Panels {
				if panel.Measure != "" {
					l.panel(p, panel, d, fmt.Sprintf("rows[%d].panels[%d]", r, c))
				}
			}
		}
	}
}

// unread tells whether a file of the kind gave nothing at all.
func (l *loader) unread(fileKind string) bool {
	return slices.ContainsFunc(l.of(fileKind), func(s *source) bool { return s.checked == nil })
}

func (l *loader) panel(p *Project, panel Panel, d *walker, at string) {
	view, measure, _ := strings.Cut(panel.Measure, ".")
	var views, measures, dimensions []string
	var found *View
	for i := range p.Views {
		v := &p.Views[i]
		views = append(views, v.Name)
		if v.Name == view {
			found = v
		}
	}
	if found == nil {
		if slices.Contains(views, "") || l.unread(ViewFile) {
			return // it may be the one that cannot be read
		}
		d.add(at+".measure", d.within(at+".measure", 0, len(view)), fmt.Sprintf("unknown view %q%s", view, didYouMean(view, views)), strings.Join(views, ", "))
		return
	}
	for _, m := range found.Measures {
		measures = append(measures, m.Name)
	}
	for _, m := range found.Dimensions {
		dimensions = append(dimensions, m.Name)
	}
	from := l.doc(found.File)
	if !slices.Contains(measures, measure) && !from.incomplete("measures") && !from.reported("measures") {
		d.add(at+".measure", d.within(at+".measure", len(view)+1, len(measure)),
			fmt.Sprintf("view %q has no measure %q%s", view, measure, didYouMean(measure, measures)), strings.Join(measures, ", "))
	}
	if panel.By != "" && !slices.Contains(dimensions, panel.By) && !from.incomplete("dimensions") && !from.reported("dimensions") {
		d.add(at+".by", d.find(at+".by"),
			fmt.Sprintf("view %q has no dimension %q%s", view, panel.By, didYouMean(panel.By, dimensions)), strings.Join(dimensions, ", "))
	}
}

// maxDrain is how long a process may take to close its front door.
const maxDrain = 10 * time.Minute

// addresses checks who can reach what.
func (l *loader) addresses(p *Project) {
	s := &p.Settings
	if s.Listen != "" && !Loopback(s.Listen) && s.Keys.Required == "never" {
		l.setting(p, "keys.required", fmt.Sprintf("%s can be reached from other hosts and keys.required is never: anybody could write and read", s.Listen), "auto, or an address of this host alone, like 127.0.0.1:8080")
	}
	if s.Admin != "" && !Loopback(s.Admin) {
		l.setting(p, "admin", fmt.Sprintf("%s can be reached from other hosts, and profiles ask nobody who they are", s.Admin), "an address of this host alone, like 127.0.0.1:6060")
	}
	if (s.TLS.CertFile == "") != (s.TLS.KeyFile == "") {
		missing, given := "tls.key_file", "tls.cert_file"
		if s.TLS.CertFile == "" {
			missing, given = given, missing
		}
		l.setting(p, given, fmt.Sprintf("%s needs %s", given, missing), "")
	}
	if s.Drain > maxDrain {
		l.setting(p, "drain", fmt.Sprintf("drain %s is more than %s", calendar.Duration(s.Drain), calendar.Duration(maxDrain)), "")
	}
	if s.Log.Kind == Kafka {
		if len(s.Log.Brokers) == 0 {
			l.setting(p, "log.kind", `log.kind kafka needs log.brokers`, "brokers: [host:9092, …]")
		}
		l.login(p)
		return
	}
	if len(s.Log.Brokers) > 0 {
		l.setting(p, "log.brokers", "log.brokers is for log.kind kafka; the embedded broker is its own", "")
	}
	l.login(p)
	if s.Log.TLS != (TLS{}) {
		l.setting(p, "log.tls.enabled", "log.tls is for log.kind kafka: the embedded broker's port speaks no TLS", "")
	}
	l.kafkaPort(p)
	switch {
	case !sameAddress(s.Listen, s.Log.Listen):
	case p.Chosen("log.listen"):
		l.setting(p, "log.listen", fmt.Sprintf("%s is also the address of the HTTP API", s.Log.Listen), "another port")
	default:
		l.setting(p, "listen", fmt.Sprintf("%s is also the address of the Kafka port (log.listen)", s.Listen), "another port")
	}
}

// login checks that a log-in is whole.
func (l *loader) login(p *Project) {
	sasl, tls := p.Settings.Log.SASL, p.Settings.Log.TLS
	said := len(l.of(SettingsFile)) > 0 && l.of(SettingsFile)[0].doc.reported("log.sasl.mechanism")
	switch {
	case said:
	case sasl.Mechanism == "" && (sasl.Username != "" || sasl.Password != ""):
		l.setting(p, "log.sasl.username", "log.sasl has no mechanism", "mechanism: plain, scram-sha-256 or scram-sha-512")
	case sasl.Mechanism != "" && (sasl.Username == "" || sasl.Password == ""):
		l.setting(p, "log.sasl.mechanism", "log.sasl needs username and password", "username: NAME and password_file: FILE")
	}
	if !tls.Enabled && (tls.CAFile != "" || tls.CertFile != "" || tls.KeyFile != "") {
		l.setting(p, "log.tls.enabled", "log.tls names files, but TLS is not enabled", "enabled: true")
	}
	if (tls.CertFile == "") != (tls.KeyFile == "") {
		l.setting(p, "log.tls.cert_file", "log.tls needs cert_file and key_file together", "")
	}
}

// kafkaPort lets the embedded broker's port be reached from other hosts only with a log-in that sends no
// password over the wire.
func (l *loader) kafkaPort(p *Project) {
	s := &p.Settings.Log
	if s.Listen == "" || Loopback(s.Listen) {
		return
	}
	switch s.SASL.Mechanism {
	case "":
		l.setting(p, "log.listen", fmt.Sprintf("%s can be reached from other hosts and the embedded broker asks nobody who they are", s.Listen), "log.sasl with scram-sha-512, or an address of this host alone, like 127.0.0.1:9092")
	case "plain":
		l.setting(p, "log.sasl.mechanism", fmt.Sprintf("%s can be reached from other hosts, and plain sends the password as it is", s.Listen), "scram-sha-256, scram-sha-512")
	}
	if host, _, err := net.SplitHostPort(s.Listen); s.Advertise == "" && err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			l.setting(p, "log.listen", fmt.Sprintf("%s is every address of this host: clients have to be told one", s.Listen), "log.advertise: HOST:PORT")
		}
	}
}

func sameAddress(a, b string) bool {
	ha, pa, errA := net.SplitHostPort(a)
	hb, pb, errB := net.SplitHostPort(b)
	return errA == nil && errB == nil && pa == pb && pa != "0" && (ha == hb || Loopback(a) && Loopback(b))
}

// recordBytes is what one record takes in the embedded log, for judging whether the dedup windows
// fit: the events of the built-in streams take 0.3 to 0.8 KiB, headers and framing included.
const recordBytes = 1 << 10

// limits checks that the numbers can be kept together.
func (l *loader) limits(p *Project) {
	s := &p.Settings
	if s.Limits.Event > s.Limits.Body {
		l.setting(p, "limits.event", fmt.Sprintf("limits.event %s is above limits.body %s: no request could carry such an event",
			formatSize(s.Limits.Event), formatSize(s.Limits.Body)), "")
	}
	if s.Limits.InFlight < s.Limits.Body {
		l.setting(p, "limits.in_flight", fmt.Sprintf("limits.in_flight %s is below limits.body %s: a full request could never be taken",
			formatSize(s.Limits.InFlight), formatSize(s.Limits.Body)), "")
	}
	if s.Log.Kind == Kafka {
		return
	}
	var need int64
	var parts []string
	for i := range p.Streams {
		st := &p.Streams[i]
		n := int64(st.Partitions) * int64(st.Dedup.Records)
		need += n * recordBytes
		parts = append(parts, fmt.Sprintf("%s %d × %d", st.Name, st.Partitions, st.Dedup.Records))
	}
	if need > s.Log.Cap {
		l.setting(p, "log.cap", fmt.Sprintf(
			"the dedup windows (%s records of about 1 KiB = %s) do not fit log.cap %s: raise log.cap, or lower partitions or dedup.records",
			strings.Join(parts, " + "), human.Bytes(float64(need)), formatSize(s.Log.Cap)), "")
	}
}
