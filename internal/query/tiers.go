package query

import (
	"fmt"
	"slices"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/segment"
)

// floors are, by tier, the start of the oldest bucket that is whole in it.
type floors map[calendar.Grain]int64

// floorsOf combines what the view keeps at a moment with what was dropped when it kept less.
func floorsOf(c *metric.Compiled, dropped map[string]int64, now time.Time) floors {
	out := floors{}
	for _, tier := range segment.Tiers(c) {
		out[tier] = segment.Floor(c, tier, now.UnixMicro())
		if at, ok := dropped[tier.String()]; ok {
			out[tier] = max(out[tier], at)
		}
	}
	return out
}

// finest is the finest tier that is whole from a moment on; Day if none is.
func (f floors) finest(c *metric.Compiled, at int64) calendar.Grain {
	for _, tier := range segment.Tiers(c) {
		if f[tier] <= at {
			return tier
		}
	}
	return calendar.Day
}

// hole is a stretch that no tier answers at the grain asked for.
type hole struct{ from, to int64 }

// cover chooses the tiers that answer the range: the coarsest ones whose buckets it is made of and that
// still hold them.
func (p *plan) cover() error {
	own := calendar.NewClock(p.c.Zone)
	top := p.tierAsked()
	if p.grain == calendar.None || p.zone.Name() == p.c.Zone.Name() {
		p.coverStretch(own, top, p.from, p.to)
	} else { // the zone's buckets may begin within those of a tier
		for k, b := range p.buckets {
			p.coverStretch(own, top, b, p.end(k))
		}
	}
	if err := p.checkHoles(); err != nil || !p.ranked() {
		return err
	}
	// Who is on top is a question of totals: it is answered from coarser tiers, where there are any.
	totals := &plan{c: p.c, floors: p.floors}
	for _, r := range p.reads {
		totals.coverStretch(own, calendar.Day, r.From, r.To)
	}
	p.ranking = totals.reads
	return nil
}

// ranked tells whether the largest groups are shown and the rest as one.
func (p *plan) ranked() bool { return p.req.Limit > 0 && p.grain != calendar.None && len(p.by) > 0 }

// coverStretch takes what is whole in a tier of it, and the rest at its ends from finer ones.
func (p *plan) coverStretch(own *calendar.Clock, tier calendar.Grain, from, to int64) {
	if from >= to {
		return
	}
	if tier < p.c.Grain {
		if n := len(p.holes); n > 0 && p.holes[n-1].to == from {
			p.holes[n-1].to = to
			return
		}
		p.holes = append(p.holes, hole{from, to})
		return
	}
	first := max(from, p.floors[tier])
	if own.Start(tier, first) != first {
		first = own.End(tier, first)
	}
	last := own.Start(tier, to)
	if first >= last {
		p.coverStretch(own, tier-1, from, to)
		return
	}
	p.coverStretch(own, tier-1, from, first)
	if n := len(p.reads); n > 0 && p.reads[n-1].To == first && p.reads[n-1].Tier == tier.String() {
		p.reads[n-1].To = last
	} else {
		p.reads = append(p.reads, ledger.Part{Tier: tier.String(), From: first, To: last})
	}
	p.coverStretch(own, tier-1, last, to)
}

// checkHoles refuses a question that no tier answers. What is too old for its grain, but not all of it, is
// missing in the answer.
func (p *plan) checkHoles() error {
	for _, h := range p.holes {
		kept := min(p.floors.finest(p.c, h.from), p.tierAsked())
		if p.floors[kept] <= h.from { // there is a tier, but its buckets begin elsewhere
			return bad("tz", "%s of %s do not fall on the %ss in %s that view %s keeps of %s",
				p.bucketName(), p.zone.Name(), kept, p.c.Zone.Name(), p.c.Name, p.show(h.from)).WithAdvice("%s", p.zoneAdvice(h))
		}
	}
	if len(p.reads) > 0 || len(p.holes) == 0 {
		return nil
	}
	tier := p.tierAsked()
	from := p.show(p.floors[tier])
	e := bad("grain", "view %s keeps %ss from %s on only", p.c.Name, tier, from)
	if g := p.floors.finest(p.c, p.from); p.floors[g] <= p.from {
		return e.WithAdvice("write grain=%s, or from=%s or later", g, from)
	}
	return e.WithAdvice("write from=%s or later", from)
}

// zoneAdvice names what works instead: another zone, or what is young enough for a tier that has such
// boundaries.
func (p *plan) zoneAdvice(h hole) string {
	own, asked := calendar.NewClock(p.c.Zone), calendar.NewClock(p.zone)
	for tier := p.tierAsked(); tier >= p.c.Grain; tier-- {
		floor := p.floors[tier]
		if h.from >= floor || own.Start(tier, h.from) != h.from || own.Start(tier, h.to) != h.to {
			continue
		}
		if p.grain != calendar.None && asked.Start(p.grain, floor) != floor {
			floor = asked.End(p.grain, floor)
		}
		return fmt.Sprintf("leave tz out (%s), or write from=%s or later", p.c.Zone.Name(), p.show(floor))
	}
	return fmt.Sprintf("leave tz out (%s), or ask for a zone that differs by whole %ss", p.c.Zone.Name(), p.floors.finest(p.c, h.from))
}

func (p *plan) bucketName() string {
	if p.grain == calendar.None {
		return "the ends of the range"
	}
	return fmt.Sprintf("%ss", p.grain)
}

// tierAsked is the coarsest tier that has buckets of the grain.
func (p *plan) tierAsked() calendar.Grain {
	if p.grain == calendar.None {
		return calendar.Day
	}
	return min(p.grain, calendar.Day)
}

// edge is the grain to which an end of the range of totals is widened: the finest kept at that age.
func (p *plan) edge(at int64) calendar.Grain {
	if p.grain != calendar.None {
		return p.grain
	}
	return p.floors.finest(p.c, at)
}

// partsOf says which rows of the segments are what was asked for. A segment that neighbouring parts take
// is read in one go.
func partsOf(reads []ledger.Part, segs []ledger.Segment, blocks []*fold.States) []fold.Part {
	var out []fold.Part
	for i := range segs {
		s := &segs[i]
		first, _ := slices.BinarySearchFunc(reads, s.From, func(x ledger.Part, at int64) int {
			if x.To <= at {
				return -1
			}
			return 1
		})
		begun := false
		for _, x := range reads[first:] {
			if x.From > s.To {
				break
			}
			if !x.Takes(s) {
				continue
			}
			if n := len(out); begun && out[n-1].To == x.From {
				out[n-1].To = x.To
				continue
			}
			out, begun = append(out, fold.Part{Block: blocks[i], From: x.From, To: x.To}), true
		}
	}
	return out
}
