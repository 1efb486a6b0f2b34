package fold

import (
	"fmt"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/metric"
)

// Folder folds batches of rows into the states of one view. It keeps its memory from batch to batch
// and is not safe for concurrent use.
type Folder struct {
	c      *metric.Compiled
	plan   *plan
	clock  *calendar.Clock
	grain  calendar.Grain // of the buckets
	lates  [calendar.Grains]*calendar.Clock
	dicts  []*dict
	groups *groups
	cols   []Column

	// of the batch in hand
	all      bool    // every row counts: rows are all, each once, fates and buckets are not there
	single   bool    // all rows lie in one bucket
	punctual bool    // no row is late for any grain
	bucket   int64   // of all rows
	buckets  []int64 // per row
	fates    []fate  // per row
	errs     []uint8 // per row: expressions that failed
	failed   bool
	rows     []int32 // chosen rows, each once; then, of an unnested dimension, once for each element
	whole    int     // so many are the rows that are there once
	keys     []int64 // their buckets
	vecs     []*column.Vec
	codes    [][]uint32
	ids      []uint32
	gids     []uint32
	inRows   []int32 // of them, those that count
	inGids   []uint32
	inWhole  int     // so many are whole rows
	subRows  []int32 // of them, those that pass a measure's filter
	subGids  []uint32
	values   values
	seen     []uint64 // by code of an element: the last row that had it
	stamp    uint64

	every  []int32 // 0, 1, 2 and so on
	chosen []int32 // memory of rows, when they are not all
	kept   []int32 // of inRows
	gidsOf []uint32
	tuples tuples
}

// fate is what becomes of a row.
type fate uint8

const (
	rowOut     fate = iota // not of this view
	rowIn                  // counted
	rowDropped             // left out by late
	rowFailed              // left out because the filter or the time failed on it
)

// plan is the view's expressions prepared for one schema: each distinct one once.
type plan struct {
	schema *event.Schema
	needs  []bool // columns
	time   int
	event  int
	recv   int
	progs  []*expr.Program
	index  map[string]int
	filter int   // program; -1: none
	dims   []int // programs
	inputs []input
}

// input is a value and a filter that states share.
type input struct {
	expr, filter int // programs; -1: none
	states       []int
	hashes       hashes // of the values, for distinct counts
}

// New returns a folder for the view.
func New(c *metric.Compiled) *Folder {
	f := &Folder{c: c, clock: calendar.NewClock(c.Zone), grain: c.Grain, groups: newGroups(len(c.Dims))}
	for g := range f.lates {
		f.lates[g] = calendar.NewClock(c.Zone)
	}
	for range c.Dims {
		f.dicts = append(f.dicts, newDict())
	}
	f.codes, f.vecs = make([][]uint32, len(c.Dims)), make([]*column.Vec, len(c.Dims))
	for _, s := range c.States {
		f.cols = append(f.cols, Column{Type: TypeOf(s)})
	}
	return f
}

// Coarsen makes a folder that holds nothing fold into buckets of a grain above the view's, of which each is
// made of whole ones of the view's: the states are those that Regroup would make of finer ones. Late rows are
// still counted for every grain of the view.
func (f *Folder) Coarsen(grain calendar.Grain) { f.grain = max(f.grain, grain) }

// Groups is the number of groups held.
func (f *Folder) Groups() int { return f.groups.size() }

// Bytes is about how much memory the states held take.
func (f *Folder) Bytes() int {
	n := f.groups.memory()
	for _, d := range f.dicts {
		n += d.memory()
	}
	for i := range f.cols {
		n += f.cols[i].bytes()
	}
	return n
}

// Reset forgets the states held.
func (f *Folder) Reset() {
	f.groups.reset()
	f.tuples.reset()
	for d := range f.dicts {
		f.dicts[d] = newDict()
	}
	for i := range f.cols {
		f.cols[i].reset()
	}
}

// Take returns the states held as blocks of at most MaxBlock bytes and forgets them.
func (f *Folder) Take() []*States {
	blocks := f.view().Split(MaxBlock, nil)
	f.Reset()
	return blocks
}

// view is the states held as a block that shares memory with the folder.
func (f *Folder) view() *States {
	s := &States{N: f.groups.size(), Buckets: f.groups.buckets, Cols: f.cols}
	for i := range s.Cols {
		s.Cols[i].settle(s.N)
	}
	for d := range f.dicts {
		s.Dims = append(s.Dims, f.dicts[d].dim(f.groups.codes[d]))
	}
	return s
}

// chunkRows is how many rows are worked on at once: few enough for the columns in hand to stay in
// the processor's cache.
const chunkRows = 8192

