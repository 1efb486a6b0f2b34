package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/project"
)

// Options say where a project is and what was given on the command line.
type Options struct {
	Dir     string            // working folder; "": the process's
	File    string            // --config; "": pinflow.yaml in the working folder, else the built-in project
	Flags   []Flag            // settings given as flags
	Environ map[string]string // nil: the process's environment
	BuiltIn fs.FS             // nil: the project that comes with pinflow
}

// loader reads one project and gathers what is wrong with it.
type loader struct {
	opts     Options
	dir      string // working folder, absolute
	root     string // folder of the project, absolute
	files    fs.FS
	builtIn  bool
	env      map[string]string
	docs     []*source
	raw      map[string]string // texts read, by their name in the project
	vars     map[string]string // variables that streams, views and dashboards are made of
	problems []Problem         // that belong to no document
}

// source is one file with what came out of it.
type source struct {
	kind    string
	doc     *walker
	checked map[string]any
}

// Environ is the process's environment. Only config reads it.
func Environ() map[string]string {
	env := map[string]string{}
	for _, kv := range os.Environ() {
		if k, v, ok := strings.Cut(kv, "="); ok && k != "" {
			env[k] = v
		}
	}
	return env
}

// Load reads a project: files, environment and flags. It returns everything that is wrong with it at
// once; a project with errors among its problems is not to be run. The error is for what is no
// content of a file: a folder that cannot be read, a --config that is not there.
func Load(opts Options) (*Project, []Problem, error) {
	l := &loader{opts: opts, env: opts.Environ}
	if l.env == nil {
		l.env = Environ()
	}
	if err := l.locate(); err != nil {
		return nil, nil, err
	}
	if err := l.read(); err != nil {
		return nil, nil, err
	}
	p := l.assemble()
	l.unknownVariables()
	problems := l.problems
	for _, s := range l.docs {
		problems = append(problems, s.doc.problems...)
	}
	return p, tidy(problems), nil
}

// Texts reads streams, views and dashboards from texts by name, as "metrics/pins.yaml": what somebody else's
// files say, with their ${VAR}. Their settings and our environment are not looked at.
func Texts(texts, vars map[string]string) (*Project, []Problem, error) {
	l := &loader{env: vars, builtIn: true, raw: texts}
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		k := fileKindOf(name)
		if k == "" || k == SettingsFile {
			return nil, nil, fault.New(fault.Record, "unknown_file", "%q is no file of a project", name).
				WithAdvice("name it like streams/pin.yaml, metrics/pins.yaml or dashboards/growth.yaml")
		}
		l.docs = append(l.docs, l.parse(name, k, []byte(texts[name])))
	}
	p := l.assemble()
	problems := slices.DeleteFunc(l.problems, func(p Problem) bool { return p.File == SettingsFile+".yaml" })
	for _, s := range l.docs {
		problems = append(problems, s.doc.problems...)
	}
	return p, tidy(problems), nil
}

// BuiltIn is the project that is used where there is no pinflow.yaml, whatever the environment says.
func BuiltIn() (*Project, error) {
	dir, err := filepath.Abs(".")
	if err != nil {
		return nil, fmt.Errorf("finding the working folder: %w", err)
	}
	l := &loader{env: map[string]string{}, builtIn: true, files: project.Files(), dir: dir, root: dir}
	if err := l.read(); err != nil {
		return nil, err
	}
	p := l.assemble()
	for _, s := range l.docs {
		l.problems = append(l.problems, s.doc.problems...)
	}
	return p, Err(l.problems)
}

// assemble makes the project of the files read, and checks what lies between them.
func (l *loader) assemble() *Project {
	p := &Project{Root: l.root, BuiltIn: l.builtIn, texts: l.raw, vars: l.vars, docs: map[string]*document{}}
	for _, s := range l.docs {
		p.Files = append(p.Files, s.doc.name)
		p.docs[s.doc.name] = s.doc.document
	}
	l.settings(p)
	l.decode(p)
	l.cross(p)
	for _, s := range l.docs {
		s.doc.hide()
	}
	return p
}

