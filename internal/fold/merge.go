package fold

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/metric"
)

// Grouping says how Regroup groups: by a bucket and some of the dimensions.
type Grouping struct {
	Grain  calendar.Grain  // of the buckets; None: no time, bucket 0
	Clock  *calendar.Clock // of the zone that the buckets start in; nil: the view's
	Dims   []int           // stored dimensions, in the order of the result
	States []int           // states, in the order of the result
	From   int64           // rows with From ≤ bucket start < To; To 0: no limits
	To     int64
	Match  []Match // all of them have to hold
	Top    *Top    // nil: every group is kept

	// Both keeps the rows of whole events and those of elements apart and takes both. Otherwise Regroup
	// takes one of them: elements if Dims or Match name the unnested dimension.
	Both bool
}

// Whole is the value of the unnested dimension in rows that count every event once: a byte that is no
// text. The other rows count it under each of its elements.
const Whole = "\xff"

// Top names the groups that are kept; the others become one, whose every dimension is Other. States
// merge, so that one is exact.
type Top struct {
	Kept  map[string]int // by Key
	Other string         // has to be a value of no kept group
}

// Match keeps the rows whose dimension value it accepts. It is asked once per distinct value.
type Match struct {
	Dim  int
	Keep func(text []byte, null bool) bool
}

// Merge merges blocks of a view into one of its grain with all dimensions and states.
func Merge(c *metric.Compiled, blocks ...*States) (*States, error) {
	return Regroup(c, Everything(c, c.Grain), blocks...)
}

// Everything is the grouping by all dimensions, with all states.
func Everything(c *metric.Compiled, grain calendar.Grain) Grouping {
	g := Grouping{Grain: grain, Both: true}
	for d := range c.Dims {
		g.Dims = append(g.Dims, d)
	}
	for s := range c.States {
		g.States = append(g.States, s)
	}
	return g
}

// Part is the rows of a block with From ≤ bucket start < To; To 0: all of them.
type Part struct {
	Block    *States
	From, To int64
}

// Regroup merges blocks of a view, of any grains not coarser than the grouping's. It fails if a
// block is not of this view.
func Regroup(c *metric.Compiled, by Grouping, blocks ...*States) (*States, error) {
	parts := make([]Part, len(blocks))
	for i, b := range blocks {
		parts[i].Block = b
	}
	return RegroupParts(c, by, parts...)
}

// RegroupParts is Regroup of some of the blocks' rows.
func RegroupParts(c *metric.Compiled, by Grouping, parts ...Part) (*States, error) {
	if by.Clock == nil {
		by.Clock = calendar.NewClock(c.Zone)
	}
	if c.Unnest >= 0 && !by.Both {
		by.Match = append(slices.Clone(by.Match), by.side(c.Unnest))
	}
	m := newMerger(by)
	for _, s := range by.States {
		m.cols = append(m.cols, Column{Type: TypeOf(c.States[s])})
	}
	for i, p := range parts {
		if err := Fits(c, p.Block); err != nil {
			return nil, fmt.Errorf("merging block %d: %w", i, err)
		}
		m.by.From, m.by.To = by.From, by.To
		if p.To != 0 && by.To != 0 {
			m.by.From, m.by.To = max(by.From, p.From), min(by.To, p.To)
		} else if p.To != 0 {
			m.by.From, m.by.To = p.From, p.To
		}
		m.add(p.Block)
	}
	return m.states(), nil
}

// MergeGroups merges what Regroup made of parts of the blocks under one grouping.
func MergeGroups(by Grouping, parts ...*States) *States {
	whole := Grouping{Grain: by.Grain, Clock: by.Clock}
	for d := range by.Dims {
		whole.Dims = append(whole.Dims, d)
	}
	for s := range by.States {
		whole.States = append(whole.States, s)
	}
	m := newMerger(whole)
	for i := range parts[0].Cols {
		m.cols = append(m.cols, Column{Type: parts[0].Cols[i].Type})
	}
	for _, p := range parts {
		m.add(p)
	}
	return m.states()
}

// side takes the rows of elements if the grouping speaks of the unnested dimension, else those of
// whole events.
func (by *Grouping) side(unnested int) Match {
	elements := slices.Contains(by.Dims, unnested) || slices.ContainsFunc(by.Match, func(m Match) bool { return m.Dim == unnested })
	return Match{Dim: unnested, Keep: func(text []byte, null bool) bool { return (null || string(text) != Whole) == elements }}
}

// Group groups the block's own rows: Dims and States are indices into it. Without a Clock, the
// grain has to be None.
func (s *States) Group(by Grouping) *States {
	if by.Clock == nil {
		by.Clock, by.Grain = &calendar.Clock{}, calendar.None
	}
	m := newMerger(by)
	for _, c := range by.States {
		m.cols = append(m.cols, Column{Type: s.Cols[c].Type})
	}
	m.add(s)
	return m.states()
}

// Fits tells whether the block has the columns of the view.
func Fits(c *metric.Compiled, b *States) error {
	if len(b.Dims) != len(c.Dims) || len(b.Cols) != len(c.States) {
		return fmt.Errorf("a block of %d dimensions and %d states, the view has %d and %d",
			len(b.Dims), len(b.Cols), len(c.Dims), len(c.States))
	}
	for i := range b.Cols {
		if want := TypeOf(c.States[i]); b.Cols[i].Type != want {
			return fmt.Errorf("state %d is %s, the view has %s", i, b.Cols[i].Type, want)
		}
	}
	return nil
}

