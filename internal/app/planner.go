package app

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/httpapi"
	lakedef "github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/plan"
)

// planner makes plans. It holds nothing that writes.
type planner struct {
	led interface {
		Load(ctx context.Context) (*ledger.Snapshot, error)
		Backfills(ctx context.Context, id int64) ([]ledger.Backfill, error)
	}
	lake interface {
		Days(ctx context.Context, table string) ([]lakedef.DayFiles, error)
	}
	engine string // of back-fills that nobody says another one of; "": the kernel
}

// request is what a plan is asked of.
type request struct {
	files, vars  map[string]string
	only, repair []string
	engine       string
}

var _ httpapi.Planner = (*planner)(nil)

// Plan compares texts with what runs.
func (p *planner) Plan(ctx context.Context, r httpapi.PlanRequest) (*plan.Document, error) {
	if err := p.engineOK(r.Engine); err != nil {
		return nil, err
	}
	ask := request{r.Files, r.Vars, r.Views, r.Repair, r.Engine}
	if len(r.Repair) > 0 {
		return p.document(ctx, &plan.Project{}, ask)
	}
	project, err := projectOf(r.Files, r.Vars)
	if err != nil {
		return nil, err
	}
	return p.document(ctx, project, ask)
}

// engineOK refuses an engine that this project's workers do not have.
func (p *planner) engineOK(engine string) error {
	switch {
	case engine == "" || engine == ledger.EngineKernel || engine == p.engine:
		return nil
	case engine == ledger.EngineSpark:
		return fault.New(fault.Record, "no_engine", "this server's project has no engine spark: its workers would leave the back-fill alone").
			WithAdvice("set backfill.engine: spark in pinflow.yaml of the server and of the workers; histories that the kernel is to fill in then take --engine kernel")
	}
	return fault.New(fault.Record, "unknown_engine", "there is no back-fill engine %q in this version", engine).WithAdvice("kernel or spark")
}

// projectOf reads a project of texts; what is wrong with it is the asker's.
func projectOf(files, vars map[string]string) (*plan.Project, error) {
	project, problems, err := config.Texts(files, vars)
	if err != nil {
		return nil, err
	}
	if config.Errors(problems) == 0 {
		return planned(project), nil
	}
	out := &httpapi.Problem{Status: http.StatusUnprocessableEntity, Code: "invalid_config", Detail: "the files have errors: " + config.Summary(problems, len(files))}
	for _, x := range problems {
		if x.Severity == config.SeverityError {
			out.Errors = append(out.Errors, httpapi.ProblemError{Path: x.File, Line: x.Line, Message: x.Message, Suggestion: x.Allowed})
		}
	}
	return nil, out
}

func (p *planner) document(ctx context.Context, project *plan.Project, r request) (*plan.Document, error) {
	snap, err := p.led.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	return p.compare(ctx, project, r, snap)
}

// compare makes the document, with what the lake holds if something has to be filled in.
func (p *planner) compare(ctx context.Context, project *plan.Project, r request, snap *ledger.Snapshot) (*plan.Document, error) {
	in := plan.Input{Project: project, Files: r.files, Vars: r.vars, Only: r.only, Repair: r.repair, Engine: cmp.Or(r.engine, p.engine), Snap: snap}
	doc, err := plan.Make(in)
	if err != nil || len(doc.Changes) == 0 {
		return doc, err
	}
	in.Days = map[string][]lakedef.DayFiles{}
	for _, s := range snap.Streams {
		days, err := p.lake.Days(ctx, s.Name)
		if err != nil && fault.CodeOf(err) != "no_table" {
			return nil, fmt.Errorf("listing the days of table %s: %w", s.Name, err)
		}
		in.Days[s.Name] = days
	}
	all, err := p.led.Backfills(ctx, 0)
	if err != nil {
		return nil, err
	}
	in.Speed = plan.SpeedOf(all, in.Engine)
	return plan.Make(in)
}

// applier applies plans.
type applier struct {
	planner
	bringer
}

