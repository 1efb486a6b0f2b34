package expr

import (
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
)

// Program runs an expression over columns. It keeps its memory from batch to batch and is not safe
// for concurrent use.
type Program struct {
	root  *step
	batch batch
	own   column.Vec // the root's value, when it has to differ from an input column
	Kind  column.Kind
}

// batch is what one evaluation works on.
type batch struct {
	cols   []column.Vec
	n      int
	errs   []bool // rows on which an operation failed
	failed int
}

// step is a node with the memory to run it.
type step struct {
	n     *node
	args  []*step
	in    int        // column, of a column
	out   column.Vec // value
	mask  []bool
	took  []bool
	done  []bool
	chose []int16
	ops   []operand
	clock *calendar.Clock
	aux   any // prepared literals: set, pattern, grain

	memo *memo // of a step that reads one text column and nothing else
}

// operand is a column of values, or one text for all rows.
type operand struct {
	*column.Vec
	one bool // text 0 is the value of every row
}

// text is value i of a String or JSON operand.
func (o operand) text(i int) []byte {
	if o.one {
		i = 0
	}
	return o.Text(i)
}

func (o operand) null(i int) bool { return o.Valid != nil && !o.Valid[i] }

// NewProgram prepares the expression; index gives the position of a column in what Eval will get.
func (e *Expr) NewProgram(index func(name string) int) *Program {
	return &Program{root: newStep(e.root, e.zone, index), Kind: e.root.kind}
}

func newStep(n *node, zone *calendar.Zone, index func(string) int) *step {
	s := &step{n: n, clock: calendar.NewClock(zone)}
	if n.form == nodeColumn {
		s.in = index(n.name)
	}
	for _, a := range n.args {
		s.args = append(s.args, newStep(a, zone, index))
	}
	s.ops = make([]operand, len(s.args))
	s.prepare()
	s.memorise()
	return s
}

// Eval computes the expression over the first n values of the columns. The result is valid until
// the next call and may share memory with the columns. NaN and infinities are NULL in it, −0.0 is 0.0.
func (p *Program) Eval(cols []column.Vec, n int) *column.Vec {
	b := &p.batch
	b.cols, b.n = cols, n
	if b.failed > 0 {
		clear(b.errs)
		b.failed = 0
	}
	v := p.root.eval(b, nil)
	out := v.Vec
	if v.one {
		out = p.spread(v, n)
	}
	if out.Kind == double {
		out = p.finite(out, n)
	}
	return out
}

// Failed returns on how many rows of the last batch an operation failed, and which: nil when none.
func (p *Program) Failed() (int, []bool) {
	if p.batch.failed == 0 {
		return 0, nil
	}
	return p.batch.failed, p.batch.errs[:p.batch.n]
}

// spread repeats a constant text.
func (p *Program) spread(v operand, n int) *column.Vec {
	resetVec(&p.own, v.Kind, n)
	p.own.Offs = append(p.own.Offs, 0)
	for range n {
		p.own.Bytes = append(p.own.Bytes, v.text(0)...)
		p.own.Offs = append(p.own.Offs, int32(len(p.own.Bytes)))
	}
	return &p.own
}

// finite replaces NaN and infinities by NULL and −0.0 by 0.0; inputs are never written to.
func (p *Program) finite(v *column.Vec, n int) *column.Vec {
	i := 0
	for ; i < n; i++ {
		if x := v.Floats[i]; x-x != 0 || x == 0 {
			break
		}
	}
	if i == n {
		return v
	}
	resetVec(&p.own, double, n)
	copy(p.own.Floats, v.Floats[:n])
	if v.Valid != nil {
		p.own.Valid = append(p.own.Valid[:0], v.Valid[:n]...)
	}
	for ; i < n; i++ {
		switch x := p.own.Floats[i]; {
		case x-x != 0:
			p.own.Floats[i] = 0
			setNull(&p.own, i)
		case x == 0:
			p.own.Floats[i] = 0
		}
	}
	return &p.own
}

func (b *batch) fail(s *step, i int, active []bool) {
	if s.out.Valid != nil && !s.out.Valid[i] {
		return
	}
	setNull(&s.out, i)
	b.note(i, active)
}

// note counts a row as failed, if it is one of those in question.
func (b *batch) note(i int, active []bool) {
	if active != nil && !active[i] {
		return
	}
	if len(b.errs) < b.n {
		b.errs = slices.Grow(b.errs, b.n-len(b.errs))[:b.n]
	}
	if !b.errs[i] {
		b.errs[i] = true
		b.failed++
	}
}

