package intake

import (
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Catalogue is the ledger's snapshot with its schemas compiled.
type Catalogue struct {
	*ledger.Snapshot
	streams map[string]*Stream
	topics  map[string]ledger.Log // open logs: of Kafka by topic, imported files by ImportTopic
}

// Stream is a stream of the catalogue, ready to use.
type Stream struct {
	Name    string
	Epoch   int64
	Schemas []*event.Schema // by version − 1
	Cuts    []span.Vector
	Views   []ledger.View

	imports map[span.Log]int32 // schema version of imported files
}

// Newest is the schema of the newest version.
func (s *Stream) Newest() *event.Schema { return s.Schemas[len(s.Schemas)-1] }

// SchemaAt returns the schema in force at an offset, and the offset at which the next one is. An imported
// file has the one that was in force when it was registered.
func (s *Stream) SchemaAt(key span.Key, offset int64) (schema *event.Schema, until int64) {
	until = int64(1) << 62
	if v := s.imports[key.Log]; v > 0 {
		return s.Schemas[v-1], until
	}
	for i := len(s.Schemas) - 1; i >= 0; i-- {
		cut := s.Cuts[i][key]
		if cut <= offset || i == 0 {
			return s.Schemas[i], until
		}
		until = cut
	}
	return nil, until
}

// NewCatalogue compiles the snapshot's schemas.
func NewCatalogue(snap *ledger.Snapshot) (*Catalogue, error) {
	c := &Catalogue{Snapshot: snap, streams: map[string]*Stream{}, topics: map[string]ledger.Log{}}
	for _, s := range snap.Streams {
		st := &Stream{Name: s.Name, Epoch: s.Epoch, imports: map[span.Log]int32{}}
		for _, v := range s.Schemas {
			schema, err := event.CompileAfter(v.Definition, v.Version, s.Schemas[0].Definition)
			if err != nil {
				return nil, fmt.Errorf("compiling schema %d of stream %s: %w", v.Version, s.Name, err)
			}
			st.Schemas = append(st.Schemas, schema)
			st.Cuts = append(st.Cuts, v.Cut)
		}
		for _, v := range snap.Views {
			if v.Stream == s.Name {
				st.Views = append(st.Views, v)
			}
		}
		c.streams[s.Name] = st
	}
	for _, l := range snap.Logs {
		if l.Kind == ledger.KindKafka && l.ClosedAt.IsZero() {
			c.topics[l.Topic] = l
		}
		if s := c.streams[l.Stream]; s != nil && l.Kind == ledger.KindImport {
			s.imports[l.ID] = l.Schema
			if l.ClosedAt.IsZero() {
				c.topics[ImportTopic(l.ID)] = l
			}
		}
	}
	return c, nil
}

// Stream returns a stream by name, nil if there is none.
func (c *Catalogue) Stream(name string) *Stream { return c.streams[name] }

// Names lists the streams, sorted.
func (c *Catalogue) Names() []string {
	var names []string
	for n := range c.streams {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ImportTopic is the topic by which a source of an imported file's rows names it. No Kafka topic may have
// a colon in its name.
func ImportTopic(log span.Log) string { return fmt.Sprintf("import:%d", log) }

// Topics lists the topics of the open logs on Kafka that a unit reads, sorted: the live unit reads no
// dead log.
func (c *Catalogue) Topics(unit ledger.Unit) []string {
	var topics []string
	for t, l := range c.topics {
		if l.Kind == ledger.KindKafka && (!l.Dead || unit == ledger.Batch) {
			topics = append(topics, t)
		}
	}
	slices.Sort(topics)
	return topics
}

// shape lists the topics that a unit reads with their partitions.
func (c *Catalogue) shape(unit ledger.Unit) []string {
	topics := c.Topics(unit)
	for i, t := range topics {
		topics[i] = fmt.Sprintf("%s × %d", t, c.topics[t].Partitions)
	}
	return topics
}

// Partition is a partition that the unit holds.
type Partition struct {
	Key    span.Key
	TP     TP
	Stream *Stream
	Dead   bool  // of the stream's dead log
	Owner  int64 // number of the take-over
	Sealed int64 // position in the ledger
	Next   int64 // next offset to read
	Counts ledger.Counts

	window  *span.Window
	dedup   event.Dedup // what the window is for
	horizon int64       // before it ids are unknown to both units
	past    bool        // the window holds no id from before the horizon
	end     int64       // of the log, as last heard
}

// Move is what the next seal says of the partition; false if there is nothing to say.
func (p *Partition) Move() (ledger.Move, bool) {
	return ledger.Move{Key: p.Key, Owner: p.Owner, From: p.Sealed, To: p.Next, Counts: p.Counts}, p.Next > p.Sealed
}

// Settle books that the ledger holds the partition's move.
func (p *Partition) Settle() {
	p.Sealed, p.Counts = p.Next, ledger.Counts{}
	p.window.Keep()
}

// rewound tells whether the dedup window could go back to a position without the log.
func (p *Partition) rewound(at int64) bool {
	return p.window != nil && p.past && at >= p.horizon && at <= p.Next && p.dedup == p.Stream.Newest().Stream.Dedup && p.window.Rewind(at)
}

// forget begins the dedup window anew.
func (p *Partition) forget() {
	p.dedup = p.Stream.Newest().Stream.Dedup
	p.window = span.NewWindow(p.dedup.Records, p.dedup.Within)
	p.past = true
}

// slice books gaps and duplicates of a fetch.
func (p *Partition) slice(f Fetch) *Slice {
	s := &Slice{P: p, From: f.From, To: f.To, Records: f.Records, Duplicate: make([]bool, len(f.Records))}
	for i := range f.Records {
		r := &f.Records[i]
		r.Key = p.Key
		if !p.past && r.Offset >= p.horizon {
			// The other unit may be beyond it already, and knows nothing from before.
			p.forget()
		}
		if r.ID != "" && p.window.Seen(span.IDOf(r.DedupKey()), r.Offset, r.Received) {
			s.Duplicate[i] = true
			p.Counts.Duplicates++
		}
	}
	p.Counts.Gaps += f.To - f.From - int64(len(f.Records))
	p.Next = f.To
	return s
}
