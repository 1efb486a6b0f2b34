package batch

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
)

// lookEvery is how often a lookout looks at the tables at most.
const lookEvery = 10 * time.Second

// LookoutLedger is what a lookout needs of the ledger.
type LookoutLedger interface {
	Load(ctx context.Context) (*ledger.Snapshot, error)
	ExaminedLedger
}

// ExaminedLedger is what Examine needs of the ledger.
type ExaminedLedger interface {
	BookedLedger
	LastIntent(ctx context.Context, table string) (*ledger.Intent, error)
}

// LookoutLake is what a lookout needs of the lake.
type LookoutLake interface {
	Head(ctx context.Context, table string) (lake.Head, error)
	AlteredLake
}

// Lookout tells, in a process that commits nothing, which tables have not the rows that were counted: whoever commits to
// them stops over that, and cannot be asked then. Anybody may ask it.
type Lookout struct {
	led    LookoutLedger
	tables LookoutLake

	mu   sync.Mutex
	next time.Time
	said map[string]string // by table, what was found when it was last at rest
	of   map[string]int64  // the snapshot of which that holds as long as the table is on it
}

// NewLookout returns a lookout that has looked at nothing.
func NewLookout(led LookoutLedger, tables LookoutLake) *Lookout {
	return &Lookout{led: led, tables: tables, said: map[string]string{}, of: map[string]int64{}}
}

// Problems are what is wrong, a line a table. A ledger or lake that does not answer is not its business.
func (l *Lookout) Problems(ctx context.Context) []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	snap, err := l.led.Load(ctx)
	if err != nil {
		return nil
	}
	look := time.Now().After(l.next)
	if look {
		l.next = time.Now().Add(lookEvery)
	}
	names := []string{ledger.DeadLetters}
	for _, s := range snap.Streams {
		names = append(names, s.Name)
	}
	var all []string
	for _, name := range names {
		if look {
			l.look(ctx, name)
		}
		if said := l.said[name]; said != "" {
			all = append(all, said)
		}
	}
	return all
}

// look asks about a table. What was found of a snapshot holds as long as the table is on it.
func (l *Lookout) look(ctx context.Context, table string) {
	if of, looked := l.of[table]; looked {
		if head, err := l.tables.Head(ctx, table); err != nil || head.Snapshot == of {
			return
		}
	}
	c, err := Examine(ctx, l.led, l.tables, table)
	switch {
	case err != nil || !c.AtRest:
		return
	case c.Wrong != nil:
		l.said[table], l.of[table] = c.Wrong.Error(), c.Snapshot
	case c.Foreign: // what it did is not read again and again
		l.said[table], l.of[table] = "", c.Snapshot
	default:
		l.said[table] = ""
		delete(l.of, table)
	}
}

// Finding is what somebody who commits nothing can say of the rows of a table.
type Finding struct {
	AtRest   bool  // else commits came between: nothing is known
	Wrong    error // fault.Corrupt: it has not the rows that were counted
	Snapshot int64 // that was looked at
	Foreign  bool  // another engine made it
}

// Examine compares a table with the ledger, as Accounted, while others may commit to it.
func Examine(ctx context.Context, led ExaminedLedger, tables LookoutLake, table string) (Finding, error) {
	last, err := led.LastIntent(ctx, table)
	if err != nil {
		return Finding{}, fmt.Errorf("reading the newest commit of table %s: %w", table, err)
	}
	head, err := tables.Head(ctx, table)
	if err != nil {
		return Finding{}, fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	if last == nil || head.Check(table, last) != nil || last.Open && head.Seq == last.N {
		return Finding{}, nil // the ledger does not count yet what has landed
	}
	_, wrong := Accounted(ctx, led, tables, table, head)
	if wrong != nil && !fault.Is(wrong, fault.Corrupt) {
		return Finding{}, wrong
	}
	now, err := tables.Head(ctx, table)
	if err != nil {
		return Finding{}, fmt.Errorf("reading the head of table %s: %w", table, err)
	}
	return Finding{AtRest: now.Seq == head.Seq && now.Snapshot == head.Snapshot, Wrong: wrong, Snapshot: head.Snapshot, Foreign: head.Foreign}, nil
}
