package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/expr"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/status"
)

// viewBody is a view as people know it.
type viewBody struct {
	Name        string          `json:"name"`
	DisplayName string          `json:"display_name,omitempty"`
	Description string          `json:"description,omitempty"`
	Owner       string          `json:"owner,omitempty"`
	Stream      string          `json:"stream"`
	TimeZone    string          `json:"time_zone"`
	Grain       string          `json:"grain"`
	Version     string          `json:"version"` // hash of the version that answers
	State       string          `json:"state"`   // serving, or building while there is none that serves
	Dimensions  []dimensionBody `json:"dimensions"`
	Measures    []measureBody   `json:"measures"`
	Definition  json.RawMessage `json:"definition,omitempty"`

	SQL        map[string]string `json:"sql,omitempty"`         // by engine
	KernelOnly []string          `json:"kernel_only,omitempty"` // why there is none

	Audit *status.Audit `json:"audit,omitempty"` // not in lists
}

type dimensionBody struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Description string `json:"description,omitempty"`
	Type        string `json:"type"`
	Unnest      bool   `json:"unnest,omitempty"` // an event counts once under each of its values
}

type measureBody struct {
	Name        string `json:"name"`
	DisplayName string `json:"display_name,omitempty"`
	Description string `json:"description,omitempty"`
	Agg         string `json:"agg"` // count, sum, …, or ratio
	Type        string `json:"type"`
	Format      string `json:"format,omitempty"`
	Unit        string `json:"unit,omitempty"`
	Numerator   string `json:"numerator,omitempty"`
	Denominator string `json:"denominator,omitempty"`
}

type versionBody struct {
	ID         int64           `json:"id"`
	Hash       string          `json:"hash"`
	State      string          `json:"state"`
	Schema     int32           `json:"schema"`
	CreatedAt  time.Time       `json:"created_at"`
	StateAt    time.Time       `json:"state_at"` // since when it is in its state
	Says       []lineBody      `json:"says"`     // the definition in lines, for comparing two
	Definition json.RawMessage `json:"definition"`
}

type lineBody struct {
	Key  string `json:"key"`
	Text string `json:"text"`
}

// viewCache keeps the newest rendering of each view: compiling one takes far longer than telling it.
type viewCache struct {
	mu   sync.Mutex
	made map[string]cachedView
}

type cachedView struct {
	version  int64
	metadata string
	body     viewBody
}

func (a *API) listViews(w http.ResponseWriter, r *http.Request) error {
	snap, err := a.deps.Catalogue.Load(r.Context())
	if err != nil {
		return err
	}
	out := []viewBody{}
	for i := range snap.Views {
		if !sees(w, snap.Views[i].Stream) {
			continue
		}
		b, err := a.views.body(snap, &snap.Views[i])
		if err != nil {
			return err
		}
		if b != nil {
			b.Definition, b.SQL, b.KernelOnly = nil, nil, nil
			out = append(out, *b)
		}
	}
	w.Header().Set("Cache-Control", "no-cache")
	return writeJSON(w, http.StatusOK, map[string]any{"views": out})
}

func (a *API) showView(w http.ResponseWriter, r *http.Request) error {
	snap, v, err := a.findView(w, r)
	if err != nil {
		return err
	}
	b, err := a.views.body(snap, v)
	if err != nil {
		return err
	}
	if b == nil {
		return fault.New(fault.Record, "unknown_view", "the view %q has no version any more", v.Name)
	}
	if b.Audit, err = a.audited(r.Context(), v); err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, b)
}

func (a *API) viewVersions(w http.ResponseWriter, r *http.Request) error {
	_, v, err := a.findView(w, r)
	if err != nil {
		return err
	}
	out := []versionBody{}
	for _, x := range slices.Backward(v.Versions) {
		b := versionBody{x.ID, x.Hash, x.State, x.Schema, x.CreatedAt, x.StateAt, []lineBody{}, x.Definition}
		lines, err := metric.Describe(x.Definition, x.Metadata)
		if err != nil {
			return fmt.Errorf("reading version %d of view %s: %w", x.ID, v.Name, err)
		}
		for _, l := range lines {
			b.Says = append(b.Says, lineBody(l))
		}
		out = append(out, b)
	}
	return writeJSON(w, http.StatusOK, map[string]any{"view": v.Name, "versions": out})
}

