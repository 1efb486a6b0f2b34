package config

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// docs/configuration.md is made of the tables; `go test ./internal/config -update` writes it anew.
func TestReferenceIsWhatTheTablesSay(t *testing.T) {
	const name = "../../docs/configuration.md"
	got := reference()
	if *update {
		if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run: go test ./internal/config -update\n%s", diff)
	}
}

func reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration

Made from the tables in ` + "`internal/config/tables.go`" + `, which also drive the checks of ` + "`pinflow lint`" + ` and the JSON
Schemas that ` + "`pinflow init`" + ` writes. Unknown keys are errors. ` + "`${VAR}`" + ` is replaced from the environment
(` + "`${VAR:-default}`, `$${`" + ` for a plain ` + "`${`" + `). Durations are sums like 90s, 10m, 24h, 7d, 2w; sizes like 64KiB, 512MiB, 2GiB.

Settings of pinflow.yaml are taken from the first that has them: flag (` + "`--data`, `--listen`, `--log-listen`" + `), environment
(` + "`PINFLOW_LOG_CAP`" + ` for ` + "`log.cap`" + `), file, default. ` + "`pinflow config show`" + ` prints each with its origin. Secrets come from the
environment or from a file (` + "`…_file`" + `), never from the text. Relative paths start at the file's folder, those of flags
and variables at the working folder.
`)
	for _, k := range []struct{ kind, title string }{
		{SettingsFile, "pinflow.yaml"}, {StreamFile, "streams/NAME.yaml"}, {ViewFile, "metrics/NAME.yaml"}, {DashFile, "dashboards/NAME.yaml"},
	} {
		fmt.Fprintf(&b, "\n## %s\n\n| key | holds | default | |\n|---|---|---|---|\n", k.title)
		rows(&b, table(k.kind), "")
	}
	return b.String()
}

func rows(b *strings.Builder, s *shape, prefix string) {
	escape := strings.NewReplacer("|", `\|`, "<", "&lt;").Replace
	for _, k := range s.expand() {
		holds := kindNames[k.shape.kind]
		inner := k.shape
		for inner.kind == list {
			inner = inner.of
		}
		switch {
		case len(k.shape.words) > 0 && k.shape.kind == word:
			holds = strings.Join(k.shape.words, ", ")
		case len(k.shape.words) > 0:
			holds += " or " + strings.Join(k.shape.words, ", ")
		case k.shape.says != "":
			holds = k.shape.says
		case k.shape.kind == list && inner.kind != object:
			holds = "a list of " + map[kind]string{dict: "mappings", text: "texts", expression: "texts", address: "addresses"}[inner.kind]
		case k.name == "version":
			holds = "1"
		case k.shape.min != nil && k.shape.max != nil:
			holds += fmt.Sprintf(", %s to %s", plain(*k.shape.min), plain(*k.shape.max))
		}
		def := k.def
		if k.required {
			def = "required"
		}
		if def != "" && def != "required" {
			def = "`" + def + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", prefix+k.name, escape(holds), def, escape(k.doc))
		if inner.kind == object {
			mark := "."
			if k.shape.kind == list {
				mark = "[]."
			}
			rows(b, inner, prefix+k.name+mark)
		}
	}
}
