package query

import (
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/fold"
	"github.com/pinflow/pinflow/internal/metric"
)

// top chooses the groups that are largest over the whole range, by the measure that is ordered by
// (else the first). The rest is put together as "other".
func (p *plan) top(by fold.Grouping, parts []fold.Part) (*fold.Top, *Other, error) {
	measure, sign := p.rankedBy()
	by.Grain, by.States = calendar.None, []int{metric.StateRows}
	for _, part := range p.parts(measure) {
		if part != nil {
			by.States = append(by.States, part.States...)
		}
	}
	slices.Sort(by.States)
	by.States = slices.Compact(by.States)
	t := &table{p: p, at: p.positions(by.States), late: -1}
	var err error
	if t.block, err = p.regroup(by, parts); err != nil {
		return nil, nil, err
	}
	var order []int
	for i := range t.block.N {
		if t.shown(i) {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := t.compareValues(measure, a, b, sign); c != 0 {
			return c
		}
		return t.compareGroups(a, b)
	})
	top := &fold.Top{Kept: map[string]int{}}
	for rank, i := range order[:min(len(order), p.req.Limit)] {
		top.Kept[t.block.Key(i)] = rank
	}
	var other *Other
	if rest := len(order) - len(top.Kept); rest > 0 {
		other = &Other{Label: t.label(), Groups: rest}
		top.Other = other.Label
	}
	return top, other, nil
}

// rankedBy is the measure that groups are compared by, and 1 if the smallest come first, else −1.
func (p *plan) rankedBy() (*metric.NamedMeasure, int) {
	i := slices.IndexFunc(p.measures, func(m *metric.NamedMeasure) bool { return m.Name == p.order })
	if i >= 0 && !p.down {
		return p.measures[i], 1
	}
	return p.measures[max(i, 0)], -1
}

// label is a word for the rest that no dimension has as a value.
func (t *table) label() string {
	label := "other"
	taken := func() bool {
		for d := range t.block.Dims {
			dim := &t.block.Dims[d]
			for code := 1; code <= dim.Texts(); code++ {
				if string(dim.Text(uint32(code))) == label {
					return true
				}
			}
		}
		return false
	}
	for taken() {
		label = "(" + label + ")"
	}
	return label
}