func (a *API) findView(w http.ResponseWriter, r *http.Request) (*ledger.Snapshot, *ledger.View, error) {
	snap, err := a.deps.Catalogue.Load(r.Context())
	if err != nil {
		return nil, nil, err
	}
	name := r.PathValue("view")
	for i := range snap.Views {
		if snap.Views[i].Name == name {
			return snap, &snap.Views[i], mayStream(w, snap.Views[i].Stream)
		}
	}
	if limited(w) {
		return nil, nil, hiddenView(name)
	}
	return nil, nil, unknownView(snap, name)
}

// hiddenView names no other view: they are not for everybody.
func hiddenView(name string) error {
	return fault.New(fault.Record, "unknown_view", "there is no view %q", name)
}

// mayView refuses a view of a stream that the request's key is not for.
func (a *API) mayView(w http.ResponseWriter, r *http.Request, name string) error {
	if !limited(w) {
		return nil
	}
	if a.deps.Catalogue == nil {
		return mayStream(w, "")
	}
	snap, err := a.deps.Catalogue.Load(r.Context())
	if err != nil {
		return err
	}
	for i := range snap.Views {
		if snap.Views[i].Name == name {
			return mayStream(w, snap.Views[i].Stream)
		}
	}
	return hiddenView(name)
}

func unknownView(snap *ledger.Snapshot, name string) error {
	names := make([]string, len(snap.Views))
	for i := range snap.Views {
		names[i] = snap.Views[i].Name
	}
	return fault.New(fault.Record, "unknown_view", "there is no view %q", name).WithAdvice("use one of: %s", strings.Join(names, ", "))
}

// body renders the version that answers; nil when there is none.
func (c *viewCache) body(snap *ledger.Snapshot, v *ledger.View) (*viewBody, error) {
	at := answering(v)
	if at == nil {
		return nil, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.made[v.Name]; ok && old.version == at.ID && old.metadata == string(v.Metadata) && old.body.State == at.State {
		b := old.body
		return &b, nil
	}
	b, err := render(snap, v, at)
	if err != nil {
		return nil, fmt.Errorf("reading view %s: %w", v.Name, err)
	}
	if c.made == nil {
		c.made = map[string]cachedView{}
	}
	c.made[v.Name] = cachedView{at.ID, string(v.Metadata), *b}
	return b, nil
}

func answering(v *ledger.View) *ledger.ViewVersion {
	var best *ledger.ViewVersion
	for i := range v.Versions {
		switch x := &v.Versions[i]; x.State {
		case ledger.Serving:
			return x
		case ledger.Building:
			best = x
		}
	}
	return best
}

func render(snap *ledger.Snapshot, v *ledger.View, at *ledger.ViewVersion) (*viewBody, error) {
	schema, err := schemaOf(snap, v.Stream, at.Schema)
	if err != nil {
		return nil, err
	}
	c, err := metric.CompileStored(at.Definition, v.Metadata, schema)
	if err != nil {
		return nil, err
	}
	b := &viewBody{
		Name: v.Name, DisplayName: c.DisplayName, Description: c.Description, Owner: c.Owner, Stream: v.Stream,
		TimeZone: c.Zone.Name(), Grain: c.Grain.String(), Version: at.Hash, State: at.State,
		Dimensions: []dimensionBody{}, Measures: []measureBody{}, Definition: at.Definition,
	}
	for _, d := range c.Dimensions {
		b.Dimensions = append(b.Dimensions, dimensionBody{d.Name, d.DisplayName, d.Description, d.Kind.String(), d.Unnest})
	}
	for _, m := range c.Measures {
		agg := m.Agg
		if m.Ratio() {
			agg = "ratio"
		}
		b.Measures = append(b.Measures, measureBody{m.Name, m.DisplayName, m.Description, agg, m.Kind.String(), m.Format, m.Unit, m.Numerator, m.Denominator})
	}
	if b.KernelOnly = c.KernelOnly(); len(b.KernelOnly) > 0 {
		return b, nil
	}
	b.SQL = map[string]string{}
	for _, d := range []expr.Dialect{expr.DuckDB, expr.Spark} {
		if b.SQL[d.String()], err = c.SQL(d, metric.Rows{Table: "lake." + d.Identifier(v.Stream)}); err != nil {
			b.SQL, b.KernelOnly = nil, []string{err.Error()}
			return b, nil //nolint:nilerr // it is told in the answer
		}
	}
	return b, nil
}

func schemaOf(snap *ledger.Snapshot, stream string, version int32) (*event.Schema, error) {
	for _, s := range snap.Streams {
		if s.Name != stream {
			continue
		}
		for _, sv := range s.Schemas {
			if sv.Version == version {
				return event.Compile(sv.Definition, sv.Version)
			}
		}
	}
	return nil, fault.New(fault.Corrupt, "no_schema", "the ledger has no schema version %d of stream %q", version, stream)
}
