package config

import (
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/metric"
)

// compile asks the kernel what is wrong with a view. Its paths are those of the file; an offset
// counts bytes of the text that stands there.
func (l *loader) compile(v *View, schema *event.Schema, d *walker) {
	_, problems := metric.Compile(v.View, schema)
	for _, p := range problems {
		if d.reported(p.Path) || d.incomplete(p.Path) {
			continue
		}
		severity := SeverityError
		if p.Warning {
			severity = SeverityWarning
		}
		message, allowed := advise(withSubject(p.Path, p.Message), p.Suggestion)
		d.note(severity, p.Path, d.within(p.Path, p.Offset, p.Length), message, allowed)
	}
}

// incomplete tells whether what lies at the path lacks something that is reported already: what the
// kernel says of the rest would be about what is not there.
func (d *document) incomplete(path string) bool {
	if path == "" {
		return len(d.problems) > 0
	}
	for _, p := range d.problems {
		if strings.HasPrefix(p.path, path+".") || strings.HasPrefix(p.path, path+"[") {
			return true
		}
	}
	return false
}

// advise puts the kernel's advice where a reader looks for it: a near word into the message, the
// allowed ones under the line.
func advise(message, suggestion string) (string, string) {
	suggestion, allowed, _ := strings.Cut(suggestion, "allowed: ")
	if suggestion = strings.TrimSpace(suggestion); suggestion != "" {
		message += ": " + suggestion
	}
	return message, allowed
}
