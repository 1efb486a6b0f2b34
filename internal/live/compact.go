package live

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"

	"github.com/pinflow/pinflow/internal/calendar"
)

// compactLease names the job: one process compacts.
const compactLease = "compact"

// settleEvery is the time between two passes that merge whatever small segments a day has, roll up and
// drop what is not kept.
const settleEvery = time.Minute

// CompactStore is the part of the ledger that compaction needs.
type CompactStore interface {
	ledger.Jobs
	ledger.Compaction
	Epochs(ctx context.Context) (map[string]int64, error)
	Load(ctx context.Context) (*ledger.Snapshot, error)
}

// Compactor merges the small segments that flushes leave, so that their number stays bounded.
type Compactor struct {
	every  time.Duration
	log    *slog.Logger
	store  CompactStore
	keeper *ledger.Keeper
	codec  *segment.Codec

	epochs   map[string]int64 // of the catalogue that versions were compiled from
	versions []version
	settled  time.Time // the last settling pass
	said     fault.Repeats
	damaged  map[int64]bool
}

// version is a view version that is not dropped.
type version struct {
	id   int64
	view string
	c    *metric.Compiled
}

// NewCompactor returns a compactor that makes a pass every so often (0: 1 s) and has started nothing.
func NewCompactor(owner string, every time.Duration, log *slog.Logger, store CompactStore) (*Compactor, error) {
	if every == 0 {
		every = time.Second
	}
	codec, err := segment.NewCodec()
	if err != nil {
		return nil, err
	}
	return &Compactor{every: every, log: log, store: store, keeper: ledger.NewKeeper(store, owner), codec: codec, damaged: map[int64]bool{}}, nil
}

// Run compacts until ctx ends. What another pass may set right is logged; anything else ends it.
func (c *Compactor) Run(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			if err := c.keeper.Release(last); err != nil {
				c.log.Info("leases run out by themselves", "error", err)
			}
			return nil
		case <-tick.C:
		}
		err := c.pass(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
		case fault.Is(err, fault.Transient), fault.Is(err, fault.Ambiguous), fault.Is(err, fault.Stale), fault.Is(err, fault.Lost):
			c.keeper.Forget(compactLease)
			if unsaid, say := c.said.Say(fault.CodeOf(err), time.Now()); say {
				c.log.Warn("compaction is put off", "error", err, "unsaid", unsaid)
			}
		default:
			return fmt.Errorf("compacting segments: %w", err)
		}
	}
}

func (c *Compactor) pass(ctx context.Context) error {
	lease, ok, err := c.keeper.Hold(ctx, compactLease)
	if err != nil || !ok {
		return err
	}
	if err := c.reload(ctx); err != nil {
		return err
	}
	now := time.Now()
	settle := now.Sub(c.settled) >= settleEvery
	for _, v := range c.versions {
		if err := c.version(ctx, lease, v, settle); err != nil {
			return fmt.Errorf("version %d of view %s: %w", v.id, v.view, err)
		}
	}
	if settle {
		c.settled = now
	}
	return nil
}

// reload compiles the versions anew when the catalogue moved.
func (c *Compactor) reload(ctx context.Context) error {
	epochs, err := c.store.Epochs(ctx)
	if err != nil {
		return fmt.Errorf("asking the epochs: %w", err)
	}
	same := c.epochs != nil && len(epochs) == len(c.epochs)
	for name, e := range epochs {
		same = same && c.epochs[name] == e
	}
	if same {
		return nil
	}
	snap, err := c.store.Load(ctx)
	if err != nil {
		return fmt.Errorf("reading the catalogue: %w", err)
	}
	versions, err := compileVersions(snap)
	if err != nil {
		return err
	}
	c.epochs = make(map[string]int64, len(snap.Streams))
	for _, s := range snap.Streams {
		c.epochs[s.Name] = s.Epoch
	}
	c.versions = versions
	return nil
}

func compileVersions(snap *ledger.Snapshot) ([]version, error) {
	schemas := map[string]*event.Schema{}
	for _, s := range snap.Streams {
		newest := s.Schemas[len(s.Schemas)-1]
		schema, err := event.Compile(newest.Definition, newest.Version)
		if err != nil {
			return nil, fmt.Errorf("compiling schema %d of stream %s: %w", newest.Version, s.Name, err)
		}
		schemas[s.Name] = schema
	}
	var versions []version
	for _, view := range snap.Views {
		for _, v := range view.Versions {
			if v.State == ledger.Dropped {
				continue
			}
			compiled, err := metric.CompileStored(v.Definition, v.Metadata, schemas[view.Stream])
			if err != nil {
				return nil, fmt.Errorf("compiling version %d of view %s: %w", v.ID, view.Name, err)
			}
			versions = append(versions, version{v.ID, view.Name, compiled})
		}
	}
	return versions, nil
}