// Add folds a batch. It fails only if a column that the view reads is not there.
func (f *Folder) Add(rows *event.Rows) error {
	if rows.N == 0 {
		return nil
	}
	if err := f.bind(rows); err != nil {
		return err
	}
	if rows.N <= chunkRows {
		f.add(rows)
		return nil
	}
	part := event.Rows{Schema: rows.Schema, Cols: make([]column.Vec, len(rows.Cols))}
	for from := 0; from < rows.N; from += chunkRows {
		part.N = min(chunkRows, rows.N-from)
		for i := range rows.Cols {
			part.Cols[i] = slice(&rows.Cols[i], from, from+part.N)
		}
		f.add(&part)
	}
	return nil
}

// slice is values [from, to) of a column, sharing its memory.
func slice(v *column.Vec, from, to int) column.Vec {
	out := column.Vec{Kind: v.Kind, Len: to - from, Bytes: v.Bytes, Offs: v.Offs}
	if v.Valid != nil {
		out.Valid = v.Valid[from:to]
	}
	switch v.Kind {
	case column.Double:
		out.Floats = v.Floats[from:to]
	case column.String, column.JSON:
		if v.Codes != nil {
			out.Codes = v.Codes[from:to]
			break
		}
		out.Offs = v.Offs[from : to+1]
	case column.List:
		out.ListOffs = v.ListOffs[from : to+1]
	case column.Long, column.Boolean, column.Timestamptz, column.Date:
		out.Ints = v.Ints[from:to]
	case column.Invalid:
	}
	return out
}

func (f *Folder) add(rows *event.Rows) {
	if f.failed {
		clear(f.errs)
		f.failed = false
	}
	f.judge(rows)
	f.choose()
	if len(f.rows) == 0 {
		return
	}
	f.group(rows)
	for i := range f.plan.inputs {
		f.foldInput(rows, &f.plan.inputs[i])
	}
	f.foldHidden(rows)
}

// bind prepares the expressions for the schema of the rows.
func (f *Folder) bind(rows *event.Rows) error {
	if f.plan == nil || f.plan.schema != rows.Schema {
		f.plan = newPlan(f.c, rows.Schema)
	}
	for i, need := range f.plan.needs {
		if need && rows.Cols[i].Kind == column.Invalid {
			return fmt.Errorf("folding view %s: column %s was not read", f.c.Name, rows.Schema.Columns()[i].Name)
		}
	}
	if f.plan.time < 0 || f.plan.event < 0 || f.plan.recv < 0 {
		return fmt.Errorf("folding view %s: column %s is not of stream %s", f.c.Name, f.c.Time, rows.Schema.Stream.Name)
	}
	return nil
}

func newPlan(c *metric.Compiled, s *event.Schema) *plan {
	p := &plan{
		schema: s, time: s.Index(c.Time), event: s.Index(event.ColumnEventTime), recv: s.Index(event.ColumnReceivedAt),
		index: map[string]int{}, needs: c.Columns(s),
	}
	p.filter = p.add(c.Filter)
	for _, d := range c.Dims {
		p.dims = append(p.dims, p.add(d.Expr))
	}
	for _, x := range c.Inputs() {
		p.inputs = append(p.inputs, input{expr: p.add(x.Expr), filter: p.add(x.Filter), states: x.States})
	}
	return p
}

func (p *plan) add(e *expr.Expr) int {
	if e == nil {
		return -1
	}
	text := e.Canonical()
	i, ok := p.index[text]
	if !ok {
		i = len(p.progs)
		p.index[text] = i
		p.progs = append(p.progs, e.NewProgram(p.schema.Index))
	}
	return i
}

// judge gives every row its bucket and fate, or finds that all rows are alike.
func (f *Folder) judge(rows *event.Rows) {
	p, n := f.plan, rows.N
	when, received := &rows.Cols[p.time], rows.Cols[p.recv].Ints[:n]
	f.all, f.single, f.punctual = false, false, false
	if when.Valid == nil {
		least, most, behind := extent(when.Ints[:n], received)
		f.bucket = f.clock.Start(f.grain, least)
		f.single = f.clock.Start(f.grain, most) == f.bucket // and so of all between
		f.punctual = behind < f.c.Grace
		f.all = p.filter < 0 && f.c.Unnest < 0 && least >= f.c.From && (f.c.Late < 0 || p.time == p.event && behind <= f.c.Late)
	}
	f.buckets = sized(f.buckets, n)
	if f.all {
		if !f.single {
			for i, us := range when.Ints[:n] {
				f.buckets[i] = f.clock.Start(f.grain, us)
			}
		}
		return
	}
	f.judgeEach(when, rows.Cols[p.event].Ints, received)
	if p.filter >= 0 {
		f.filter(rows)
	}
}

// extent is the least and greatest time, and the most that a row was received after it.
func extent(times, received []int64) (least, most, behind int64) {
	least, most, behind = times[0], times[0], received[0]-times[0]
	for i, at := range received[:len(times)] {
		us := times[i]
		least, most, behind = min(least, us), max(most, us), max(behind, at-us)
	}
	return least, most, behind
}

