package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
)

// D1, L1: an import that was killed, and whose file was changed then, is named with its way out; what was taken of it
// stays, is filled in and comes no second time.
func TestImportThatCannotGoOn(t *testing.T) {
	prove.Invariant(t, "L1 D1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	s := start(t, t.TempDir())
	definer := &definer{t: t, s: s, files: filepath.Join(t.TempDir(), "project")}
	must(t, "init", definer.files)
	file, original, before := halfImported(t, s)

	var problem string
	s.until(func() bool {
		var status struct{ Problems []string }
		s.get("/v1/status", &status)
		at := slices.IndexFunc(status.Problems, func(p string) bool { return strings.Contains(p, "--abandon") })
		if at >= 0 {
			problem = status.Problems[at]
		}
		return at >= 0
	}, "the status does not name the import")
	var number int
	_, way, _ := strings.Cut(problem, "pinflow import pin --abandon ")
	if _, err := fmt.Sscan(way, &number); err != nil || !strings.Contains(problem, "the import of "+filepath.Base(file)+" into pin stopped after ") {
		t.Fatalf("%q: %v", problem, err)
	}
	refused(t, 3, []string{"no import of other.jsonl into pin is under way", fmt.Sprintf("%d (%s)", number, filepath.Base(file))},
		"import", "pin", "--data", s.dir, "--abandon", "other.jsonl")
	var got []struct {
		State          string
		Rows, Accepted int64
	}
	out := must(t, "import", "pin", "--data", s.dir, "-o", "json", "--abandon", fmt.Sprint(number))
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got) != 1 || got[0].State != "abandoned" || got[0].Rows == 0 || got[0].Accepted != got[0].Rows {
		t.Fatalf("%v, %s", err, out)
	}
	rows := int64(0)
	for _, d := range inLake(t, s) {
		rows += d.Rows
	}
	if rows != before+got[0].Rows {
		t.Errorf("%d rows in the lake, want %d and %d", rows, before, got[0].Rows)
	}
	var status struct{ Problems []string }
	if s.get("/v1/status", &status); len(status.Problems) > 0 {
		t.Errorf("problems: %q", status.Problems)
	}
	filledIn(t, s)
	definer.exact("pins")

	if err := os.WriteFile(file, original, 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, 4, []string{fmt.Sprintf("its import was abandoned after %d of ", got[0].Rows)}, "import", "pin", "--data", s.dir, file)
	s.stop()
}

// halfImported kills an import when rows are taken of it, and changes the file. It tells the file's name, what it was
// before and how many rows other files have brought: those that were too small, whose imports had ended.
func halfImported(t *testing.T, s *server) (file string, original []byte, others int64) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "pins.jsonl")
	accepted := func() int64 {
		var status struct {
			Streams []struct {
				Name         string
				Conservation struct{ Accepted int64 }
			}
		}
		s.get("/v1/status", &status)
		for _, x := range status.Streams {
			if x.Name == "pin" {
				return x.Conservation.Accepted
			}
		}
		return 0
	}
	var days [7]string
	for i := range days {
		days[i] = time.Now().UTC().AddDate(0, 0, -1-i).Format(time.RFC3339)
	}
	for rows := int64(400_000); ; rows *= 2 {
		var text strings.Builder
		for i := range rows {
			fmt.Fprintf(&text, `{"_event_id":"%d-%d","_received_at":"%s","category":"art","follower_count":%d}`+"\n", rows, i, days[i%7], i%1000)
		}
		original = []byte(text.String())
		if err := os.WriteFile(file, original, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := program(t, "import", "pin", "--data", s.dir, file)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.until(func() bool { return accepted() > others }, "nothing is imported")
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if accepted() < others+rows {
			break
		}
		must(t, "import", "pin", "--data", s.dir, file) // all rows were taken: it only had to end
		others += rows
		t.Logf("an import of %d rows was too fast", rows)
	}
	if err := os.WriteFile(file, append([]byte("{\"category\":\"first\"}\n"), original...), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, original, others
}
