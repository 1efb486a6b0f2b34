package project

import (
	"encoding/json"
	"io/fs"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"github.com/pinflow/pinflow/internal/event"
)

const received = 1_795_000_000_000_000 // 2026-11-18

// stream reads a stream's file without the config package: durations stay at their defaults.
func stream(t *testing.T, name string) *event.Schema {
	t.Helper()
	text, err := fs.ReadFile(Files(), "streams/"+name+".yaml")
	if err != nil {
		t.Fatal(err)
	}
	var tree map[string]any
	if err := yaml.Unmarshal(text, &tree); err != nil {
		t.Fatal(err)
	}
	for _, durations := range []string{"max_age", "max_ahead", "grace", "dedup", "version"} {
		delete(tree, durations)
	}
	text, err = json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	var s event.Stream
	dec := json.NewDecoder(strings.NewReader(string(text)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&s); err != nil {
		t.Fatal(err)
	}
	schema, err := event.Compile(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestDemoRowsAreRowsOfTheBuiltInStreams(t *testing.T) {
	rows, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{"pin": 63, "geo": 63, "user": 98} {
		s := stream(t, name)
		d := s.NewDecoder(nil)
		for _, row := range rows[name] {
			r := event.Record{Value: row.JSON, Received: received}
			if v := d.Append(&r); v.Dead() {
				t.Errorf("%s: %+v", row.JSON, v)
			}
			if row.Index == 0 {
				t.Errorf("%s: no index", row.JSON)
			}
		}
		if d.Rows().N != want {
			t.Errorf("%s: %d rows, want %d", name, d.Rows().N, want)
		}
	}
}

func TestPlaceholdersBecomeNull(t *testing.T) {
	rows, err := Demo()
	if err != nil {
		t.Fatal(err)
	}
	s := stream(t, "pin")
	d := s.NewDecoder(nil)
	for _, row := range rows["pin"] {
		d.Append(&event.Record{Value: row.JSON, Received: received})
	}
	for name, nulls := range map[string]int{
		"title": 2, "description": 3, "poster_name": 2, "follower_count": 2, "tag_list": 3, "image_src": 2,
		"index": 0, "category": 0, "save_location": 0, "downloaded": 0,
	} {
		n := 0
		for i := range d.Rows().N {
			if d.Rows().Cols[s.Index(name)].IsNull(i) {
				n++
			}
		}
		if n != nulls {
			t.Errorf("%s: %d NULL, want %d", name, n, nulls)
		}
	}
}

func TestEveryFileNamesItsSchema(t *testing.T) {
	n := 0
	err := fs.WalkDir(Files(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		n++
		text, err := fs.ReadFile(Files(), path)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(text), "# yaml-language-server: $schema=") {
			t.Errorf("%s: no schema line", path)
		}
		return nil
	})
	if err != nil || n == 0 {
		t.Errorf("%d files: %v", n, err)
	}
}
