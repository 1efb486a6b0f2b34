package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/nearest"
)

// Format is that of Document.
const Format = 1

// Document is what plan hands out and apply takes back: the texts it was made of, the epochs it stands on,
// and what would be done. Hash covers all but the estimates.
type Document struct {
	Format  int               `json:"format"`
	Hash    string            `json:"hash"`
	Base    map[string]int64  `json:"base"` // epochs of the streams that change; 0: not there yet
	Only    []string          `json:"only,omitempty"`
	Repair  []string          `json:"repair,omitempty"` // views to be built anew as they are
	Engine  string            `json:"engine,omitempty"` // of the back-fills; "": kernel
	Files   map[string]string `json:"files"`
	Vars    map[string]string `json:"vars,omitempty"` // values of the ${VAR} in them
	Running Running           `json:"running"`
	Changes []Change          `json:"changes"`
}

// Running is what the project was compared with.
type Running struct {
	Views    int    `json:"views"`
	Measures int    `json:"measures"`
	From     string `json:"from,omitempty"` // oldest day of the lake
	Days     int    `json:"days"`
}

// Input is what a document is made of.
type Input struct {
	Project *Project
	Files   map[string]string
	Vars    map[string]string
	Only    []string // views; nil: everything
	Repair  []string
	Engine  string
	Snap    *ledger.Snapshot
	Days    map[string][]lake.DayFiles // by stream
	Speed   Speed
}

// Make makes the document.
func Make(in Input) (*Document, error) {
	changes, err := Compare(in.Project, in.Snap)
	if err != nil {
		return nil, err
	}
	if len(in.Repair) > 0 {
		if changes, err = repairs(in.Repair, in.Snap); err != nil {
			return nil, err
		}
	}
	if FillBy(changes, in.Engine); len(in.Repair) > 0 {
		if err := fillable(changes); err != nil {
			return nil, err
		}
	}
	d := &Document{Format: Format, Base: map[string]int64{}, Only: in.Only, Repair: in.Repair, Engine: in.Engine, Files: in.Files, Vars: in.Vars, Changes: []Change{}}
	if err := d.keep(changes, in); err != nil {
		return nil, err
	}
	for i := range d.Changes {
		c := &d.Changes[i]
		if c.Applies() {
			d.Base[c.Stream] = epochOf(in.Snap, c.Stream)
		}
		if c.fills() {
			c.Backfill = estimate(c, in)
		}
		if c.change != nil && c.change.Definition != nil {
			if c.change.Plan, err = json.Marshal(c); err != nil {
				return nil, fmt.Errorf("writing the plan of view %s: %w", c.View, err)
			}
		}
	}
	d.running(in)
	d.Hash = d.sum()
	return d, nil
}

// keep takes the changes that are asked for: of some views, with what their streams need.
func (d *Document) keep(changes []Change, in Input) error {
	for _, name := range in.Only {
		known := find(in.Project.Views, func(v View) bool { return v.Name == name }) != nil || find(in.Snap.Views, func(v ledger.View) bool { return v.Name == name }) != nil
		if !known {
			names := viewNames(in.Snap)
			for _, v := range in.Project.Views {
				names = append(names, v.Name)
			}
			return advised(fault.New(fault.Record, "unknown_view", "there is no view %q, in the files or running", name), name, names)
		}
	}
	streams := map[string]bool{}
	for _, c := range changes {
		if c.View != "" && slices.Contains(in.Only, c.View) {
			streams[c.Stream] = true
		}
	}
	for _, c := range changes {
		if len(in.Only) == 0 || slices.Contains(in.Only, c.View) || c.View == "" && streams[c.Stream] {
			d.Changes = append(d.Changes, c)
		}
	}
	return nil
}

func viewNames(snap *ledger.Snapshot) []string {
	var names []string
	for _, v := range snap.Views {
		names = append(names, v.Name)
	}
	return names
}

// advised names the one that may have been meant.
func advised(err *fault.Error, name string, names []string) error {
	if near := nearest.Name(name, names); near != "" {
		return err.WithAdvice("did you mean %q?", near)
	}
	return err
}

