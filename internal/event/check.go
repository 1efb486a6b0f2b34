package event

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/column"
)

// Defaults of a stream.
const (
	DefaultPartitions = 2
	DefaultMaxAge     = 3650 * 24 * time.Hour
	DefaultMaxAhead   = 10 * time.Minute
	DefaultGrace      = 10 * time.Minute
	DefaultDedup      = 50_000
	DefaultWithin     = time.Hour
	DefaultEventID    = "event_id"
	DefaultEventTime  = "event_time"
)

const (
	parseHumanNumber  = "human_number"
	onErrorNull       = "null"
	onErrorDeadLetter = "dead_letter"

	maxPartitions = 1024
	maxDedup      = 1_000_000
	maxFields     = 1000
)

var (
	streamName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,62}$`)
	topicName  = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,200}$`)
	fieldName  = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9_]{0,127}$`)
	fieldTypes = []string{"string", "long", "double", "boolean", "timestamptz", "date", "list<string>", "json"}
)

// Problem is a fault of a definition. Path leads to it: fields[3].type.
type Problem struct{ Path, Message, Suggestion string }

// SetDefaults fills in what the file left out.
func (s *Stream) SetDefaults() {
	setDefault(&s.Topic, s.Name)
	setDefault(&s.Partitions, DefaultPartitions)
	setDefault(&s.EventID, DefaultEventID)
	setDefault(&s.EventTime, DefaultEventTime)
	setDefault(&s.MaxAge, DefaultMaxAge)
	setDefault(&s.MaxAhead, DefaultMaxAhead)
	setDefault(&s.Grace, DefaultGrace)
	setDefault(&s.Dedup.Records, DefaultDedup)
	setDefault(&s.Dedup.Within, DefaultWithin)
}

func setDefault[T comparable](at *T, value T) {
	var zero T
	if *at == zero {
		*at = value
	}
}

type checker struct{ problems []Problem }

func (c *checker) add(path, suggestion, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...), Suggestion: suggestion})
}

func (c *checker) check(ok bool, path, format string, args ...any) {
	if !ok {
		c.add(path, "", format, args...)
	}
}

// Check returns every fault of the definition, defaults filled in.
func (s *Stream) Check() []Problem {
	var c checker
	c.check(streamName.MatchString(s.Name), "name", "a stream's name is small letters, digits and _, beginning with a letter: %q", s.Name)
	c.check(s.Name != "dead_letters" && s.Name != "logs", "name", "%q is the name of a table of the lake", s.Name)
	c.check(topicName.MatchString(s.Topic) && s.Topic != "." && s.Topic != "..", "topic", "not a Kafka topic's name: %q", s.Topic)
	c.check(!strings.HasSuffix(s.Topic, ".dead"), "topic", "topics that end in .dead hold dead letters")
	c.check(s.Partitions >= 1 && s.Partitions <= maxPartitions, "partitions", "must be 1 to %d", maxPartitions)
	c.check(s.MaxAge > 0, "max_age", "must be above 0")
	c.check(s.MaxAhead > 0, "max_ahead", "must be above 0")
	c.check(s.Grace > 0, "grace", "must be above 0")
	c.check(s.Dedup.Records > 0 && s.Dedup.Records <= maxDedup, "dedup.records", "must be 1 to %d", maxDedup)
	c.check(s.Dedup.Within > 0, "dedup.within", "must be above 0")
	c.check(len(s.Fields) <= maxFields, "fields", "at most %d fields", maxFields)
	c.path("key", s.Key, true)
	c.path("event_id", s.EventID, false)
	c.path("event_time", s.EventTime, false)
	names := map[string]string{}
	for i := range s.Fields {
		f, at := &s.Fields[i], fmt.Sprintf("fields[%d]", i)
		c.field(at, f)
		lower := strings.ToLower(f.Name) // table engines do not tell case apart
		if first, ok := names[lower]; ok {
			c.add(at+".name", "", "field %q is already declared as %q", f.Name, first)
		}
		names[lower] = f.Name
	}
	return c.problems
}

func (c *checker) path(at, path string, optional bool) {
	if path == "" && optional {
		return
	}
	c.check(path != "" && !slices.Contains(strings.Split(path, "."), ""), at, "must name a member, or a path of members joined by dots")
}

func (c *checker) field(at string, f *Field) {
	if !fieldName.MatchString(f.Name) {
		c.add(at+".name", "", "a field's name is letters, digits and _, beginning with a letter: %q", f.Name)
	}
	c.path(at+".from", f.From, true)
	kind := column.KindOf(f.Type)
	if !slices.Contains(fieldTypes, f.Type) {
		c.add(at+".type", nearest(f.Type, fieldTypes), "unknown type %q: allowed are %s", f.Type, strings.Join(fieldTypes, ", "))
		return
	}
	number := kind == column.Long || kind == column.Double
	moment := kind == column.Timestamptz || kind == column.Date
	if f.Parse != "" && f.Parse != parseHumanNumber {
		c.add(at+".parse", parseHumanNumber, "unknown parse %q: allowed is %s", f.Parse, parseHumanNumber)
	}
	c.check(f.Parse == "" || number, at+".parse", "%s makes a long or double, not a %s", parseHumanNumber, f.Type)
	c.check(f.Split == "" || kind == column.List, at+".split", "makes a list<string>, not a %s", f.Type)
	c.check(f.Layout == "" || moment, at+".layout", "is for timestamptz and date, not %s", f.Type)
	c.check(kind != column.JSON || !f.cleans(), at, "a json field keeps the value as sent and takes no cleaning")
	if f.OnError != "" && f.OnError != onErrorNull && f.OnError != onErrorDeadLetter {
		c.add(at+".on_error", nearest(f.OnError, []string{onErrorDeadLetter, onErrorNull}),
			"unknown on_error %q: allowed are %s, %s", f.OnError, onErrorDeadLetter, onErrorNull)
	}
	if f.Layout != "" && moment {
		c.layout(at+".layout", f.Layout, kind)
	}
}

func (f *Field) cleans() bool {
	return len(f.NullIf) > 0 || f.StripPrefix != "" || f.Trim || f.Lower || f.Split != "" || f.Parse != ""
}

// layout asks that a time written by the layout reads back as the same second, or day.
func (c *checker) layout(at, layout string, kind column.Kind) {
	if _, ok := unixShift(layout); ok {
		c.check(kind == column.Timestamptz, at, "%s is for timestamptz", layout)
		return
	}
	if strings.Contains(layout, "MST") {
		c.add(at, strings.ReplaceAll(layout, "MST", "-0700"), "names of time zones are ambiguous")
		return
	}
	want := time.Date(2021, 11, 23, 0, 0, 0, 0, time.UTC)
	got, err := time.ParseInLocation(layout, want.Format(layout), time.UTC)
	c.check(err == nil && got.Equal(want), at, "must be a Go layout with year, month and day (%s), or unix, unix_ms, unix_us: %q", layoutPlain, layout)
}

// nearest returns the allowed word that the word begins, else the one with the smallest edit distance, ""
// when none is near.
func nearest(word string, allowed []string) string {
	for _, a := range allowed {
		if len(word) > 2 && strings.HasPrefix(a, word) {
			return a
		}
	}
	best, at := "", len(word)/2+2
	for _, a := range allowed {
		if d := distance(word, a); d < at {
			best, at = a, d
		}
	}
	return best
}

func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := last
			if a[i] != b[j] {
				cost++
			}
			last = row[j+1]
			row[j+1] = min(cost, row[j]+1, last+1)
		}
	}
	return row[len(b)]
}

// Follow returns s as the version after old: old's fields first, in old's order, then the new ones. It
// returns a problem for everything a new version may not change. Paths count s's own fields.
func (s Stream) Follow(old Stream) (Stream, []Problem) {
	var c checker
	c.check(s.Name == old.Name, "name", "a stream keeps its name")
	c.check(s.Topic == old.Topic, "topic", "a stream keeps its topic %q", old.Topic)
	c.check(s.Partitions >= old.Partitions, "partitions", "a stream never gets fewer partitions than its %d", old.Partitions)
	c.check(s.Key == old.Key, "key", "a stream keeps its key %q", old.Key)
	c.check(s.EventID == old.EventID, "event_id", "a stream keeps its event_id %q", old.EventID)
	c.check(s.EventTime == old.EventTime, "event_time", "a stream keeps its event_time %q", old.EventTime)
	fields := make([]Field, 0, len(s.Fields))
	for _, was := range old.Fields {
		i := slices.IndexFunc(s.Fields, func(f Field) bool { return f.Name == was.Name })
		switch {
		case i < 0:
			c.add("fields", "", "field %q was declared and cannot be removed", was.Name)
		case !sameField(s.Fields[i], was):
			c.add(fmt.Sprintf("fields[%d]", i), fmt.Sprintf("{name: %s_2, from: %s}", was.Name, was.source()),
				"field %q never changes its type or cleaning: declare a new field that reads the same member", was.Name)
		}
		fields = append(fields, was)
	}
	for _, f := range s.Fields {
		if !slices.ContainsFunc(old.Fields, func(o Field) bool { return o.Name == f.Name }) {
			fields = append(fields, f)
		}
	}
	s.Fields = fields
	return s, c.problems
}

func (f *Field) source() string {
	if f.From != "" {
		return f.From
	}
	return f.Name
}

func sameField(a, b Field) bool {
	for _, f := range []*Field{&a, &b} {
		f.From = f.source()
		if f.OnError == "" {
			f.OnError = onErrorDeadLetter
		}
		if len(f.NullIf) == 0 {
			f.NullIf = nil
		}
	}
	return reflect.DeepEqual(a, b)
}