// version merges what the planner chooses of a version's tiers. Between two settling passes only flushes
// leave segments, in the finest tier.
func (c *Compactor) version(ctx context.Context, lease ledger.Lease, v version, settle bool) error {
	tiers := segment.Tiers(v.c)
	if !settle {
		return c.compact(ctx, lease, v, tiers[0], false, false)
	}
	for _, tier := range tiers {
		for _, step := range []func() error{
			func() error { return c.compact(ctx, lease, v, tier, false, true) },
			func() error { return c.rollUp(ctx, lease, v, tier) },
			func() error { return c.compact(ctx, lease, v, tier, true, false) },
			func() error { return c.drop(ctx, lease, v, tier) },
		} {
			if err := step(); err != nil {
				return fmt.Errorf("tier %s: %w", tier, err)
			}
		}
	}
	return nil
}

// compact merges segments of a tier that are rolled up, or those that are not: never one with the other.
func (c *Compactor) compact(ctx context.Context, lease ledger.Lease, v version, tier calendar.Grain, rolled, settle bool) error {
	all, err := c.segments(ctx, v, tier, rolled)
	if err != nil {
		return err
	}
	shelf := segment.NewShelf(v.c, tier, time.Now().UnixMicro())
	infos := shelve(shelf, all)
	for _, group := range segment.PlanCompaction(infos, settle) {
		merged, err := c.merge(ctx, v, all, group, tier)
		if merged == nil || err != nil {
			return err
		}
		out, err := c.encode(v, merged.Split(fold.MaxBlock, shelf.Cut(infos[group[0]].Day)), tier, ledger.SourceCompacted)
		if err != nil {
			return err
		}
		for i := range out {
			out[i].Rolled = rolled
		}
		if err := c.replace(ctx, lease, ledger.Compacted, idsOf(all, group), out); err != nil {
			return err
		}
	}
	return nil
}

// segments lists those of a tier that can be read, as far as it is known. One that cannot is left where it is: merging
// goes on beside it, and the view does not answer without it.
func (c *Compactor) segments(ctx context.Context, v version, tier calendar.Grain, rolled bool) ([]ledger.Segment, error) {
	all, err := c.store.Segments(ctx, v.id, tier.String(), rolled)
	if err != nil {
		return nil, fmt.Errorf("listing segments: %w", err)
	}
	return slices.DeleteFunc(all, func(s ledger.Segment) bool { return c.damaged[s.ID] }), nil
}

func shelve(shelf *segment.Shelf, all []ledger.Segment) []segment.Info {
	infos := make([]segment.Info, len(all))
	for i, s := range all {
		infos[i] = segment.Info{Bytes: s.Bytes, Day: shelf.Of(s.From, s.To)}
	}
	return infos
}

func idsOf(all []ledger.Segment, group []int) []int64 {
	ids := make([]int64, len(group))
	for i, n := range group {
		ids[i] = all[n].ID
	}
	return ids
}

// merge reads a group and merges it into buckets of the grain; nil when one of it is damaged: the next pass leaves
// that one out.
func (c *Compactor) merge(ctx context.Context, v version, all []ledger.Segment, group []int, grain calendar.Grain) (*fold.States, error) {
	ids := idsOf(all, group)
	in, err := c.store.SegmentData(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("reading segments %v: %w", ids, err)
	}
	blocks := make([]*fold.States, len(in))
	for i := range in {
		blocks[i], err = c.codec.Decode(in[i].Data)
		switch {
		case fault.Is(err, fault.Corrupt):
			c.damaged[in[i].ID] = true
			c.log.Error("a segment of the ledger is damaged, and its view is not answered where it holds numbers: see pinflow audit, then build the view anew with pinflow backfill start",
				"view", v.view, "version", v.id, "segment", in[i].ID, "tier", in[i].Tier, "from", time.UnixMicro(in[i].From).UTC(), "to", time.UnixMicro(in[i].To).UTC(), "error", err)
			return nil, nil
		case err != nil:
			return nil, fmt.Errorf("decoding segment %d: %w", in[i].ID, err)
		}
	}
	return fold.Regroup(v.c, fold.Everything(v.c, grain), blocks...)
}

func (c *Compactor) encode(v version, blocks []*fold.States, tier calendar.Grain, source string) ([]ledger.Segment, error) {
	var out []ledger.Segment
	for _, st := range blocks {
		s, err := toSegment(c.codec, st, v.id, tier.String(), source)
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

func (c *Compactor) replace(ctx context.Context, lease ledger.Lease, kind string, ids []int64, out []ledger.Segment) error {
	if err := c.store.Replace(ctx, lease, kind, ids, out); err != nil {
		return fmt.Errorf("replacing segments %v: %w", ids, err)
	}
	return nil
}
