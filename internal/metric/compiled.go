package metric

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/column"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/sketch"
)

// Op is what a state keeps of the rows of a group.
type Op uint8

// The ops. Every state merges associatively and commutatively; its start is that of no row.
const (
	OpInvalid     Op = iota
	OpRows           // number of rows
	OpCount          // number of rows whose value is not NULL
	OpSum            // long: 128-bit sum; double: sum and what rounding took from it
	OpMin            // least value
	OpMax            // greatest value
	OpDistinct       // HyperLogLog registers of the values; sketch.HLL
	OpQuantile       // counts of the values by bucket; sketch.Bucket
	OpErrors         // hidden: expressions that failed, per row
	OpLateDropped    // hidden: rows left out by late
	OpLate           // hidden: rows received at or after the end of their bucket of the state's Grain + grace
	OpMagnitude      // never stored: the sum of the absolute values of doubles
)

var opNames = [...]string{"invalid", "rows", "count", "sum", "min", "max", "hll_12_xxh64", "buckets_64", "errors", "late_dropped", "late", "magnitude"}

func (o Op) String() string { return opNames[o] }

// State is one column of states that a view stores.
type State struct {
	Op     Op
	Kind   column.Kind    // of the value; Long for counts
	Expr   *expr.Expr     // nil: rows
	Filter *expr.Expr     // nil: every row of the view
	Grain  calendar.Grain // of OpLate
}

// Positions of the hidden states, which every view has: rows is also what count without a filter reads.
const (
	StateRows        = 0
	StateErrors      = 1
	StateLateDropped = 2
	StateLate        = 3 // of the view's grain; coarser grains follow
)

// StoredDimension is one column of dimension values that a view stores.
type StoredDimension struct {
	Expr   *expr.Expr
	Kind   column.Kind // of the expression; of an unnested one a list
	Unnest bool
}

// NamedDimension is a dimension as people know it.
type NamedDimension struct {
	Name, DisplayName, Description string
	Kind                           column.Kind
	Stored                         int // index into Dims; -1: this version does not have it yet
	Unnest                         bool
}

// NamedMeasure is a measure as people know it.
type NamedMeasure struct {
	Name, DisplayName, Description, Format, Unit string

	Type                   string // aggregate | ratio
	Agg                    string
	Kind                   column.Kind // of its value
	States                 []int       // indices into Compiled.States; nil: this version does not have it yet
	Percentile             float64     // 0 to 1, of percentile
	Numerator, Denominator string
}

// Types of measures.
const (
	typeAggregate = "aggregate"
	typeRatio     = "ratio"
)

// Aggregates that are approximate.
const (
	aggDistinct   = "count_distinct_approx"
	aggPercentile = "percentile"
)

// Approx is the relative error of the measure's values: for distinct counts the standard error, for
// percentiles the greatest; 0 for exact ones.
func (m *NamedMeasure) Approx() float64 {
	switch m.Agg {
	case aggDistinct:
		return sketch.DistinctError
	case aggPercentile:
		return sketch.QuantileError
	}
	return 0
}

// Ratio tells whether the measure divides two others.
func (m *NamedMeasure) Ratio() bool { return m.Type == typeRatio }

// Compiled is a view ready to fold and to query. It is immutable.
type Compiled struct {
	Name, DisplayName, Description, Owner string
	Stream                                string

	Schema *event.Schema
	Time   string
	Zone   *calendar.Zone
	Grain  calendar.Grain
	Filter *expr.Expr
	Dims   []StoredDimension
	Unnest int // the one among Dims that is unnested; -1: none
	States []State
	Late   int64 // microseconds; negative: all
	Grace  int64 // microseconds, of the stream
	From   int64 // rows before it are left out, microseconds

	Dimensions []NamedDimension
	Measures   []NamedMeasure
	Keep       map[calendar.Grain]int64 // microseconds; Forever
	NoHistory  bool
	Deadline   *Deadline
	Tests      []Test

	definition, metadata []byte
	hash                 string
}

const definitionFormat = 1

// definition is what the version's hash covers, as JSON with keys in this order.
type definition struct {
	Format     int               `json:"format"`
	Stream     string            `json:"stream"`
	Time       string            `json:"time"`
	TimeZone   string            `json:"time_zone"`
	Grain      string            `json:"grain"`
	Filter     string            `json:"filter,omitempty"`
	Late       int64             `json:"late_us"`
	Dimensions []dimensionDef    `json:"dimensions,omitempty"`
	States     []stateDef        `json:"states"`
	Fields     map[string]string `json:"fields"`
}

type dimensionDef struct {
	Expr   string `json:"expr"`
	Kind   string `json:"type"`
	Unnest bool   `json:"unnest,omitempty"`
}

type stateDef struct {
	Op     string `json:"op"`
	Expr   string `json:"expr,omitempty"`
	Kind   string `json:"type,omitempty"`
	Filter string `json:"filter,omitempty"`
}

func (s stateDef) key() string { return s.Expr + "\x00" + s.Filter + "\x00" + s.Op }

