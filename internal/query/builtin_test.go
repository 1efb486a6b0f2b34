package query_test

import (
	"testing"

	"github.com/pinflow/pinflow/internal/config"
	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/query"
)

// The examples in the files that `pinflow init` writes hold.
func TestBuiltInExamples(t *testing.T) {
	p, err := config.BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	schemas := map[string]*event.Schema{}
	for _, s := range p.EventStreams() {
		if schemas[s.Name], err = event.Compile(s, 1); err != nil {
			t.Fatal(err)
		}
	}
	ran := 0
	for _, v := range p.MetricViews() {
		c, problems := metric.Compile(v, schemas[v.Stream])
		if c == nil {
			t.Errorf("%s: %+v", v.Name, problems)
			continue
		}
		for _, test := range v.Tests {
			ran++
			for _, problem := range query.RunTest(c, test) {
				t.Errorf("%s: %s: %s", v.Name, test.Name, problem)
			}
		}
	}
	if ran == 0 {
		t.Error("there are no examples")
	}
}
