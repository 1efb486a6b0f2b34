package config

import (
	"slices"
	"strings"
	"testing"
)

// A view that Spark cannot fill in is warned of where Spark does it, and no fault: the kernel may have.
func TestViewsForSpark(t *testing.T) {
	files := goodProject()
	files["metrics/deep.yaml"] = "version: 1\nname: deep\nstream: pin\nmeasures:\n  - {name: depth, agg: sum, expr: cast(_extra.depth as long)}\n"
	for engine, want := range map[string]bool{EngineKernel: false, EngineSpark: true} {
		p, problems := load(t, write(t, files), nil, Flag{Key: "backfill.engine", Name: "--backfill-engine", Value: engine})
		warned := slices.ContainsFunc(problems, func(x Problem) bool {
			return x.File == "metrics/deep.yaml" && x.Severity == SeverityWarning && x.Line == 2 && strings.Contains(x.Message, "only the kernel has")
		})
		if warned != want || Errors(problems) > 0 || p.Settings.Backfill.Engine != engine {
			t.Errorf("%s: %s", engine, said(t, problems))
		}
		if n := len(problems); !want && n > 0 || n > 1 {
			t.Errorf("%s: %s", engine, said(t, problems))
		}
	}
}

// Lists of settings come from the environment, too.
func TestSparkFromTheEnvironment(t *testing.T) {
	p, problems := load(t, write(t, goodProject()), map[string]string{
		"PINFLOW_BACKFILL_SPARK_CONF": "spark.executor.memory=8g, spark.executor.cores=4", "PINFLOW_BACKFILL_SPARK_JARS": "/a.jar,https://host/b.jar",
	})
	s := p.Settings.Backfill.Spark
	if len(problems) > 0 || !slices.Equal(s.Conf, []string{"spark.executor.memory=8g", "spark.executor.cores=4"}) || !slices.Equal(s.Jars, []string{"/a.jar", "https://host/b.jar"}) {
		t.Errorf("%+v %s", s, said(t, problems))
	}
	if s.Submit != "spark-submit" || s.Master != "local[*]" {
		t.Errorf("%+v", s)
	}
}