// metadata is the rest of a view: it changes at once, without a new version.
type metadata struct {
	Format      int              `json:"format"`
	Name        string           `json:"name"`
	DisplayName string           `json:"display_name,omitempty"`
	Description string           `json:"description,omitempty"`
	Owner       string           `json:"owner,omitempty"`
	Dimensions  []dimensionMeta  `json:"dimensions,omitempty"`
	Measures    []measureMeta    `json:"measures"`
	Keep        map[string]int64 `json:"keep_us,omitempty"`
	From        *int64           `json:"from_us,omitempty"`
	NoHistory   bool             `json:"no_history,omitempty"`
	Deadline    *Deadline        `json:"deadline,omitempty"`
	Tests       []Test           `json:"tests,omitempty"`
}

type dimensionMeta struct {
	Name        string       `json:"name"`
	DisplayName string       `json:"display_name,omitempty"`
	Description string       `json:"description,omitempty"`
	Stored      dimensionDef `json:"stored"`
}

type measureMeta struct {
	Name        string     `json:"name"`
	DisplayName string     `json:"display_name,omitempty"`
	Description string     `json:"description,omitempty"`
	Format      string     `json:"format,omitempty"`
	Unit        string     `json:"unit,omitempty"`
	Type        string     `json:"type"`
	Agg         string     `json:"agg,omitempty"`
	Kind        string     `json:"value,omitempty"`
	Percentile  float64    `json:"percentile,omitempty"`
	States      []stateDef `json:"states,omitempty"`
	Numerator   string     `json:"numerator,omitempty"`
	Denominator string     `json:"denominator,omitempty"`
}

// Definition is the canonical, typed definition as JSON: what the hash covers.
func (c *Compiled) Definition() []byte { return c.definition }

// Hash names the definition: two views with the same one compute the same states.
func (c *Compiled) Hash() string { return c.hash }

// Metadata is the rest of the view as JSON.
func (c *Compiled) Metadata() []byte { return c.metadata }

// CompileStored makes a view of what the ledger keeps of it, for one schema version of its stream:
// the one it was typed under, or a newer one. Names in the metadata that this definition does not
// have yet are marked.
func CompileStored(def, meta []byte, s *event.Schema) (*Compiled, error) {
	var d definition
	var m metadata
	if err := strictJSON(def, &d); err != nil {
		return nil, fault.New(fault.Corrupt, "bad_definition", "reading the definition of a view: %w", err)
	}
	if err := strictJSON(meta, &m); err != nil {
		return nil, fault.New(fault.Corrupt, "bad_definition", "reading the metadata of a view: %w", err)
	}
	if d.Format != definitionFormat || m.Format != definitionFormat {
		return nil, fault.New(fault.Config, "newer_definition", "view %s has definition format %d, this binary reads %d",
			m.Name, d.Format, definitionFormat).WithAdvice("run the newer binary")
	}
	return assemble(d, m, s)
}

func strictJSON(data []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	return dec.Decode(into)
}

func assemble(d definition, m metadata, s *event.Schema) (*Compiled, error) {
	zone, err := calendar.Load(d.TimeZone)
	if err != nil {
		return nil, err
	}
	grain, ok := calendar.GrainOf(d.Grain)
	if !ok {
		return nil, fmt.Errorf("unknown grain %q", d.Grain)
	}
	c := &Compiled{
		Name: m.Name, DisplayName: m.DisplayName, Description: m.Description, Owner: m.Owner, Stream: d.Stream,
		Schema: s, Time: d.Time, Zone: zone, Grain: grain, Late: d.Late, Grace: s.Stream.Grace.Microseconds(),
		Unnest: -1, From: -1 << 62, NoHistory: m.NoHistory, Deadline: m.Deadline, Tests: m.Tests,
	}
	if m.From != nil {
		c.From = *m.From
	}
	c.Keep = keepOf(m.Keep, grain)
	for name, kind := range d.Fields {
		if i := s.Index(name); i < 0 || s.Columns()[i].Kind.String() != kind {
			return nil, fmt.Errorf("view %s reads %s of type %s, which stream %s does not have", m.Name, name, kind, d.Stream)
		}
	}
	if err := c.stored(d, expr.Env{Columns: columnsOf(s), Zone: zone}); err != nil {
		return nil, fmt.Errorf("view %s: %w", m.Name, err)
	}
	c.named(d, m)
	if c.definition, err = json.Marshal(d); err != nil {
		return nil, err
	}
	if c.metadata, err = json.Marshal(m); err != nil {
		return nil, err
	}
	sum := sha256.Sum256(c.definition)
	c.hash = hex.EncodeToString(sum[:16])
	return c, nil
}

// keepOf fills in the defaults of UX.md for the grains that the file does not name.
func keepOf(kept map[string]int64, finest calendar.Grain) map[calendar.Grain]int64 {
	const dayUS = 86400 * calendar.Second
	defaults := map[calendar.Grain]int64{calendar.Minute: 7 * dayUS, calendar.Hour: 90 * dayUS, calendar.Day: Forever}
	out := map[calendar.Grain]int64{}
	for _, name := range grains {
		g, _ := calendar.GrainOf(name)
		if g < finest {
			continue
		}
		out[g] = defaults[g]
		if us, ok := kept[name]; ok {
			out[g] = us
		}
	}
	return out
}

