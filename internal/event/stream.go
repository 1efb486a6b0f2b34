package event

import "time"

// Stream is the definition of one kind of event: streams/NAME.yaml, with defaults filled in.
// Its JSON form is what the ledger keeps of a schema version.
type Stream struct {
	Name       string        `json:"name"`
	Topic      string        `json:"topic"`
	Partitions int32         `json:"partitions"`
	Key        string        `json:"key,omitempty"`        // member whose text is the record's key
	EventID    string        `json:"event_id"`             // member that holds the event id
	EventTime  string        `json:"event_time,omitempty"` // member that holds the event time
	MaxAge     time.Duration `json:"max_age"`
	MaxAhead   time.Duration `json:"max_ahead"`
	Grace      time.Duration `json:"grace"`
	Dedup      Dedup         `json:"dedup"`
	Fields     []Field       `json:"fields"`
}

// Dedup bounds the window in which an id seen again is a duplicate.
type Dedup struct {
	Records int           `json:"records"`
	Within  time.Duration `json:"within"`
}

// Field is a declared column and how it is made from the event.
type Field struct {
	Name        string   `json:"name"`
	Type        string   `json:"type"`                   // a column.Kind's name
	From        string   `json:"from,omitempty"`         // member or dotted path; default Name
	NullIf      []string `json:"null_if,omitempty"`      // texts that mean NULL
	Parse       string   `json:"parse,omitempty"`        // human_number
	StripPrefix string   `json:"strip_prefix,omitempty"` // removed from the front of the text
	Split       string   `json:"split,omitempty"`        // separator, for list<string>
	Trim        bool     `json:"trim,omitempty"`
	Lower       bool     `json:"lower,omitempty"`    // ASCII
	Layout      string   `json:"layout,omitempty"`   // Go layout of a timestamptz or date text
	OnError     string   `json:"on_error,omitempty"` // dead_letter (default) | null
}

// DeadTopic is the topic of the stream's dead letters.
func (s *Stream) DeadTopic() string { return s.Topic + ".dead" }