// repairs build views anew by the definition that serves.
func repairs(names []string, snap *ledger.Snapshot) ([]Change, error) {
	var out []Change
	for i, name := range names {
		if slices.Contains(names[:i], name) {
			continue
		}
		v := find(snap.Views, func(v ledger.View) bool { return v.Name == name })
		serving := version(v, ledger.Serving)
		if serving == nil {
			return nil, advised(fault.New(fault.Record, "unknown_view", "there is no view %q that serves", name), name, viewNames(snap))
		}
		if metric.NoHistory(serving.Metadata) {
			return nil, fault.New(fault.Record, "no_history", "view %s has no history by its definition: backfill.from is none", name).
				WithAdvice("write backfill.from: earliest, or a date, and run pinflow apply").WithExit(fault.ExitConflict)
		}
		compiled, err := compiledUnder(serving, find(snap.Streams, func(s ledger.Stream) bool { return s.Name == v.Stream }))
		if err != nil {
			return nil, fmt.Errorf("compiling view %s: %w", name, err)
		}
		state, detail := ledger.Building, "a repair: built anew by the definition that serves"
		if version(v, ledger.Building) != nil {
			detail += "; " + givenUp
		}
		out = append(out, Change{
			compiled: compiled, Category: Rebuild, Stream: v.Stream, View: name, Serves: true, Detail: detail,
			change: &ledger.ViewChange{
				Name: name, Metadata: serving.Metadata, Shown: v.Metadata, Hash: serving.Hash, Definition: serving.Definition, State: state, Anew: true,
			},
		})
	}
	return out, nil
}

// compiledUnder is a version under the newest schema of its stream; nil of a stream that has none.
func compiledUnder(v *ledger.ViewVersion, s *ledger.Stream) (*metric.Compiled, error) {
	if s == nil || len(s.Schemas) == 0 {
		return nil, nil
	}
	newest := s.Schemas[len(s.Schemas)-1]
	schema, err := event.Compile(newest.Definition, newest.Version)
	if err != nil {
		return nil, err
	}
	return metric.CompileStored(v.Definition, v.Metadata, schema)
}

func (d *Document) running(in Input) {
	var names []string
	for i := range in.Snap.Views {
		v := &in.Snap.Views[i]
		d.Running.Views++
		if serving := version(v, ledger.Serving); serving != nil {
			if lines, err := metric.Describe(serving.Definition, serving.Metadata); err == nil {
				for _, l := range lines {
					if strings.HasPrefix(l.Key, "measures.") {
						d.Running.Measures++
					}
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, days := range in.Days {
		for _, f := range days {
			if !seen[f.Day] {
				seen[f.Day], names = true, append(names, f.Day)
			}
		}
	}
	if d.Running.Days = len(names); len(names) > 0 {
		d.Running.From = slices.Min(names)
	}
}

// sum is the hash of what apply would do.
func (d *Document) sum() string {
	plain := *d
	plain.Hash, plain.Running = "", Running{}
	plain.Changes = slices.Clone(d.Changes)
	for i := range plain.Changes {
		plain.Changes[i].Backfill = nil
	}
	text, err := json.Marshal(plain)
	if err != nil {
		return "" // texts and numbers: cannot fail
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Check refuses a document that was changed, or that another version wrote.
func (d *Document) Check() error {
	switch {
	case d.Format != Format:
		return fault.New(fault.Record, "bad_plan", "the plan has format %d, this server reads %d", d.Format, Format).WithAdvice("run pinflow plan again")
	case d.Hash == "" || d.Hash != d.sum():
		return fault.New(fault.Record, "bad_plan", "the plan is not as it was made: its hash differs").WithAdvice("run pinflow plan again")
	}
	return nil
}

// Stale refuses a document whose base moved, or which would do something else now.
func (d *Document) Stale(now *Document, snap *ledger.Snapshot) error {
	for _, stream := range slices.Sorted(maps.Keys(d.Base)) {
		if at := epochOf(snap, stream); at != d.Base[stream] {
			return fault.New(fault.Stale, "plan_stale", "the catalogue of stream %s moved since the plan (epoch %d, planned on %d)", stream, at, d.Base[stream]).
				WithAdvice("run pinflow plan again").WithExit(fault.ExitConflict)
		}
	}
	if now.Hash != d.Hash {
		return fault.New(fault.Stale, "plan_stale", "the plan would do something else now").
			WithAdvice("run pinflow plan again").WithExit(fault.ExitConflict)
	}
	return nil
}

// Ledger is what applying the document does, on the snapshot that it was checked against.
func (d *Document) Ledger(snap *ledger.Snapshot) []ledger.Change {
	return Compose(d.Changes, snap, false)
}

// NewStreams are the streams that it adds.
func (d *Document) NewStreams() []event.Stream {
	var out []event.Stream
	for i := range d.Changes {
		if c := &d.Changes[i]; c.schema != nil && d.Base[c.Stream] == 0 {
			out = append(out, *c.schema)
		}
	}
	return out
}

// Does tells whether applying it does anything.
func (d *Document) Does() bool {
	return slices.ContainsFunc(d.Changes, func(c Change) bool { return c.Category != Refused })
}

// Refuses counts what the files ask for and cannot have.
func (d *Document) Refuses() int {
	n := 0
	for _, c := range d.Changes {
		if c.Category == Refused && c.File != "" {
			n++
		}
	}
	return n
}