func (c *Compiled) stored(d definition, env expr.Env) error {
	optional := func(src string) (*expr.Expr, error) {
		if src == "" {
			return nil, nil
		}
		e, err := expr.Compile(src, env)
		if err != nil {
			return nil, fmt.Errorf("compiling %q: %w", src, err)
		}
		return e, nil
	}
	var err error
	if c.Filter, err = optional(d.Filter); err != nil {
		return err
	}
	for _, x := range d.Dimensions {
		e, err := optional(x.Expr)
		if err != nil {
			return err
		}
		if e == nil || e.Kind().String() != x.Kind {
			return fmt.Errorf("dimension %q is no %s", x.Expr, x.Kind)
		}
		if x.Unnest != (e.Kind() == column.List) || x.Unnest && c.Unnest >= 0 {
			return fmt.Errorf("dimension %q is unnested wrongly", x.Expr)
		}
		if x.Unnest {
			c.Unnest = len(c.Dims)
		}
		c.Dims = append(c.Dims, StoredDimension{Expr: e, Kind: e.Kind(), Unnest: x.Unnest})
	}
	for _, op := range []Op{OpRows, OpErrors, OpLateDropped} {
		c.States = append(c.States, State{Op: op, Kind: column.Long})
	}
	for g := c.Grain; g <= calendar.Year; g++ {
		c.States = append(c.States, State{Op: OpLate, Kind: column.Long, Grain: g})
	}
	for _, x := range d.States {
		st := State{Op: Op(max(0, slices.Index(opNames[:], x.Op))), Kind: column.Long}
		if st.Op < OpRows || st.Op > OpQuantile {
			return fmt.Errorf("unknown state %q", x.Op)
		}
		if st.Expr, err = optional(x.Expr); err != nil {
			return err
		}
		if st.Filter, err = optional(x.Filter); err != nil {
			return err
		}
		if (st.Expr == nil) != (st.Op == OpRows) {
			return fmt.Errorf("state %q without its expression", x.Op)
		}
		if st.Op >= OpSum {
			st.Kind = st.Expr.Kind()
		}
		c.States = append(c.States, st)
	}
	return nil
}

// LateState returns the hidden state that counts late rows of a grain.
func (c *Compiled) LateState(g calendar.Grain) int { return StateLate + int(max(g, c.Grain)-c.Grain) }

func (c *Compiled) named(d definition, m metadata) {
	for _, x := range m.Dimensions {
		n := NamedDimension{
			Name: x.Name, DisplayName: x.DisplayName, Description: x.Description, Unnest: x.Stored.Unnest,
			Kind: column.KindOf(x.Stored.Kind), Stored: slices.Index(d.Dimensions, x.Stored),
		}
		if n.Unnest { // its values are the elements
			n.Kind = column.String
		}
		c.Dimensions = append(c.Dimensions, n)
	}
	hidden := len(c.States) - len(d.States)
	for _, x := range m.Measures {
		n := NamedMeasure{
			Name: x.Name, DisplayName: x.DisplayName, Description: x.Description, Format: x.Format, Unit: x.Unit,
			Type: x.Type, Agg: x.Agg, Kind: column.KindOf(x.Kind), Numerator: x.Numerator, Denominator: x.Denominator,
			Percentile: x.Percentile,
		}
		for _, s := range x.States {
			at := slices.Index(d.States, s)
			if at < 0 && s == (stateDef{Op: OpRows.String()}) {
				at = -hidden + StateRows
			} else if at < 0 {
				n.States = nil
				break
			}
			n.States = append(n.States, hidden+at)
		}
		if n.Ratio() {
			n.Kind = column.Double
		}
		c.Measures = append(c.Measures, n)
	}
}

// Columns tells which columns of a schema's rows the view reads.
func (c *Compiled) Columns(s *event.Schema) []bool {
	out := make([]bool, len(s.Columns()))
	need := func(name string) {
		if i := s.Index(name); i >= 0 {
			out[i] = true
		}
	}
	of := func(e *expr.Expr) {
		if e == nil {
			return
		}
		for _, x := range e.Columns() {
			need(x.Name)
		}
	}
	need(c.Time)
	need(event.ColumnEventTime)
	need(event.ColumnReceivedAt)
	of(c.Filter)
	for _, d := range c.Dims {
		of(d.Expr)
	}
	for _, st := range c.States {
		of(st.Expr)
		of(st.Filter)
	}
	return out
}

// Measure finds a measure by name, nil if there is none.
func (c *Compiled) Measure(name string) *NamedMeasure {
	for i := range c.Measures {
		if c.Measures[i].Name == name {
			return &c.Measures[i]
		}
	}
	return nil
}

// Dimension finds a dimension by name, nil if there is none.
func (c *Compiled) Dimension(name string) *NamedDimension {
	for i := range c.Dimensions {
		if c.Dimensions[i].Name == name {
			return &c.Dimensions[i]
		}
	}
	return nil
}
