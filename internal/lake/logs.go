package lake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Columns of the table of closed logs whose values are not one of a log's own.
const (
	columnLog    = "log" // what _log of a stream's rows says
	columnClosed = "closed_at"
)

// LogsTable is the table of closed logs: one row each, of which nothing will change any more. It tells where rows
// came from, and keeps what a ledger is built of that was lost.
func LogsTable() Table {
	return Table{Name: ledger.Logs, Time: columnClosed, Columns: []Column{
		{Name: columnLog, Kind: column.Long, Required: true},
		{Name: "stream", Kind: column.String, Required: true},
		{Name: "kind", Kind: column.String, Required: true},
		{Name: "dead", Kind: column.Boolean, Required: true},
		{Name: "cluster_id", Kind: column.String, Required: true},
		{Name: "topic_id", Kind: column.String, Required: true},
		{Name: "topic", Kind: column.String, Required: true},
		{Name: "schema", Kind: column.Long, Required: true},
		{Name: "created_at", Kind: column.Timestamptz, Required: true},
		{Name: columnClosed, Kind: column.Timestamptz, Required: true},
		{Name: "partitions", Kind: column.JSON, Required: true},
		{Name: "cuts", Kind: column.JSON, Required: true},
	}}
}

// LogRows are closed logs as rows of their table.
func LogRows(logs []ledger.ClosedLog) (*Block, error) {
	b := &Block{Columns: LogsTable().Columns, N: len(logs)}
	b.Cols = make([]column.Vec, len(b.Columns))
	for i, c := range b.Columns {
		b.Cols[i].Kind = c.Kind
	}
	for _, l := range logs {
		if l.ClosedAt == nil {
			return nil, fmt.Errorf("log %d is not closed", l.ID)
		}
		parts, err := json.Marshal(l.Parts)
		if err != nil {
			return nil, fmt.Errorf("encoding the partitions of log %d: %w", l.ID, err)
		}
		cuts, err := json.Marshal(slices.Concat([]ledger.MemoCut{}, l.Cuts))
		if err != nil {
			return nil, fmt.Errorf("encoding the cuts of log %d: %w", l.ID, err)
		}
		dead := int64(0)
		if l.Dead {
			dead = 1
		}
		for i, v := range []any{
			int64(l.ID), l.Stream, l.Kind, dead, l.ClusterID, l.TopicID, l.Topic, int64(l.Schema),
			l.CreatedAt.UnixMicro(), l.ClosedAt.UnixMicro(), string(parts), string(cuts),
		} {
			push(&b.Cols[i], v)
		}
	}
	return b, nil
}

// push appends a value. Iceberg's strings are UTF-8: other bytes, which the name of a file may have, become the
// replacement character.
func push(c *column.Vec, v any) {
	switch v := v.(type) {
	case int64:
		c.Ints = append(c.Ints, v)
	case string:
		if len(c.Offs) == 0 {
			c.Offs = append(c.Offs, 0)
		}
		c.Bytes = append(c.Bytes, strings.ToValidUTF8(v, "\uFFFD")...)
		c.Offs = append(c.Offs, int32(len(c.Bytes)))
	}
	c.Len++
}

// ParseLogs reads rows of the table of closed logs. fault.Corrupt lake_memo: they are not what LogRows wrote.
func ParseLogs(b *Block) ([]ledger.ClosedLog, error) {
	var cols [12]*column.Vec
	for i, c := range LogsTable().Columns {
		at := b.Index(c.Name)
		if at < 0 {
			return nil, unreadable(fmt.Errorf("it has no column %s", c.Name))
		}
		cols[i] = b.Cols[at].Flat()
	}
	logs := make([]ledger.ClosedLog, b.N)
	for i := range logs {
		l := &logs[i]
		text := func(c int) string { return string(cols[c].Text(i)) }
		closed := time.UnixMicro(cols[9].Ints[i]).UTC()
		l.Stream = text(1)
		l.MemoLog = ledger.MemoLog{
			ID: span.Log(cols[0].Ints[i]), Kind: text(2), Dead: cols[3].Ints[i] != 0, ClusterID: text(4), TopicID: text(5), Topic: text(6),
			Schema: int32(cols[7].Ints[i]), CreatedAt: time.UnixMicro(cols[8].Ints[i]).UTC(), ClosedAt: &closed,
		}
		if err := json.Unmarshal(cols[10].Text(i), &l.Parts); err != nil {
			return nil, unreadable(fmt.Errorf("the partitions of log %d: %w", l.ID, err))
		}
		if err := json.Unmarshal(cols[11].Text(i), &l.Cuts); err != nil {
			return nil, unreadable(fmt.Errorf("the cuts of log %d: %w", l.ID, err))
		}
	}
	return logs, nil
}

func unreadable(err error) error {
	return fault.New(fault.Corrupt, "lake_memo", "reading table %s: %w", ledger.Logs, err).
		WithAdvice("restore log, ledger and lake from one backup")
}