func (f *Folder) judgeEach(when *column.Vec, eventTime, received []int64) {
	n := len(received)
	f.fates = sized(f.fates, n)
	for i := range n {
		f.fates[i] = rowIn
		us := when.Ints[i]
		switch {
		case when.IsNull(i):
			f.fates[i] = rowFailed
			f.fail(i, n)
			us = eventTime[i] // it has no time of the view; its failure is booked where it happened
		case us < f.c.From:
			f.fates[i] = rowOut
		case f.c.Late >= 0 && received[i]-eventTime[i] > f.c.Late:
			f.fates[i] = rowDropped
		}
		if f.single {
			f.buckets[i] = f.bucket
		} else {
			f.buckets[i] = f.clock.Start(f.grain, us)
		}
	}
}

// filter takes out the rows that the view's filter does not let pass.
func (f *Folder) filter(rows *event.Rows) {
	prog, n := f.plan.progs[f.plan.filter], rows.N
	keep := prog.Eval(rows.Cols, n)
	_, bad := prog.Failed()
	for i := range n {
		if f.fates[i] == rowOut || (keep.Ints[i] != 0 && !keep.IsNull(i)) {
			continue
		}
		f.fates[i] = rowOut
		if bad != nil && bad[i] {
			f.fates[i] = rowFailed
			f.fail(i, n)
		}
	}
}

func (f *Folder) fail(i, n int) {
	f.errs = sized(f.errs, n)
	if !f.failed {
		clear(f.errs)
		f.failed = true
	}
	if f.errs[i] < 255 {
		f.errs[i]++
	}
}

// choose lists the rows that get a group.
func (f *Folder) choose() {
	if f.all {
		for i := len(f.every); i < len(f.buckets); i++ {
			f.every = append(f.every, int32(i))
		}
		f.rows, f.keys = f.every[:len(f.buckets)], f.buckets
		return
	}
	f.rows = f.chosen[:0]
	for i, x := range f.fates {
		if x != rowOut {
			f.rows = append(f.rows, int32(i))
		}
	}
	f.chosen = f.rows
	f.keys = sized(f.keys, len(f.rows))
	for k, r := range f.rows {
		f.keys[k] = f.buckets[r]
	}
}

// group gives every chosen row its group.
func (f *Folder) group(rows *event.Rows) {
	f.whole = len(f.rows)
	for d, at := range f.plan.dims {
		if d != f.c.Unnest {
			f.vecs[d] = f.eval(at, rows, f.rows)
		}
	}
	var ids []uint32
	if f.c.Unnest < 0 && f.tuples.fit(f.vecs) {
		f.ids = sized(f.ids, len(f.rows))
		f.byTuple(f.ids)
		ids = f.ids
	} else {
		f.recode(rows)
		ids = f.groups.combos.assign(f.codes, len(f.rows), &f.ids)
	}
	f.gids = sized(f.gids, len(f.rows))
	if f.single {
		f.groups.placeIn(f.bucket, ids, f.gids)
	} else {
		f.groups.place(f.keys, ids, f.gids)
	}
	for i := range f.cols {
		f.cols[i].grow(f.groups.size())
	}
	if f.all {
		f.inRows, f.inGids, f.inWhole = f.rows, f.gids, f.whole
		return
	}
	// from here on rows that are only booked somewhere are left aside
	f.inRows, f.inGids = f.kept[:0], f.gidsOf[:0]
	for k, r := range f.rows {
		if f.fates[r] == rowIn {
			f.inRows, f.inGids = append(f.inRows, r), append(f.inGids, f.gids[k])
		}
		if k == f.whole-1 {
			f.inWhole = len(f.inRows)
		}
	}
	f.kept, f.gidsOf = f.inRows, f.inGids
}

// recode gives every chosen row the codes of its dimensions.
func (f *Folder) recode(rows *event.Rows) {
	for d, v := range f.vecs {
		if d != f.c.Unnest {
			f.codes[d] = sized(f.codes[d], len(f.rows))
			f.dicts[d].codes(v, f.rows, f.codes[d])
		}
	}
	if f.c.Unnest >= 0 {
		f.unnest(f.eval(f.plan.dims[f.c.Unnest], rows, f.rows))
	}
}