var _ httpapi.Applier = (*applier)(nil)

// Apply does exactly what the document says, or nothing.
func (a *applier) Apply(ctx context.Context, d *plan.Document) (*httpapi.Applied, error) {
	if err := d.Check(); err != nil {
		return nil, err
	}
	snap, err := a.planner.led.Load(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading the catalogue: %w", err)
	}
	if err := a.engineOK(d.Engine); err != nil {
		return nil, err
	}
	project := &plan.Project{}
	if len(d.Repair) == 0 {
		if project, err = projectOf(d.Files, d.Vars); err != nil {
			return nil, err
		}
	}
	now, err := a.compare(ctx, project, request{d.Files, d.Vars, d.Only, d.Repair, d.Engine}, snap)
	if err != nil {
		return nil, err
	}
	if err := d.Stale(now, snap); err != nil {
		return nil, err
	}
	if err := a.bringer.led.Apply(ctx, now.Ledger(snap)...); err != nil {
		return nil, fmt.Errorf("applying a plan: %w", err)
	}
	for _, c := range now.Changes {
		a.log.Info("applied", "change", c.Category, "stream", c.Stream, "view", c.View, "detail", c.Detail)
	}
	// A new stream needs its topics and table, more partitions a larger topic.
	if slices.ContainsFunc(now.Changes, func(c plan.Change) bool { return c.Category == plan.Schema }) {
		if snap, err = a.bringer.led.Load(ctx); err != nil {
			return nil, fmt.Errorf("reading the catalogue: %w", err)
		}
		if err := a.prepare(ctx, snap); err != nil {
			return nil, err
		}
	}
	return a.applied(ctx, now)
}

// applied names the back-fills that began.
func (a *applier) applied(ctx context.Context, d *plan.Document) (*httpapi.Applied, error) {
	out := &httpapi.Applied{Changes: d.Changes, Backfills: []int64{}}
	all, err := a.planner.led.Backfills(ctx, 0)
	if err != nil {
		return nil, err
	}
	for _, c := range d.Changes {
		i := slices.IndexFunc(all, func(b ledger.Backfill) bool { return b.View == c.View && b.VersionIs == ledger.Building && b.Log == 0 })
		if c.Backfill != nil && i >= 0 {
			out.Backfills = append(out.Backfills, all[i].ID)
		}
	}
	return out, nil
}

// planned is a project as plans see it.
func planned(p *config.Project) *plan.Project {
	out := &plan.Project{}
	line := func(file string) func(string) int { return func(path string) int { return p.Line(file, path) } }
	for i := range p.Streams {
		s := &p.Streams[i]
		out.Streams = append(out.Streams, plan.Stream{Stream: s.Stream, File: s.File, Line: line(s.File)})
	}
	for i := range p.Views {
		v := &p.Views[i]
		out.Views = append(out.Views, plan.View{View: v.View, File: v.File, Line: line(v.File)})
	}
	for _, d := range p.Dashboards {
		b := plan.Board{Name: d.Name}
		for _, r := range d.Rows {
			for _, x := range r.Panels {
				b.Measures = append(b.Measures, x.Measure)
			}
		}
		out.Boards = append(out.Boards, b)
	}
	return out
}

// Reloading is how a process hears that the project's files changed, and reads them.
type Reloading struct {
	Reload <-chan struct{}
	Load   func() (*config.Project, error)
}

// reload brings the project's files in again whenever it is told to. A project with faults changes
// nothing.
func (p *parts) reload(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.cfg.Reload:
		}
		project, err := p.cfg.Load()
		if err == nil {
			var snap *ledger.Snapshot
			if snap, err = p.ledger.Load(ctx); err == nil {
				err = p.bringer().bring(ctx, project, snap)
			}
			if err == nil {
				p.showDashboards(project)
			}
		}
		switch {
		case err == nil:
			p.log.Info("read the project's files again")
		case ctx.Err() == nil:
			p.log.Error("the project's files were not taken in", "error", err)
		}
	}
}
