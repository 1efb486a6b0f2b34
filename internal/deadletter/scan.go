package deadletter

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// counted is what one reading of the table found.
type counted struct {
	groups   map[kind]*tally
	letters  int64
	more     int64 // letters of groups beyond maxGroups
	snapshot int64
}

// count reads what tells groups apart, and keeps of each where its newest letters lie. wanted, if given, tells which
// groups are counted.
func (r *Reader) count(ctx context.Context, in Range, keep int, wanted func(kind) bool) (*counted, error) {
	c := &counted{groups: map[kind]*tally{}}
	from, to := in.From.UnixMicro(), in.To.UnixMicro()
	sel := lake.Selection{
		Table: ledger.DeadLetters, From: from, To: to,
		Columns: []string{"stream", "code", "path", event.ColumnReceivedAt, event.ColumnLog, event.ColumnPartition, event.ColumnOffset},
	}
	var err error
	c.snapshot, err = r.lake.Scan(ctx, sel, func(b *lake.Block) error {
		for row := range b.N {
			p := placeOf(b, row)
			if p.received < from || p.received >= to {
				continue
			}
			stream := string(text(b, "stream", row))
			if in.Streams != nil && !slices.Contains(in.Streams, stream) {
				continue
			}
			k := kind{stream, string(text(b, "code", row)), string(text(b, "path", row))}
			if wanted == nil || wanted(k) {
				c.add(k, p, keep)
			}
		}
		return ctx.Err()
	})
	if fault.CodeOf(err) == "no_table" { // no event was ever sent
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading dead letters: %w", err)
	}
	return c, nil
}

func (c *counted) add(k kind, p place, keep int) {
	c.letters++
	t := c.groups[k]
	if t == nil {
		if len(c.groups) >= maxGroups {
			c.more++
			return
		}
		t = &tally{first: p.received, last: p.received, days: map[int64]int64{}}
		c.groups[k] = t
	}
	t.letters++
	t.first, t.last = min(t.first, p.received), max(t.last, p.received)
	t.days[p.received/usPerDay]++
	at, _ := slices.BinarySearchFunc(t.newest, p, place.later)
	if at >= keep {
		return
	}
	if len(t.newest) == keep {
		t.newest = t.newest[:keep-1]
	}
	t.newest = slices.Insert(t.newest, at, p)
}

// letters reads whole letters, a day at a time.
func (r *Reader) letters(ctx context.Context, snapshot int64, wanted []place) (map[place]Letter, error) {
	found := make(map[place]Letter, len(wanted))
	if len(wanted) == 0 {
		return found, nil
	}
	snap, err := r.store.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	topics := make(map[int64]string, len(snap.Logs))
	for _, l := range snap.Logs {
		topics[int64(l.ID)] = l.Topic
	}
	days := map[int64]map[place]bool{}
	for _, p := range wanted {
		day := p.received / usPerDay
		if days[day] == nil {
			days[day] = map[place]bool{}
		}
		days[day][p] = true
	}
	for _, places := range days {
		sel := lake.Selection{Table: ledger.DeadLetters, Snapshot: snapshot, Columns: []string{
			"message", "body", event.ColumnEventID, event.ColumnReceivedAt, event.ColumnLog, event.ColumnPartition, event.ColumnOffset, event.ColumnSchema,
		}}
		for p := range places {
			if sel.To == 0 {
				sel.From = p.received
			}
			sel.From, sel.To = min(sel.From, p.received), max(sel.To, p.received+1)
		}
		_, err := r.lake.Scan(ctx, sel, func(b *lake.Block) error {
			for row := range b.N {
				if p := placeOf(b, row); places[p] {
					found[p] = letter(b, row, p, topics)
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, fmt.Errorf("reading dead letters: %w", err)
		}
	}
	return found, nil
}

func letter(b *lake.Block, row int, p place, topics map[int64]string) Letter {
	body := text(b, "body", row)
	cut := len(body) > maxBody
	if cut {
		body = body[:maxBody]
	}
	return Letter{
		ID: string(text(b, event.ColumnEventID, row)), ReceivedAt: time.UnixMicro(p.received).UTC(), Topic: topics[int64(p.key.Log)],
		Log: int64(p.key.Log), Partition: p.key.Partition, Offset: p.offset, Schema: number(b, event.ColumnSchema, row),
		Message: string(text(b, "message", row)), Body: strings.ToValidUTF8(string(body), ""), Cut: cut,
	}
}
