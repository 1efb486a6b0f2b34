package app

import (
	"cmp"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/httpapi"
)

// showDashboards has the page draw the project's dashboards from now on.
func (p *parts) showDashboards(project *config.Project) {
	d := dashboards(project)
	p.dashboards.Store(&d)
}

// dashboards are the project's, as the page draws them.
func dashboards(p *config.Project) []httpapi.Dashboard {
	out := make([]httpapi.Dashboard, len(p.Dashboards))
	for i := range p.Dashboards {
		in := &p.Dashboards[i]
		d := httpapi.Dashboard{
			Name: in.Name, DisplayName: in.DisplayName, Description: in.Description,
			Defaults: httpapi.Defaults{From: cmp.Or(in.Defaults.From, "now-7d/d"), To: cmp.Or(in.Defaults.To, "now"), Grain: in.Defaults.Grain},
		}
		for _, row := range in.Rows {
			var r httpapi.DashRow
			for _, x := range row.Panels {
				r.Panels = append(r.Panels, httpapi.DashPanel{
					Measure: x.Measure, Title: x.Title, By: x.By, Chart: cmp.Or(x.Chart, "line"), Top: x.Top, Compare: x.Compare,
					Grain: x.Grain, From: x.From, To: x.To,
				})
			}
			d.Rows = append(d.Rows, r)
		}
		out[i] = d
	}
	return out
}
