package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/pinflow/pinflow/internal/event"
	"github.com/pinflow/pinflow/internal/metric"
)

// compiled schemas, by kind of file. Compiling checks them against draft-07's own schema.
func compiled(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	out := map[string]*jsonschema.Schema{}
	for kind, text := range Schemas() {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		c := jsonschema.NewCompiler()
		if err := c.AddResource(kind+".json", doc); err != nil {
			t.Fatal(err)
		}
		if out[kind], err = c.Compile(kind + ".json"); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	if len(out) != len(FileKinds) {
		t.Fatalf("%d schemas", len(out))
	}
	return out
}

// plainValue is what an editor sees of a YAML text.
func plainValue(t *testing.T, text []byte) any {
	t.Helper()
	j, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(j))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestBuiltInFilesFollowTheSchemas(t *testing.T) {
	schemas := compiled(t)
	seen := 0
	for name, file := range builtInMap(t) {
		kind := fileKindOf(name)
		if kind == "" {
			continue
		}
		seen++
		if err := schemas[kind].Validate(plainValue(t, file.Data)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range goodProject() {
		if err := schemas[fileKindOf(name)].Validate(plainValue(t, []byte(text))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if seen == 0 {
		t.Error("no files")
	}
}

// What the table refuses, the schema refuses: an editor and `lint` agree.
func TestSchemasRefuseWhatTheTablesRefuse(t *testing.T) {
	schemas := compiled(t)
	names, err := filepath.Glob("testdata/bad/*.bad.yml")
	if err != nil {
		t.Fatal(err)
	}
	beyond := []string{ // found by more than a table: other files, variables, positions, the text itself
		"metrics.no_stream", "metrics.expressions", "metrics.quoted", "metrics.suspect", "pinflow.open", "pinflow.cap", "streams.var", "streams.alias",
		"streams.two_documents", "streams.syntax", "streams.tab", "streams.missing",
	}
	checked := 0
	for _, name := range names {
		base := strings.TrimSuffix(filepath.Base(name), ".bad.yml")
		if slices.Contains(beyond, base) {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		checked++
		kind, _, _ := strings.Cut(base, ".")
		if err := schemas[kind].Validate(plainValue(t, text)); err == nil {
			t.Errorf("%s: the schema takes it", base)
		}
	}
	if checked < 5 {
		t.Errorf("only %d files", checked)
	}
}

// The tables and the types that are decoded into have the same keys.
func TestTablesMatchTypes(t *testing.T) {
	for kind, typ := range map[string]any{
		SettingsFile: Settings{}, StreamFile: event.Stream{}, ViewFile: metric.View{}, DashFile: Dashboard{},
	} {
		compare(t, kind, table(kind), reflect.TypeOf(typ))
	}
}

func compare(t *testing.T, at string, s *shape, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	switch s.kind {
	case list:
		compare(t, at+"[]", s.of, typ.Elem())
		return
	case object:
	default:
		return
	}
	if typ.Kind() != reflect.Struct || typ == reflect.TypeFor[time.Time]() {
		t.Errorf("%s: an object of the table is a %s", at, typ)
		return
	}
	fields := map[string]reflect.Type{}
	for f := range typ.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "-" {
			fields[name] = f.Type
		}
	}
	for _, k := range s.keys {
		ft, ok := fields[k.name]
		if !ok && k.name != "version" {
			t.Errorf("%s.%s: the type has no such field", at, k.name)
			continue
		}
		delete(fields, k.name)
		if ok {
			compare(t, at+"."+k.name, k.shape, ft)
		}
	}
	for name := range fields {
		t.Errorf("%s.%s: the table has no such key", at, name)
	}
}

// The defaults that the tables document are those that the kernel uses.
func TestDefaultsMatchTheKernel(t *testing.T) {
	var s event.Stream
	s.SetDefaults()
	tree := map[string]any{}
	for _, l := range leaves(streamTable(), "") {
		if l.def == "" {
			continue
		}
		v, message := readScalar(l.def, text, l.shape, l.full)
		if message != "" {
			t.Fatal(message)
		}
		put(tree, strings.Split(l.full, "."), v)
	}
	var documented event.Stream
	if err := decode(tree, &documented); err != nil {
		t.Fatal(err)
	}
	a, _ := json.Marshal(s)
	b, _ := json.Marshal(documented)
	if !bytes.Equal(a, b) {
		t.Errorf("the kernel's defaults are %s, the table's %s", a, b)
	}
}
