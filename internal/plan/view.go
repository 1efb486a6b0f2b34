package plan

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/metric"
)

// view compares a view of the files with the version that it is to follow: the one that is built, else the
// one that serves.
func (c *comparer) view(want *View) error {
	change := Change{Stream: want.Stream, View: want.Name, File: want.File, Line: want.Line("name")}
	compiled, problems := metric.Compile(want.View, c.schemas[want.Stream])
	if i := slices.IndexFunc(problems, func(p metric.Problem) bool { return !p.Warning }); i >= 0 || compiled == nil {
		p := metric.Problem{Message: "it cannot be compiled"}
		if i >= 0 {
			p = problems[i]
		}
		change.Category, change.Line, change.Key = Refused, want.Line(p.Path), p.Path
		change.Detail = fmt.Sprintf("it does not fit the schema that runs: %s: %s", p.Path, p.Message)
		c.changes = append(c.changes, change)
		return nil
	}
	have := find(c.snap.Views, func(v ledger.View) bool { return v.Name == want.Name })
	if have != nil && have.Stream != want.Stream {
		change.Category, change.Line = Refused, want.Line("stream")
		change.Detail = fmt.Sprintf("it reads stream %s and cannot move to %s: give it a new name", have.Stream, want.Stream)
		c.changes = append(c.changes, change)
		return nil
	}
	v := &viewDiff{c: c, want: want, compiled: compiled, out: &change}
	v.serving, v.building, v.standby = version(have, ledger.Serving), version(have, ledger.Building), version(have, ledger.Standby)
	differs, err := v.compare()
	if err != nil {
		return fmt.Errorf("comparing view %s: %w", want.Name, err)
	}
	if differs {
		c.changes = append(c.changes, change)
	}
	return nil
}

func version(v *ledger.View, state string) *ledger.ViewVersion {
	if v == nil {
		return nil
	}
	return find(v.Versions, func(vv ledger.ViewVersion) bool { return vv.State == state })
}

const givenUp = "what is being built is given up"

type viewDiff struct {
	c                          *comparer
	want                       *View
	compiled                   *metric.Compiled
	serving, building, standby *ledger.ViewVersion
	out                        *Change
}

// same tells whether a version is what the file asks for.
func (v *viewDiff) same(x *ledger.ViewVersion) bool {
	return x != nil && x.Hash == v.compiled.Hash() && metric.SameHistory(x.Metadata, v.compiled.Metadata())
}

func (v *viewDiff) compare() (bool, error) {
	target := v.building
	if target == nil {
		target = v.serving
	}
	out := v.out
	next := &ledger.ViewChange{Name: v.want.Name, Metadata: v.compiled.Metadata()}
	switch {
	case target == nil:
		out.Category, out.Auto, out.Detail = Add, true, "new view, "+plural(len(v.compiled.Measures), "measure")
		v.define(next)
	case v.same(target) && bytes.Equal(target.Metadata, v.compiled.Metadata()):
		return false, nil
	case v.same(target):
		out.Category, out.Auto = Metadata, true
		keys := v.tell(metric.MetadataDiff(target.Metadata, v.compiled.Metadata()))
		v.at(keys)
		out.Detail = strings.Join(keys, ", ") + ": at once"
	case v.building != nil && v.same(v.serving):
		out.Category, out.Detail = Rebuild, "back to the version that serves: "+givenUp
		next.Keep = true
	default:
		if err := v.rebuild(target, next); err != nil {
			return false, err
		}
	}
	out.change = next
	return true, v.shown(next)
}

// tell adds what goes and what comes, and returns the keys.
func (v *viewDiff) tell(changed []metric.Changed) (keys []string) {
	for _, c := range changed {
		keys = append(keys, c.Key)
		v.out.Diff = append(v.out.Diff, said("- ", c.Key, c.Before)...)
		v.out.Diff = append(v.out.Diff, said("+ ", c.Key, c.After)...)
	}
	return keys
}

// at notes where the first of the keys stands in the file.
func (v *viewDiff) at(keys []string) {
	if len(keys) == 0 {
		return
	}
	v.out.Key = keys[0]
	if line := v.want.Line(v.path(keys[0])); line > 1 { // what is no longer there has no line
		v.out.Line = line
	}
}

func said(sign, key, text string) []string {
	if text == "" {
		return nil
	}
	return []string{sign + key + ": " + text}
}

