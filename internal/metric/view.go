package metric

// View is a metrics view as it is written: metrics/NAME.yaml. It is plain data; Compile judges it.
// Durations are texts like 10m, 7d, forever.
type View struct {
	Version     int    `json:"version"` // of the file format: 1
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Description string `json:"description,omitempty"`
	Owner       string `json:"owner,omitempty"`

	Stream   string            `json:"stream"`
	Time     string            `json:"time,omitempty"`      // _event_time (default), _received_at or a timestamptz field
	TimeZone string            `json:"time_zone,omitempty"` // IANA name, default UTC
	Grain    string            `json:"grain,omitempty"`     // minute (default) | hour | day
	Keep     map[string]string `json:"keep,omitempty"`      // grain → duration or forever
	Filter   string            `json:"filter,omitempty"`

	Dimensions []Dimension `json:"dimensions,omitempty"`
	Measures   []Measure   `json:"measures"`

	Late     Late      `json:"late,omitzero"`
	Backfill Backfill  `json:"backfill,omitzero"`
	Deadline *Deadline `json:"deadline,omitempty"`
	Tests    []Test    `json:"tests,omitempty"`
}

// Dimension is something to group and filter by.
type Dimension struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Description string `json:"description,omitempty"`
	Expr        string `json:"expr,omitempty"`   // default: the column named Name
	Unnest      bool   `json:"unnest,omitempty"` // Expr is a list; one per view
}

// Measure is one aggregate, or a ratio of two.
type Measure struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Description string `json:"description,omitempty"`
	Format      string `json:"format,omitempty"` // humanize | number | integer | percent | currency | bytes | duration_ms
	Unit        string `json:"unit,omitempty"`

	Type        string   `json:"type,omitempty"`       // aggregate (default) | ratio
	Agg         string   `json:"agg,omitempty"`        // count | sum | min | max | avg | count_distinct_approx | percentile
	Expr        string   `json:"expr,omitempty"`       // of every agg but count, which counts rows without one
	Filter      string   `json:"filter,omitempty"`     // rows it takes, beside the view's filter
	Percentile  *float64 `json:"percentile,omitempty"` // 0 to 1, of agg percentile
	Numerator   string   `json:"numerator,omitempty"`  // measure names, of a ratio
	Denominator string   `json:"denominator,omitempty"`
}

// Late says which late records a view takes.
type Late struct {
	Accept string `json:"accept,omitempty"` // all (default), or the most that received − event time may be
}

// Backfill says where a view's history begins.
type Backfill struct {
	From string `json:"from,omitempty"` // earliest (default) | 2006-01-02 | none
}

// Deadline is when a day of the view has to be complete.
type Deadline struct {
	By       string `json:"by"`                  // 15:04
	TimeZone string `json:"time_zone,omitempty"` // default: the view's
	Warn     string `json:"warn,omitempty"`      // how long before
}

// Test is an example of what the view answers: events in, rows out.
type Test struct {
	Name   string           `json:"name"`
	Events []map[string]any `json:"events"`
	Expect Expect           `json:"expect"`
}

// Expect is the answer that a test expects.
type Expect struct {
	Grain string           `json:"grain,omitempty"` // default: no time, totals
	By    []string         `json:"by,omitempty"`
	Rows  []map[string]any `json:"rows"` // "time", dimensions and measures by name
}

// Problem is one thing wrong with a view, and where: "measures[2].expr".
type Problem struct {
	Path       string
	Offset     int // byte of the text at Path where it begins, 0 otherwise
	Length     int // bytes it spans, 0: unknown
	Message    string
	Suggestion string
	Warning    bool // legal but suspect
}
