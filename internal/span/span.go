package span

import (
	"fmt"
	"strconv"
	"strings"
)

// Log is the ledger's number of one incarnation of a topic, or of one imported file.
type Log int64

// Key names one partition of one log for ever, unlike (topic, partition).
type Key struct {
	Log       Log
	Partition int32
}

func (k Key) String() string { return fmt.Sprintf("%d/%d", k.Log, k.Partition) }

// MarshalText writes "log/partition", so that vectors are JSON objects.
func (k Key) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *Key) UnmarshalText(text []byte) error {
	log, partition, ok := strings.Cut(string(text), "/")
	l, err1 := strconv.ParseInt(log, 10, 64)
	p, err2 := strconv.ParseInt(partition, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return fmt.Errorf("reading a partition: %q is not log/partition", text)
	}
	k.Log, k.Partition = Log(l), int32(p)
	return nil
}

// Compare orders keys by log, then partition.
func (k Key) Compare(o Key) int {
	switch {
	case k.Log != o.Log:
		if k.Log < o.Log {
			return -1
		}
		return 1
	case k.Partition != o.Partition:
		if k.Partition < o.Partition {
			return -1
		}
		return 1
	}
	return 0
}

// Range is the offsets [From, To).
type Range struct{ From, To int64 }

// Len is the number of offsets, of events or holes.
func (r Range) Len() int64 { return r.To - r.From }

// Vector holds the next offset of each partition. Partitions it does not name stand at 0.
type Vector map[Key]int64

// Reaches tells whether v is at or beyond o in every partition that o names.
func (v Vector) Reaches(o Vector) bool {
	for k, at := range o {
		if v[k] < at {
			return false
		}
	}
	return true
}

// Max returns the elementwise maximum.
func (v Vector) Max(o Vector) Vector {
	m := make(Vector, len(v))
	for k, at := range v {
		m[k] = at
	}
	for k, at := range o {
		m[k] = max(m[k], at)
	}
	return m
}