// locate finds the project's folder.
func (l *loader) locate() error {
	dir, err := filepath.Abs(l.opts.Dir)
	if err != nil {
		return fmt.Errorf("finding the working folder: %w", err)
	}
	l.dir, l.root = dir, dir
	file := l.opts.File
	if file == "" {
		file = l.env["PINFLOW_CONFIG"]
	}
	if file == "" {
		if _, err := os.Stat(filepath.Join(dir, SettingsFile+".yaml")); err == nil || !errors.Is(err, fs.ErrNotExist) {
			l.files = os.DirFS(dir)
			return nil
		}
		l.builtIn, l.files = true, l.opts.BuiltIn
		if l.files == nil {
			l.files = project.Files()
		}
		return nil
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(dir, file)
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return fault.New(fault.Config, "no_config", "reading the project: %w", err).
			WithAdvice("name an existing pinflow.yaml with --config, or write one with: pinflow init")
	case info.IsDir():
		file = filepath.Join(file, SettingsFile+".yaml")
		if _, err := os.Stat(file); err != nil {
			return fault.New(fault.Config, "no_config", "reading the project: %w", err).WithAdvice("write one with: pinflow init")
		}
	case filepath.Base(file) != SettingsFile+".yaml":
		return fault.New(fault.Config, "no_config", "%s is not a %s.yaml", l.opts.File, SettingsFile).
			WithAdvice("keep each project in a folder of its own, with a %s.yaml", SettingsFile)
	}
	l.root = filepath.Dir(file)
	l.files = os.DirFS(l.root)
	return nil
}

// read parses and checks every file of the project against its table.
func (l *loader) read() error {
	l.raw = map[string]string{}
	names := []string{SettingsFile + ".yaml"}
	for _, k := range FileKinds[1:] {
		entries, err := fs.ReadDir(l.files, k)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fault.New(fault.Config, "unreadable", "reading the project: %w", err)
		}
		for _, e := range entries {
			if !e.IsDir() && isYAML(e.Name()) {
				names = append(names, path.Join(k, e.Name()))
			}
		}
	}
	for _, name := range names {
		text, err := fs.ReadFile(l.files, name)
		if err != nil && l.builtIn && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fault.New(fault.Config, "unreadable", "reading the project: %w", err)
		}
		l.docs = append(l.docs, l.parse(l.display(name), fileKindOf(name), text))
		l.raw[name] = string(text)
	}
	return nil
}

func (l *loader) parse(name, fileKind string, text []byte) *source {
	checked, w := parse(name, text).check(table(fileKind), func(v string) (string, bool) {
		s, ok := l.env[v]
		if ok && fileKind != SettingsFile {
			if l.vars == nil {
				l.vars = map[string]string{}
			}
			l.vars[v] = s
		}
		return s, ok
	})
	return &source{kind: fileKind, doc: w, checked: checked}
}

// display names a file the way the user sees it from the working folder.
func (l *loader) display(name string) string {
	if l.builtIn {
		return name
	}
	full := filepath.Join(l.root, filepath.FromSlash(name))
	if rel, err := filepath.Rel(l.dir, full); err == nil && !strings.HasPrefix(rel, "..") {
		return filepath.ToSlash(rel)
	}
	return full
}

func (l *loader) problem(file, message, allowed string) {
	l.problems = append(l.problems, Problem{File: file, Severity: SeverityError, Message: clip(message, maxMessage), Allowed: allowed})
}

// settings resolves pinflow.yaml, the environment and the flags.
func (l *loader) settings(p *Project) {
	r := &resolver{l: l, builtIn: l.builtIn, values: map[string]any{}, origins: map[string]string{}}
	if s := l.of(SettingsFile); len(s) > 0 {
		r.file, r.doc = s[0].checked, s[0].doc
	}
	p.Settings, p.Values = r.resolve()
}

// of lists the sources of one kind.
func (l *loader) of(fileKind string) []*source {
	return slices.DeleteFunc(slices.Clone(l.docs), func(s *source) bool { return s.kind != fileKind })
}

// decode makes the typed values. A file with no tree gives none.
func (l *loader) decode(p *Project) {
	for _, s := range l.docs {
		if s.checked == nil {
			continue
		}
		var err error
		switch s.kind {
		case StreamFile:
			delete(s.checked, "version")
			v := Stream{File: s.doc.name}
			err = decode(s.checked, &v.Stream)
			v.SetDefaults()
			p.Streams = append(p.Streams, v)
		case ViewFile:
			v := View{File: s.doc.name}
			err = decode(s.checked, &v.View)
			for i := range v.Tests {
				v.TestLines = append(v.TestLines, s.doc.find(fmt.Sprintf("tests[%d]", i)).line)
			}
			p.Views = append(p.Views, v)
		case DashFile:
			delete(s.checked, "version")
			v := Dashboard{File: s.doc.name}
			err = decode(s.checked, &v)
			p.Dashboards = append(p.Dashboards, v)
		}
		if err != nil {
			s.doc.add("", s.doc.find(""), err.Error(), "")
		}
	}
}
