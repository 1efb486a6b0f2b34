package config

import (
	"bytes"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/project"
)

var update = flag.Bool("update", false, "write the expected messages from what the loader says")

// builtInMap is the built-in project as a writable file system.
func builtInMap(t testing.TB) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	files := project.Files()
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(files, name)
		out[name] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write puts files into a fresh folder.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		full := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(full, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// goodProject is a small project without a fault.
func goodProject() map[string]string {
	return map[string]string{
		"pinflow.yaml": "version: 1\n",
		"streams/pin.yaml": `version: 1
name: pin
key: unique_id
fields:
  - {name: category, type: string}
  - {name: follower_count, type: long, null_if: ["User Info Error"], parse: human_number}
  - {name: poster_name, type: string}
`,
		"metrics/pins.yaml": `version: 1
name: pins
stream: pin
dimensions:
  - name: category
measures:
  - {name: posted, agg: count}
  - {name: followers, agg: sum, expr: follower_count}
`,
	}
}

func load(t testing.TB, dir string, env map[string]string, flags ...Flag) (*Project, []Problem) {
	t.Helper()
	if env == nil {
		env = map[string]string{}
	}
	p, problems, err := Load(Options{Dir: dir, Environ: env, Flags: flags})
	if err != nil {
		t.Fatal(err)
	}
	return p, problems
}

func said(t testing.TB, problems []Problem) string {
	t.Helper()
	var b bytes.Buffer
	if err := Format(&b, problems, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGoodProjectHasNoProblems(t *testing.T) {
	p, problems := load(t, write(t, goodProject()), nil)
	if len(problems) > 0 {
		t.Fatal(said(t, problems))
	}
	if len(p.Streams) != 1 || len(p.Views) != 1 || p.Streams[0].Partitions != 2 || p.Streams[0].MaxAge.Hours() != 24*3650 {
		t.Errorf("got %+v", p)
	}
}

func TestBuiltInProjectHasNoProblems(t *testing.T) {
	p, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Streams) == 0 || len(p.Views) == 0 || !p.BuiltIn {
		t.Errorf("got %+v", p)
	}
	dir := t.TempDir()
	p, problems := load(t, dir, nil)
	if len(problems) > 0 {
		t.Fatal(said(t, problems))
	}
	if p.Settings.Data != filepath.Join(dir, "pinflow-data") || p.Chosen("listen") {
		t.Errorf("data %q, listen chosen: %v", p.Settings.Data, p.Chosen("listen"))
	}
}

// Each testdata/bad/KIND.NAME.bad.yml stands in an otherwise good project; the problems are those of
// KIND.NAME.want.
func TestBadFiles(t *testing.T) {
	names, err := filepath.Glob("testdata/bad/*.bad.yml")
	if err != nil || len(names) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			bad, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := goodProject()
			kind, rest, _ := strings.Cut(filepath.Base(name), ".")
			switch kind {
			case SettingsFile:
				files["pinflow.yaml"] = string(bad)
			case StreamFile:
				files = map[string]string{"pinflow.yaml": "version: 1\n", "streams/pin.yaml": string(bad)}
			case ViewFile:
				files["metrics/pins.yaml"] = string(bad)
			default:
				files["dashboards/"+rest] = string(bad)
			}
			_, problems := load(t, write(t, files), map[string]string{"SET_VARIABLE": "unique_id"})
			if Errors(problems) == 0 {
				t.Error("no error")
			}
			got := said(t, problems) + Summary(problems, len(files)) + "\n"
			want := strings.TrimSuffix(name, ".bad.yml") + ".want"
			if *update {
				if err := os.WriteFile(want, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(expected), got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestPrecedenceAndOrigins(t *testing.T) {
	files := goodProject()
	files["pinflow.yaml"] = `version: 1
data: ./here
listen: 127.0.0.1:1
log: {listen: "127.0.0.1:${PORT}", cap: 1GiB, kind: kafka, brokers: [a:9092, b:9092], sasl: {mechanism: plain, username: u, password_file: secret}}
ledger: {dsn: "postgres://me:${PW}@db/x"}
limits: {batch: 7}
`
	files["secret"] = "hunter2\n"
	dir := write(t, files)
	env := map[string]string{"PORT": "77", "PW": "hunter3", "PINFLOW_LISTEN": "127.0.0.1:2", "PINFLOW_LIMITS_BATCH": "8", "PINFLOW_LAKE_S3_SECRET_KEY": "hunter4"}
	p, problems := load(t, dir, env, Flag{Key: "listen", Name: "--listen", Value: "127.0.0.1:3"})
	if len(problems) > 0 {
		t.Fatal(said(t, problems))
	}
	s := p.Settings
	if s.Listen != "127.0.0.1:3" || s.Limits.Batch != 8 || s.Data != filepath.Join(dir, "here") || s.Log.Listen != "127.0.0.1:77" ||
		s.Log.Cap != 1<<30 || s.Log.SASL.Password != "hunter2" || s.Ledger.DSN != "postgres://me:hunter3@db/x" ||
		s.Lake.S3.SecretKey != "hunter4" || s.Lake.Catalog != filepath.Join(dir, "here/lake/catalog.db") || s.Rollback.Hours() != 24 {
		t.Errorf("got %+v", s)
	}
	if diff := cmp.Diff([]string{"a:9092", "b:9092"}, s.Log.Brokers); diff != "" {
		t.Error(diff)
	}
	got := map[string]string{}
	for _, v := range p.Values {
		if strings.Contains(v.Value, "hunter") {
			t.Errorf("%s shows a secret: %s", v.Key, v.Value)
		}
		got[v.Key] = v.Value + " | " + v.Origin
	}
	want := map[string]string{
		"listen":             "127.0.0.1:3 | flag --listen",
		"limits.batch":       "8 | env PINFLOW_LIMITS_BATCH",
		"limits.body":        "10MiB | default",
		"log.cap":            "1GiB | pinflow.yaml:4",
		"log.brokers":        "a:9092,b:9092 | pinflow.yaml:4",
		"log.sasl.password":  "******** | pinflow.yaml:4",
		"ledger.dsn":         "postgres://me:********@db/x | pinflow.yaml:5",
		"lake.s3.secret_key": "******** | env PINFLOW_LAKE_S3_SECRET_KEY",
		"rollback":           "24h | default",
	}
	maps.DeleteFunc(got, func(k, _ string) bool { _, ok := want[k]; return !ok })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if !p.Chosen("listen") || p.Chosen("rollback") {
		t.Error("listen was chosen, rollback was not")
	}
}

func TestFlagsAndVariablesAreCheckedToo(t *testing.T) {
	_, problems := load(t, write(t, goodProject()), map[string]string{"PINFLOW_LIMITS_BODY": "lots", "PINFLOW_LISTN": "x", "PINFLOW_URL": "http://x"},
		Flag{Key: "listen", Name: "--listen", Value: "0.0.0.0:80"}, Flag{Key: "log.listen", Name: "--log-listen", Value: "9092"})
	want := `env PINFLOW_LIMITS_BODY  error  "limits.body" must be a size, not "lots"
        allowed: like 64KiB, 10MiB, 2GiB
env PINFLOW_LISTN  warning  nothing reads this variable: did you mean "PINFLOW_LISTEN"?
flag --log-listen  error  "log.listen": "9092" is not an address
        allowed: host:port, like 127.0.0.1:8080 or :8080
`
	if diff := cmp.Diff(want, said(t, problems)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestSettingsElsewhere(t *testing.T) {
	files := map[string]string{}
	for name, text := range goodProject() {
		files["prod/"+name] = text
	}
	files["prod/streams/pin.yaml"] += "feilds: []\n"
	dir := write(t, files)
	for _, file := range []string{"prod", "prod/pinflow.yaml", filepath.Join(dir, "prod", "pinflow.yaml")} {
		p, problems, err := Load(Options{Dir: dir, File: file, Environ: map[string]string{}})
		if err != nil {
			t.Fatal(err)
		}
		if len(problems) != 1 || problems[0].File != "prod/streams/pin.yaml" || problems[0].Line != 8 {
			t.Errorf("got %+v", problems)
		}
		if p.Settings.Data != filepath.Join(dir, "prod", "pinflow-data") {
			t.Errorf("data %s", p.Settings.Data)
		}
	}
	for _, file := range []string{"nowhere.yaml", "prod/streams/pin.yaml", "prod/streams"} {
		if _, _, err := Load(Options{Dir: dir, File: file, Environ: map[string]string{}}); err == nil {
			t.Errorf("--config %s: no error", file)
		}
	}
}

func TestCommandsFindWhereUpIs(t *testing.T) {
	dir := write(t, goodProject())
	p, _ := load(t, dir, map[string]string{"PINFLOW_LISTEN": ":8181"})
	if got := p.ServerURL(); got != "http://127.0.0.1:8181" {
		t.Errorf("got %s", got)
	}
	if err := os.MkdirAll(p.Settings.Data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Settings.Data, AddressFile), []byte("http://127.0.0.1:8082\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := p.ServerURL(); got != "http://127.0.0.1:8082" {
		t.Errorf("got %s", got)
	}
}

func TestProblemsAsJSON(t *testing.T) {
	var b bytes.Buffer
	if err := FormatJSON(&b, nil); err != nil || b.String() != "[]\n" {
		t.Errorf("got %q, %v", b.String(), err)
	}
	files := goodProject()
	files["streams/pin.yaml"] = "version: 1\nname: pin\nkye: x\n"
	_, problems := load(t, write(t, files), nil)
	b.Reset()
	if err := FormatJSON(&b, problems[:1]); err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "file": "streams/pin.yaml",
    "line": 3,
    "column": 1,
    "severity": "error",
    "message": "unknown key \"kye\": did you mean \"key\"?",
    "allowed": "version, name, topic, partitions, key, event_id, event_time, max_age, max_ahead, grace, dedup, fields",
    "snippet": "kye: x",
    "span": 3
  }
]
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzLoad(f *testing.F) {
	for _, file := range builtInMap(f) {
		f.Add(string(file.Data))
	}
	bad, _ := filepath.Glob("testdata/bad/*.bad.yml")
	for _, name := range bad {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	f.Add("a: &a [*a, *a]\nb: !!binary x\n? {c: d}\n: e\n<<: *a\n")
	fuzzed := []string{"pinflow.yaml", "streams/pin.yaml", "metrics/pins.yaml", "dashboards/growth.yaml"}
	f.Fuzz(func(t *testing.T, src string) {
		files := builtInMap(t)
		for _, name := range fuzzed {
			files[name] = &fstest.MapFile{Data: []byte(src)}
		}
		_, problems, err := Load(Options{Dir: t.TempDir(), Environ: map[string]string{}, BuiltIn: files})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line < 0 || slices.Contains(fuzzed, p.File) && p.Line > strings.Count(src, "\n")+1 {
				t.Errorf("problem without a place or message: %+v", p)
			}
		}
		_ = said(t, problems)
	})
}

// ${VAR} of streams and views goes with their texts: whoever reads them elsewhere has another environment.
// Those of the settings stay.
func TestVarsGoWithTheTexts(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"pinflow.yaml":      "version: 1\nlisten: 127.0.0.1:${PORT}\n",
		"streams/pin.yaml":  "version: 1\nname: pin\nfields: [{name: likes, type: long}]\n",
		"metrics/pins.yaml": "version: 1\nname: pins\nstream: pin\nfilter: likes >= ${LEAST}\nowner: ${OWNER:-nobody}\nmeasures: [{name: n, agg: count}]\n",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, problems, err := Load(Options{Dir: dir, Environ: map[string]string{"PORT": "1", "LEAST": "2", "SECRET": "x"}})
	if err != nil || Errors(problems) > 0 {
		t.Fatal(problems, err)
	}
	if diff := cmp.Diff(map[string]string{"LEAST": "2"}, p.Vars()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	again, problems, err := Texts(p.Texts(), p.Vars())
	if err != nil || Errors(problems) > 0 || again.Views[0].Filter != "likes >= 2" || again.Views[0].Owner != "nobody" {
		t.Errorf("%+v %v %v", again.Views, problems, err)
	}
	if _, problems, _ := Texts(p.Texts(), nil); Errors(problems) != 1 {
		t.Errorf("%v", problems)
	}
}