// unnest gives every chosen row the mark of whole events, and then adds it once more for each distinct
// element of its list; a list without elements counts once under NULL.
func (f *Folder) unnest(lists *column.Vec) {
	u, whole := f.c.Unnest, f.whole
	mark := f.dicts[u].code([]byte(Whole))
	f.codes[u] = sized(f.codes[u], whole)
	for k := range whole {
		f.codes[u][k] = mark
	}
	for k := range whole {
		r := f.rows[k]
		from, to := lists.List(int(r))
		if from == to || lists.IsNull(int(r)) {
			f.element(k, 0)
			continue
		}
		f.stamp++
		for e := from; e < to; e++ {
			code := f.dicts[u].code(lists.Text(int(e)))
			if int(code) >= len(f.seen) {
				f.seen = append(f.seen, make([]uint64, 2*int(code)+16-len(f.seen))...)
			}
			if f.seen[code] != f.stamp {
				f.seen[code] = f.stamp
				f.element(k, code)
			}
		}
	}
}

// element adds chosen row k under one element.
func (f *Folder) element(k int, code uint32) {
	f.rows, f.keys = append(f.rows, f.rows[k]), append(f.keys, f.keys[k])
	for d := range f.codes {
		if d == f.c.Unnest {
			f.codes[d] = append(f.codes[d], code)
		} else {
			f.codes[d] = append(f.codes[d], f.codes[d][k])
		}
	}
}

// eval runs a program; its failures count for the given rows.
func (f *Folder) eval(prog int, rows *event.Rows, of []int32) *column.Vec {
	p := f.plan.progs[prog]
	v := p.Eval(rows.Cols, rows.N)
	if n, bad := p.Failed(); n > 0 {
		for _, r := range of {
			if bad[r] {
				f.fail(int(r), rows.N)
			}
		}
	}
	return v
}

// foldInput folds one value under one filter into the states that keep something of it.
func (f *Folder) foldInput(rows *event.Rows, x *input) {
	if x.expr < 0 {
		f.countRows(rows, x)
		return
	}
	chosen, gids, whole, all := f.inRows, f.inGids, f.inWhole, f.all
	if x.filter >= 0 {
		keep := f.eval(x.filter, rows, f.inRows[:f.inWhole])
		f.subRows, f.subGids = sized(f.subRows, len(chosen)), sized(f.subGids, len(chosen))
		whole = pass(keep, chosen[:whole], gids, f.subRows, f.subGids)
		n := whole + pass(keep, chosen[f.inWhole:], gids[f.inWhole:], f.subRows[whole:], f.subGids[whole:])
		chosen, gids, all = f.subRows[:n], f.subGids[:n], false
	}
	v := f.eval(x.expr, rows, chosen[:whole])
	f.values.of(v, chosen, gids, all)
	for _, s := range x.states {
		switch c := &f.cols[s]; c.Type {
		case Distinct:
			c.foldDistinct(v, chosen, gids, &x.hashes)
		case Quantile:
			c.foldQuantile(&f.values)
		default:
			c.fold(&f.values, f.c.States[s].Op)
		}
	}
}

// countRows counts rows, or those that pass a filter.
func (f *Folder) countRows(rows *event.Rows, x *input) {
	counts := f.cols[x.states[0]].Ints
	if x.filter < 0 {
		for _, g := range f.inGids {
			counts[g]++
		}
		return
	}
	keep := f.eval(x.filter, rows, f.inRows[:f.inWhole])
	if f.all && keep.Valid == nil {
		for k, one := range keep.Ints[:len(f.inGids)] {
			counts[f.inGids[k]] += one
		}
		return
	}
	for k, r := range f.inRows {
		if keep.Valid == nil || keep.Valid[r] {
			counts[f.inGids[k]] += keep.Ints[r]
		}
	}
}

// pass lists the rows that a filter lets pass, with their groups, and returns how many they are.
func pass(keep *column.Vec, rows []int32, gids []uint32, outRows []int32, outGids []uint32) int {
	n := 0
	for k, r := range rows {
		outRows[n], outGids[n] = r, gids[k]
		if keep.Ints[r] != 0 && (keep.Valid == nil || keep.Valid[r]) {
			n++
		}
	}
	return n
}

// foldHidden counts failures, rows left out and late rows.
func (f *Folder) foldHidden(rows *event.Rows) {
	if f.all && f.punctual && !f.failed {
		return
	}
	errs, drops := f.cols[metric.StateErrors].Ints, f.cols[metric.StateLateDropped].Ints
	received, when := rows.Cols[f.plan.recv].Ints, rows.Cols[f.plan.time].Ints
	for k, r := range f.rows {
		g := f.gids[k]
		if f.failed && f.errs[r] > 0 {
			errs[g] += int64(f.errs[r])
		}
		of := rowIn
		if !f.all {
			of = f.fates[r]
		}
		switch of {
		case rowDropped:
			drops[g]++
		case rowIn:
			since := received[r] - f.c.Grace
			if since < when[r] {
				continue // the common case: not late for any grain
			}
			for grain := f.c.Grain; grain <= calendar.Year; grain++ {
				if since >= f.lates[grain].End(grain, when[r]) {
					f.cols[f.c.LateState(grain)].Ints[g]++
				}
			}
		case rowOut, rowFailed:
		}
	}
}