// define asks for a new version.
func (v *viewDiff) define(next *ledger.ViewChange) {
	next.Hash, next.Definition, next.State = v.compiled.Hash(), v.compiled.Definition(), ledger.Building
	if v.compiled.NoHistory {
		next.State = ledger.Serving
	}
	v.out.Line, v.out.compiled = v.want.Line("name"), v.compiled
}

func (v *viewDiff) rebuild(target *ledger.ViewVersion, next *ledger.ViewChange) error {
	line, out := v.out.Line, v.out
	v.define(next)
	out.Line, out.Category = line, Rebuild
	next.Anew = true
	switch {
	case v.standby != nil && v.same(v.standby):
		out.Detail, next.Anew = "back to the version that stands by: at once", false
	case v.compiled.NoHistory:
		out.Category, out.Detail = Forward, "no history: the new definition counts from now on"
	}
	before, err := metric.Describe(target.Definition, target.Metadata)
	if err != nil {
		return err
	}
	after, err := metric.Describe(v.compiled.Definition(), v.compiled.Metadata())
	if err != nil {
		return err
	}
	keys := v.tell(diffLines(before, after))
	v.at(keys)
	out.Measures = v.affected(keys, before)
	out.Dashboards = v.c.boards(v.want.Name, out.Measures)
	labels := slices.DeleteFunc(metric.LabelsDiff(target.Metadata, v.compiled.Metadata()), func(c metric.Changed) bool { return slices.Contains(keys, c.Key) })
	keys = append(keys, v.tell(labels)...)
	if out.Detail == "" {
		out.Detail = strings.Join(keys, ", ")
		if v.building != nil {
			out.Detail += "; " + givenUp
		}
	}
	out.Serves = v.serving != nil
	return nil
}

// shown is what the view answers to until the new version serves.
func (v *viewDiff) shown(next *ledger.ViewChange) error {
	building := next.State == ledger.Building || next.Definition == nil && v.building != nil && !next.Keep
	if v.serving == nil || !building {
		return nil
	}
	var err error
	next.Shown, err = metric.Pending(v.serving.Metadata, next.Metadata)
	return err
}

// diffLines lists the lines that differ, in the order of the file.
func diffLines(before, after []metric.Line) (changed []metric.Changed) {
	text := func(lines []metric.Line, key string) string {
		if l := find(lines, func(l metric.Line) bool { return l.Key == key }); l != nil {
			return l.Text
		}
		return ""
	}
	for _, l := range append(slices.Clone(after), before...) {
		was, is := text(before, l.Key), text(after, l.Key)
		if was == is || slices.ContainsFunc(changed, func(c metric.Changed) bool { return c.Key == l.Key }) {
			continue
		}
		changed = append(changed, metric.Changed{Key: l.Key, Before: was, After: is})
	}
	return changed
}

// path is where a key stands in the file.
func (v *viewDiff) path(key string) string {
	list, name, named := strings.Cut(key, ".")
	if !named || list != "measures" && list != "dimensions" {
		return key
	}
	name, rest, deeper := strings.Cut(name, ".")
	i := -1
	switch list {
	case "measures":
		i = slices.IndexFunc(v.want.Measures, func(m metric.Measure) bool { return m.Name == name })
	case "dimensions":
		i = slices.IndexFunc(v.want.Dimensions, func(d metric.Dimension) bool { return d.Name == name })
	}
	if i < 0 {
		return list
	}
	if deeper {
		rest = "." + rest
	}
	return fmt.Sprintf("%s[%d]%s", list, i, rest)
}

// affected are the measures whose numbers change: all of them unless only measures differ, and the ratios
// of those that do.
func (v *viewDiff) affected(keys []string, before []metric.Line) []string {
	var some []string
	for _, k := range keys {
		name, ok := strings.CutPrefix(k, "measures.")
		if !ok {
			some = nil
			break
		}
		some = append(some, name)
	}
	var out []string
	for _, m := range v.compiled.Measures {
		of := func(name string) bool { return slices.Contains(some, name) }
		if some == nil || of(m.Name) || m.Ratio() && (of(m.Numerator) || of(m.Denominator)) {
			out = append(out, m.Name)
		}
	}
	for _, l := range before { // and those that go
		name, ok := strings.CutPrefix(l.Key, "measures.")
		if ok && v.compiled.Measure(name) == nil && (some == nil || slices.Contains(some, name)) {
			out = append(out, name)
		}
	}
	return out
}
