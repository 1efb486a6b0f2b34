package httpapi

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/span"
)

// Feed tells how far the streams are. It is asked several times a second while somebody listens.
type Feed interface {
	Pulse(ctx context.Context) ([]Pulse, error)
}

// Pulse is how far a stream is.
type Pulse struct {
	Stream     string
	Views      []string
	Seal       int64     // id of the newest sealed write
	CompleteTo time.Time // zero: nothing yet
	Events     int64     // what the live unit has read of the stream, ever
}

// FeedLedger is the part of a ledger that a feed reads.
type FeedLedger interface {
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
	Progress(ctx context.Context) (*ledger.Progress, error)
	CompleteTo(ctx context.Context, stream string, unit ledger.Unit) (time.Time, error)
}

// LedgerFeed is the feed of a ledger. It reads the catalogue again only when an epoch changed.
type LedgerFeed struct {
	ledger FeedLedger

	mu     sync.Mutex
	epochs map[string]int64
	snap   *ledger.Snapshot
}

var _ Feed = (*LedgerFeed)(nil)

// NewLedgerFeed returns the feed of l.
func NewLedgerFeed(l FeedLedger) *LedgerFeed { return &LedgerFeed{ledger: l} }

// Pulse reads the ledger.
func (f *LedgerFeed) Pulse(ctx context.Context) ([]Pulse, error) {
	snap, err := f.catalogue(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	pro, err := f.ledger.Progress(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the positions: %w", err)
	}
	stream := map[span.Log]string{}
	for _, l := range snap.Logs {
		if !l.Dead {
			stream[l.ID] = l.Stream
		}
	}
	events := map[string]int64{}
	for key, offset := range pro.Live {
		events[stream[key.Log]] += offset - pro.Start[key]
	}
	out := make([]Pulse, 0, len(snap.Streams))
	for _, s := range snap.Streams {
		p := Pulse{Stream: s.Name, Views: []string{}, Seal: pro.NewestSealed, Events: events[s.Name]}
		for _, v := range snap.Views {
			if v.Stream == s.Name {
				p.Views = append(p.Views, v.Name)
			}
		}
		if p.CompleteTo, err = f.ledger.CompleteTo(ctx, s.Name, ledger.Live); err != nil {
			return nil, fmt.Errorf("reading how far %s is complete: %w", s.Name, err)
		}
		out = append(out, p)
	}
	return out, nil
}

func (f *LedgerFeed) catalogue(ctx context.Context) (*ledger.Snapshot, error) {
	epochs, err := f.ledger.Epochs(ctx)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	snap := f.snap
	same := snap != nil && maps.Equal(epochs, f.epochs)
	f.mu.Unlock()
	if same {
		return snap, nil
	}
	if snap, err = f.ledger.Load(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	f.snap, f.epochs = snap, epochs // read before the catalogue: at worst it is loaded once more
	f.mu.Unlock()
	return snap, nil
}