type merger struct {
	by     Grouping
	dicts  []*dict
	groups *groups
	cols   []Column

	rows  []int32
	keys  []int64
	codes [][]uint32
	gids  []uint32

	combos combos   // of the codes before the rest is put together
	ids    []uint32 // of the batch in hand
	kept   []uint8  // by combo: 0 not asked yet, 1 kept, 2 other
	key    []byte
}

func newMerger(by Grouping) *merger {
	m := &merger{by: by, groups: newGroups(len(by.Dims)), codes: make([][]uint32, len(by.Dims))}
	for range by.Dims {
		m.dicts = append(m.dicts, newDict())
	}
	if by.Top != nil {
		m.topFirst()
	}
	return m
}

// topFirst gives the values of the groups that are kept the smallest codes: a group is then found by them
// in a small table.
func (m *merger) topFirst() {
	for d := range m.dicts {
		m.dicts[d].code([]byte(m.by.Top.Other))
	}
	for key := range m.by.Top.Kept {
		rest := []byte(key)
		for d := range m.dicts {
			null := rest[0] == 0
			if rest = rest[1:]; null {
				continue
			}
			n, size := binary.Uvarint(rest)
			rest = rest[size:]
			m.dicts[d].code(rest[:n])
			rest = rest[n:]
		}
	}
}

func (m *merger) states() *States {
	s := &States{N: m.groups.size(), Buckets: m.groups.buckets, Cols: m.cols}
	for i := range s.Cols {
		s.Cols[i].settle(s.N)
		s.Cols[i].tally = nil
	}
	for d := range m.dicts {
		s.Dims = append(s.Dims, m.dicts[d].dim(m.groups.codes[d]))
	}
	return s
}

func (m *merger) add(b *States) {
	m.choose(b)
	if len(m.rows) == 0 {
		return
	}
	m.keys = sized(m.keys, len(m.rows))
	last, start := int64(-1<<63), int64(0)
	for k, r := range m.rows { // mostly in order of time
		if x := b.Buckets[r]; x != last {
			last, start = x, m.by.Clock.Start(m.by.Grain, x)
		}
		m.keys[k] = start
	}
	for i, d := range m.by.Dims {
		dim := &b.Dims[d]
		recode := make([]uint32, dim.Texts()+1)
		m.codes[i] = sized(m.codes[i], len(m.rows))
		for k, r := range m.rows {
			code := dim.Codes[r]
			if code != 0 && recode[code] == 0 {
				recode[code] = m.dicts[i].code(dim.Text(code))
			}
			m.codes[i][k] = recode[code]
		}
	}
	if m.by.Top != nil {
		m.restToOther()
	}
	m.gids = sized(m.gids, len(m.rows))
	m.groups.assign(m.keys, m.codes, m.gids)
	for i, s := range m.by.States {
		m.cols[i].grow(m.groups.size())
		m.cols[i].merge(&b.Cols[s], m.rows, m.gids)
	}
}

// choose lists the rows in range that match.
func (m *merger) choose(b *States) {
	m.rows = m.rows[:0]
	all := m.by.To == 0
	for i, bucket := range b.Buckets {
		if all || (bucket >= m.by.From && bucket < m.by.To) {
			m.rows = append(m.rows, int32(i))
		}
	}
	for _, match := range m.by.Match {
		dim := &b.Dims[match.Dim]
		keep := make([]bool, dim.Texts()+1)
		keep[0] = match.Keep(nil, true)
		for code := 1; code < len(keep); code++ {
			keep[code] = match.Keep(dim.Text(uint32(code)), false)
		}
		kept := m.rows[:0]
		for _, r := range m.rows {
			if keep[dim.Codes[r]] {
				kept = append(kept, r)
			}
		}
		m.rows = kept
	}
}

// restToOther gives the rows of groups that are not kept the codes of the other one.
func (m *merger) restToOther() {
	ids := m.combos.assign(m.codes, len(m.rows), &m.ids)
	other := make([]uint32, len(m.dicts))
	for d := range other {
		other[d] = m.dicts[d].code([]byte(m.by.Top.Other))
	}
	for k := range m.rows {
		id := int(ids[k])
		if id >= len(m.kept) {
			m.kept = append(m.kept, make([]uint8, id+1-len(m.kept))...)
		}
		if m.kept[id] == 0 {
			m.kept[id] = m.judge(k)
		}
		if m.kept[id] == 2 {
			for d := range other {
				m.codes[d][k] = other[d]
			}
		}
	}
}

func (m *merger) judge(k int) uint8 {
	m.key = m.key[:0]
	for d := range m.dicts {
		var text []byte
		code := m.codes[d][k]
		if code != 0 {
			text = m.dicts[d].text(code)
		}
		m.key = appendKey(m.key, text, code == 0)
	}
	if _, ok := m.by.Top.Kept[string(m.key)]; ok {
		return 1
	}
	return 2
}

// Key names the group of dimension values of a row by its texts.
func (s *States) Key(row int) string {
	var key []byte
	for d := range s.Dims {
		var text []byte
		code := s.Dims[d].Codes[row]
		if code != 0 {
			text = s.Dims[d].Text(code)
		}
		key = appendKey(key, text, code == 0)
	}
	return string(key)
}

func appendKey(dst, text []byte, null bool) []byte {
	if null {
		return append(dst, 0)
	}
	dst = binary.AppendUvarint(append(dst, 1), uint64(len(text)))
	return append(dst, text...)
}
