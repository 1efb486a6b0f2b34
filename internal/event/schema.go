package event

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/pinflow/pinflow/internal/column"
)

// Names of the system columns, which come after the declared fields in this order.
const (
	ColumnEventID    = "_event_id"    // string; NULL when the record has none
	ColumnEventTime  = "_event_time"  // timestamptz
	ColumnReceivedAt = "_received_at" // timestamptz
	ColumnLog        = "_log"         // long
	ColumnPartition  = "_partition"   // long
	ColumnOffset     = "_offset"      // long
	ColumnSchema     = "_schema"      // long: the schema version that judged the record
	ColumnExtra      = "_extra"       // json object of what the other columns do not give back, or NULL

	SystemColumns = 8
)

// positions of the system columns after the declared fields
const (
	sysEventID = iota
	sysEventTime
	sysReceivedAt
	sysLog
	sysPartition
	sysOffset
	sysSchema
	sysExtra
)

// Column is a column of a stream's rows.
type Column struct {
	Name string
	Kind column.Kind
}

// Schema is one version of a stream, ready to judge and decode. It is immutable and safe for concurrent use.
type Schema struct {
	Stream  Stream
	Version int32

	columns   []Column
	index     map[string]int
	fields    []field
	members   []member
	memberIDs map[string]int32

	key, eventID, eventTime route
	timeField               int32 // the timestamptz field that reads the event time's member, or -1
	timeMember              int32 // the member given back from _event_time, or -1

	restorers sync.Pool // *restorer
}

// route leads to a value of the event: a member, and names of members inside it.
type route struct {
	member int32 // -1: no such value
	path   []string
}

// member is a member of the event that something reads.
type member struct {
	name   string
	key    string // name as JSON
	quoted string // key, or "" when producers may write it with other escapes
	owner  int32  // the first field that reads the member itself gives it back; -1: always kept in _extra
	later  bool   // the owner is not of the stream's first version: kept in _extra all the same
}

// field is a declared field, ready for use.
type field struct {
	Field
	kind   column.Kind
	route  route
	shift  int64 // of a unix layout
	unix   bool
	human  bool
	soft   bool // on_error: null
	plain  bool // a string without cleaning
	prefix []byte
	sep    []byte
}

// Rows is a batch of rows as columns, parallel to Schema.Columns(). A column that was not asked for has
// kind Invalid.
type Rows struct {
	Schema *Schema
	N      int
	Cols   []column.Vec
}

// Compile makes a schema of a definition that Check accepts. Fields of an older version must come first,
// in its order (Follow sees to it): the first field that reads a member is the one that gives it back.
func Compile(s Stream, version int32) (*Schema, error) {
	s.Fields = slices.Clone(s.Fields)
	s.SetDefaults()
	if problems := s.Check(); len(problems) > 0 {
		p := problems[0]
		return nil, fmt.Errorf("compiling stream %q: %s: %s", s.Name, p.Path, p.Message)
	}
	c := &Schema{
		Stream: s, Version: version, index: map[string]int{}, memberIDs: map[string]int32{},
		timeField: -1, timeMember: -1,
	}
	for i, f := range s.Fields {
		c.addField(int32(i), f)
	}
	system := [SystemColumns]Column{
		{ColumnEventID, column.String},
		{ColumnEventTime, column.Timestamptz},
		{ColumnReceivedAt, column.Timestamptz},
		{ColumnLog, column.Long},
		{ColumnPartition, column.Long},
		{ColumnOffset, column.Long},
		{ColumnSchema, column.Long},
		{ColumnExtra, column.JSON},
	}
	c.columns = append(c.columns, system[:]...)
	for i, col := range c.columns {
		c.index[col.Name] = i
	}
	c.key, c.eventID, c.eventTime = c.route(s.Key), c.route(s.EventID), c.route(s.EventTime)
	c.timeRoles()
	return c, nil
}

// CompileAfter compiles a version that grew from a first one. Members that only fields declared since
// read stay in _extra, where expressions written before the fields may read them.
func CompileAfter(s Stream, version int32, first Stream) (*Schema, error) {
	c, err := Compile(s, version)
	if err != nil {
		return nil, err
	}
	for i := range c.members {
		m := &c.members[i]
		m.later = m.owner >= 0 && !slices.ContainsFunc(first.Fields, func(f Field) bool {
			return f.Name == c.fields[m.owner].Name
		})
	}
	return c, nil
}

func (s *Schema) addField(i int32, f Field) {
	from := f.From
	if from == "" {
		from = f.Name
	}
	c := field{Field: f, kind: column.KindOf(f.Type), route: s.route(from), prefix: []byte(f.StripPrefix), sep: []byte(f.Split)}
	c.human = f.Parse == parseHumanNumber
	c.soft = f.OnError == onErrorNull
	c.shift, c.unix = unixShift(f.Layout)
	c.plain = c.kind == column.String && !f.Trim && !f.Lower && f.StripPrefix == "" && len(f.NullIf) == 0
	if m := &s.members[c.route.member]; m.owner < 0 && len(c.route.path) == 0 {
		m.owner = i
	}
	s.fields = append(s.fields, c)
	s.columns = append(s.columns, Column{f.Name, c.kind})
}

// route registers the member that a path begins with. An empty path leads nowhere.
func (s *Schema) route(path string) route {
	if path == "" {
		return route{member: -1}
	}
	names := strings.Split(path, ".")
	id, ok := s.memberIDs[names[0]]
	if !ok {
		id = int32(len(s.members))
		m := member{name: names[0], owner: -1}
		m.key = string(appendQuoted(nil, []byte(m.name)))
		if len(m.key) == len(m.name)+2 {
			m.quoted = m.key
		}
		s.members = append(s.members, m)
		s.memberIDs[names[0]] = id
	}
	return route{member: id, path: names[1:]}
}

// timeRoles finds the field that reads the event time, whose cleaning then holds for it, or else whether
// _event_time gives the member back.
func (s *Schema) timeRoles() {
	if s.eventTime.member < 0 {
		return
	}
	for i := range s.fields {
		f := &s.fields[i]
		if f.kind == column.Timestamptz && f.route.member == s.eventTime.member && slices.Equal(f.route.path, s.eventTime.path) {
			s.timeField = int32(i)
			break
		}
	}
	if m := s.members[s.eventTime.member]; m.owner < 0 && len(s.eventTime.path) == 0 {
		s.timeMember = s.eventTime.member
	}
}

// Columns lists the columns: the declared fields in order, then the system columns.
func (s *Schema) Columns() []Column { return s.columns }

// Index returns the position of a column, or -1.
func (s *Schema) Index(name string) int {
	if i, ok := s.index[name]; ok {
		return i
	}
	return -1
}