// resetVec makes v a column of n values of the kind, none NULL; texts are to be appended.
func resetVec(v *column.Vec, kind column.Kind, n int) {
	v.Kind, v.Len, v.Valid = kind, n, nil
	switch kind {
	case double:
		v.Floats = size(v.Floats, n)
	case text, json, list:
		v.Offs, v.Bytes, v.ListOffs = v.Offs[:0], v.Bytes[:0], v.ListOffs[:0]
	default:
		v.Ints = size(v.Ints, n)
	}
}

func size[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

func setNull(v *column.Vec, i int) {
	if v.Valid == nil {
		v.Valid = make([]bool, v.Len)
		for j := range v.Valid {
			v.Valid[j] = true
		}
	}
	v.Valid[i] = false
}

// eval computes the step's value for all rows; rows outside active (nil: all are in it) may get
// anything but never count as failed.
func (s *step) eval(b *batch, active []bool) operand {
	switch s.n.form {
	case nodeColumn:
		if s.n.path != nil {
			return s.member(b)
		}
		return operand{Vec: &b.cols[s.in]}
	case nodeLiteral:
		return s.literal(b)
	case nodeCall:
	}
	if s.memo != nil {
		if v := &b.cols[s.memo.in]; v.Codes != nil && v.Entries() <= maxEntries {
			return s.byEntry(b, active)
		}
		s.memo.of = nil // what it shares with the step is about to change
	}
	return s.call(b, active)
}

func (s *step) call(b *batch, active []bool) operand {
	fn := s.n.fn
	if fn.lazy != nil {
		return fn.lazy(s, b, active)
	}
	for i, a := range s.args {
		s.ops[i] = a.eval(b, active)
	}
	resetVec(&s.out, s.n.kind, b.n)
	for i := range s.ops {
		s.mergeValid(s.ops[i].Valid, b.n)
		if fn.name == "in" {
			break // NULL among the literals is its own business
		}
	}
	fn.run(s, strictCall{s.ops, active, b}, b.n)
	return operand{Vec: &s.out}
}

// mergeValid makes the value NULL wherever an argument is.
func (s *step) mergeValid(valid []bool, n int) {
	if valid == nil {
		return
	}
	if s.out.Valid == nil {
		s.done = size(s.done, n)
		copy(s.done, valid[:n])
		s.out.Valid = s.done
		return
	}
	for i, ok := range valid[:n] {
		s.out.Valid[i] = s.out.Valid[i] && ok
	}
}

func (s *step) literal(b *batch) operand {
	n, k := s.n, s.n.kind
	if k == text && !n.null {
		if s.out.Offs == nil {
			s.out = column.Vec{Kind: text, Len: 1, Offs: []int32{0, int32(len(n.s))}, Bytes: []byte(n.s)}
		}
		return operand{Vec: &s.out, one: true}
	}
	if s.out.Len >= b.n && s.out.Kind == k && s.out.Len > 0 {
		s.out.Len = b.n
		return operand{Vec: &s.out}
	}
	resetVec(&s.out, k, b.n)
	switch k {
	case double:
		fill(s.out.Floats, n.f)
	case text, json:
		s.out.Offs = size(s.out.Offs, b.n+1)
		clear(s.out.Offs)
	case list:
		s.out.ListOffs = size(s.out.ListOffs, b.n+1)
		clear(s.out.ListOffs)
		s.out.Offs = append(s.out.Offs, 0)
	default:
		fill(s.out.Ints, n.i)
	}
	if n.null {
		s.out.Valid = make([]bool, b.n)
	}
	return operand{Vec: &s.out}
}

func fill[T any](s []T, v T) {
	for i := range s {
		s[i] = v
	}
}

// maskOf returns the step's mask with room for n rows.
func (s *step) maskOf(n int) []bool {
	s.mask = size(s.mask, n)
	return s.mask
}

func evalAnd(s *step, b *batch, active []bool) operand { return evalLogic(s, b, active, 0) }
func evalOr(s *step, b *batch, active []bool) operand  { return evalLogic(s, b, active, 1) }

// evalLogic is and (decided by 0) or or (decided by 1): the left decides, else the right, else a
// NULL of either, else the other value.
func evalLogic(s *step, b *batch, active []bool, decides int64) operand {
	left := s.args[0].eval(b, active)
	mask := s.maskOf(b.n)
	for i := range mask {
		mask[i] = (active == nil || active[i]) && (left.null(i) || left.Ints[i] != decides)
	}
	right := s.args[1].eval(b, mask)
	resetVec(&s.out, boolean, b.n)
	out := s.out.Ints
	if left.Valid == nil && right.Valid == nil {
		for i := range out {
			if left.Ints[i] == decides || right.Ints[i] == decides {
				out[i] = decides
			} else {
				out[i] = 1 - decides
			}
		}
		return operand{Vec: &s.out}
	}
	for i := range out {
		l, r := left.null(i), right.null(i)
		switch {
		case !l && left.Ints[i] == decides, !r && right.Ints[i] == decides:
			out[i] = decides
		case l || r:
			out[i] = 0
			setNull(&s.out, i)
		default:
			out[i] = 1 - decides
		}
	}
	return operand{Vec: &s.out}
}

func evalIsNull(s *step, b *batch, active []bool) operand {
	x := s.args[0].eval(b, active)
	resetVec(&s.out, boolean, b.n)
	clear(s.out.Ints)
	if x.Valid != nil {
		for i := range s.out.Ints {
			if !x.Valid[i] {
				s.out.Ints[i] = 1
			}
		}
	}
	return operand{Vec: &s.out}
}

func evalIsTrue(s *step, b *batch, active []bool) operand  { return evalIs(s, b, active, 1) }
func evalIsFalse(s *step, b *batch, active []bool) operand { return evalIs(s, b, active, 0) }

func evalIs(s *step, b *batch, active []bool, want int64) operand {
	x := s.args[0].eval(b, active)
	resetVec(&s.out, boolean, b.n)
	for i := range s.out.Ints {
		s.out.Ints[i] = 0
		if x.Ints[i] == want && !x.null(i) {
			s.out.Ints[i] = 1
		}
	}
	return operand{Vec: &s.out}
}

// evalCase evaluates each condition on the rows that no earlier one took, each value on the rows
// that took it.
func evalCase(s *step, b *batch, active []bool) operand {
	s.chose, s.took = size(s.chose, b.n), size(s.took, b.n)
	chosen, took := s.chose, s.took // argument that gives the row's value, -1: none yet; rows that take the branch
	open := s.maskOf(b.n)
	for i := range open {
		open[i] = active == nil || active[i]
		chosen[i] = -1
	}
	values := make([]operand, len(s.args))
	for k := 0; k < len(s.args); k++ {
		otherwise := k == len(s.args)-1
		if k%2 == 0 && !otherwise {
			when := s.args[k].eval(b, open)
			for i := range took {
				took[i] = open[i] && !when.null(i) && when.Ints[i] != 0
			}
			continue
		}
		if otherwise {
			copy(took, open)
		}
		values[k] = s.args[k].eval(b, took)
		for i, t := range took {
			if t {
				chosen[i], open[i] = int16(k), false
			}
		}
	}
	s.gather(values, chosen, b.n)
	return operand{Vec: &s.out}
}

func evalCoalesce(s *step, b *batch, active []bool) operand {
	first := s.args[0].eval(b, active)
	if first.Valid == nil {
		return first
	}
	s.chose = size(s.chose, b.n)
	chosen := s.chose
	open := s.maskOf(b.n)
	for i := range open {
		open[i] = active == nil || active[i]
		chosen[i] = -1
	}
	values := make([]operand, len(s.args))
	for k := range s.args {
		if values[k] = first; k > 0 {
			values[k] = s.args[k].eval(b, open)
		}
		for i := range open {
			if open[i] && !values[k].null(i) {
				chosen[i], open[i] = int16(k), false
			}
		}
	}
	s.gather(values, chosen, b.n)
	return operand{Vec: &s.out}
}

// gather builds the value of each row from the argument that was chosen for it; none is NULL.
func (s *step) gather(values []operand, chosen []int16, n int) {
	kind := s.n.kind
	resetVec(&s.out, kind, n)
	if kind == list {
		s.out.ListOffs = append(s.out.ListOffs, 0)
	}
	if kind == text || kind == json || kind == list {
		s.out.Offs = append(s.out.Offs, 0)
	}
	for i := range n {
		var v operand
		if k := chosen[i]; k >= 0 {
			v = values[k]
		}
		null := v.Vec == nil || v.null(i)
		if null {
			setNull(&s.out, i)
		}
		s.appendValue(v, i, null)
	}
}

func (s *step) appendValue(v operand, i int, null bool) {
	out := &s.out
	switch s.n.kind {
	case double:
		out.Floats[i] = 0
		if !null {
			out.Floats[i] = v.Floats[i]
		}
	case text, json:
		if !null {
			out.Bytes = append(out.Bytes, v.text(i)...)
		}
		out.Offs = append(out.Offs, int32(len(out.Bytes)))
	case list:
		if !null {
			from, to := v.List(i)
			for e := from; e < to; e++ {
				out.Bytes = append(out.Bytes, v.Text(int(e))...)
				out.Offs = append(out.Offs, int32(len(out.Bytes)))
			}
		}
		out.ListOffs = append(out.ListOffs, int32(len(out.Offs)-1))
	default:
		out.Ints[i] = 0
		if !null {
			out.Ints[i] = v.Ints[i]
		}
	}
}
