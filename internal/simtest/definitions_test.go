package simtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/project"
	"github.com/pinflow/pinflow/internal/prove"
)

// M4, M5, M1: definitions and schemas change in a row under traffic with broken connections, restarts and
// crashes, also of the back-fill. The old version serves all the while; after each switch the new one is
// exact, with history and live, and its coverage has no hole.
func TestDefinitionsChangeUnderFire(t *testing.T) {
	prove.Invariant(t, "M1 M4 M5", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	seeds, changes := 1, 6
	if os.Getenv("PINFLOW_SOAK") != "" {
		seeds, changes = 5, 20
	}
	everySeed(t, seeds, func(w *world) { w.redefine(changes) })
}

// definitions are the texts that plan is sent.
type definitions map[string]string

func builtIn(t *testing.T) definitions {
	d := definitions{}
	err := fs.WalkDir(project.Files(), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || path == "pinflow.yaml" || !strings.HasSuffix(path, ".yaml") || strings.HasPrefix(path, ".") {
			return err
		}
		text, err := fs.ReadFile(project.Files(), path)
		d[path] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (d definitions) replace(t *testing.T, file, before, after string) {
	if !strings.Contains(d[file], before) {
		t.Fatalf("%s has no %q", file, before)
	}
	d[file] = strings.Replace(d[file], before, after, 1)
}

const (
	pinsFile = "metrics/pins.yaml"
	moodView = `version: 1
name: %s
stream: pin
time_zone: %s
dimensions:
  - {name: mood, expr: %s}
measures:
  - {name: n, agg: count}
  - {name: score, agg: sum, expr: %s}
  - {name: posters, agg: count_distinct_approx, expr: poster_name}
`
)

// change makes the k-th change of the definitions and names the view that it is about.
func (w *world) change(d definitions, k int) (view string) {
	switch k % 6 {
	case 0: // a member that no schema declares, in a zone of its own
		name := fmt.Sprintf("moods%d", k)
		d["metrics/"+name+".yaml"] = fmt.Sprintf(moodView, name, "Europe/London", "cast(_extra.mood as string)", "cast(_extra.score as long)")
		return name
	case 1:
		d.replace(w.t, pinsFile, "filter: is_test is not true", fmt.Sprintf("filter: is_test is not true and follower_count <> %d", k))
		return "pins"
	case 2: // fields that are declared now, of members that were there before
		d.replace(w.t, "streams/pin.yaml", "fields:\n", fmt.Sprintf("fields:\n  - {name: mood%d, type: string, from: mood}\n  - {name: score%d, type: long, from: score}\n", k, k))
		name := fmt.Sprintf("declared%d", k)
		d["metrics/"+name+".yaml"] = fmt.Sprintf(moodView, name, "UTC", fmt.Sprintf("mood%d", k), fmt.Sprintf("score%d", k))
		return name
	case 3:
		d.replace(w.t, pinsFile, "measures:\n", fmt.Sprintf("measures:\n  - {name: big%d, agg: count, filter: follower_count > 50000}\n", k))
		return "pins"
	case 4: // the definition is what it was two changes ago
		d.replace(w.t, pinsFile, fmt.Sprintf(" and follower_count <> %d", k-3), "")
		return "pins"
	default:
		zones := [...]string{"UTC", "Europe/London", "Asia/Kolkata", "America/New_York"}
		d.replace(w.t, pinsFile, "time_zone: "+zones[k/6%4], "time_zone: "+zones[(k/6+1)%4])
		return "pins"
	}
}

func (w *world) redefine(changes int) {
	w.start()
	d := builtIn(w.t)
	w.traffic(6)
	switched := 0
	for k := range changes {
		view := w.change(d, k)
		before := w.answering(view)
		id := w.apply(d)
		if id != 0 {
			switched++
		}
		w.build(view, before, id)
		w.quiet()
		w.exact(view)
	}
	w.sky.set(false)
	w.compareLake()
	w.end()
	if switched < changes/2 {
		w.t.Errorf("only %d of %d changes filled in a history", switched, changes)
	}
	w.t.Logf("%d posts, %d accepted, %d changes with a back-fill, faults %v", w.posts, len(w.truth), switched, &w.sky)
}

// traffic posts events for a while, with faults.
func (w *world) traffic(n int) {
	w.sky.set(w.rnd.IntN(3) != 0)
	for range n {
		w.post(1 + w.rnd.IntN(40))
		time.Sleep(time.Duration(w.rnd.Int64N(int64(4 * time.Minute))))
	}
	w.sky.set(false)
}

// quiet sends what is unsure and waits until everything is in the lake and in the numbers.
func (w *world) quiet() {
	for tries := 0; len(w.unsure) > 0; tries++ {
		if tries > 100 {
			w.t.Fatalf("%d events are still not accepted", len(w.unsure))
		}
		batch := w.unsure
		w.unsure = nil
		w.send(batch)
		time.Sleep(time.Second)
	}
	w.settle()
}

func (w *world) ask(path string, body any) (int, []byte) {
	text, err := json.Marshal(body)
	if err != nil {
		w.t.Fatal(err)
	}
	resp, err := w.http.Post(base+path, "application/json", bytes.NewReader(text))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.StatusCode, answer
}

// apply plans and applies, again when the base moved meanwhile, and returns the newest back-fill if it began one.
func (w *world) apply(d definitions) int64 {
	for range 20 {
		status, doc := w.ask("/v1/plan", map[string]any{"files": d})
		if status != http.StatusOK {
			w.t.Fatalf("planning: %d %s", status, doc)
		}
		status, answer := w.ask("/v1/apply", json.RawMessage(doc))
		if status == http.StatusConflict {
			continue
		}
		var done struct{ Backfills []int64 }
		if err := json.Unmarshal(answer, &done); status != http.StatusOK || err != nil {
			w.t.Fatalf("applying: %d %s", status, answer)
		}
		if len(done.Backfills) == 0 {
			return 0
		}
		return done.Backfills[len(done.Backfills)-1]
	}
	w.t.Fatal("the base of the plan always moved")
	return 0
}

// viewState is what the numbers of a view are worth.
type viewState struct {
	version string
	filling bool
	holes   []string
}

// answering asks for all that a view has; nil if there is no such view.
func (w *world) answering(view string) *viewState {
	resp, err := w.http.Get(base + "/v1/query?" + url.Values{
		"view": {view}, "grain": {"day"}, "from": {time.Now().Add(-5 * 24 * time.Hour).UTC().Format(time.DateOnly)},
	}.Encode())
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	if resp.StatusCode == http.StatusNotFound {
		return nil
	}
	var answer struct {
		Meta struct {
			Versions map[string]string
			Coverage []struct{ From, To, Source, Reason string }
		}
	}
	if err := json.Unmarshal(text, &answer); resp.StatusCode != http.StatusOK || err != nil {
		w.t.Fatalf("asking for view %s: %s %s", view, resp.Status, text)
	}
	s := &viewState{version: answer.Meta.Versions[view]}
	for _, c := range answer.Meta.Coverage {
		switch {
		case c.Source == "backfilling":
			s.filling = true
		case c.Source == "missing" && c.Reason != "before the first event":
			s.holes = append(s.holes, fmt.Sprint(c))
		}
	}
	return s
}

// build goes on with traffic, restarts and crashes until the back-fill is done. What served before serves
// until then, whole.
func (w *world) build(view string, before *viewState, id int64) {
	for n := 0; ; n++ {
		if n > 60 {
			w.t.Fatalf("back-fill %d of %s is not done after %d rounds: %s", id, view, n, w.backfill(id))
		}
		state := w.backfill(id)
		now := w.answering(view)
		if now == nil || len(now.holes) > 0 {
			w.t.Fatalf("view %s while its back-fill is %s: %+v", view, state, now)
		}
		switch {
		case state == "done":
			if now.filling {
				w.t.Fatalf("view %s is filled in and says it is not: %+v", view, now)
			}
			return
		case before != nil && (now.version != before.version || now.filling):
			if w.backfill(id) != "done" { // it was a moment ago
				w.t.Fatalf("view %s answered %+v and now %+v, while its back-fill is %s", view, before, now, state)
			}
		}
		w.traffic(1 + w.rnd.IntN(3))
		switch w.rnd.IntN(4) {
		case 0:
			w.crash()
		case 1:
			w.end()
			w.start()
		}
	}
}

// backfill is the state of a back-fill; 0 is done, for there is none.
func (w *world) backfill(id int64) string {
	if id == 0 {
		return "done"
	}
	var b struct {
		State string
		Tasks []struct{ Day, State, Error string }
	}
	w.get(fmt.Sprintf("/v1/backfills/%d", id), &b)
	if b.State == "failed" || b.State == "cancelled" {
		w.t.Fatalf("back-fill %d is %s: %+v", id, b.State, b.Tasks)
	}
	return b.State
}

// exact audits every day that a view has.
func (w *world) exact(view string) {
	var report struct {
		OK          bool
		Rows        int64
		Differences []json.RawMessage
	}
	now := time.Now().UTC()
	q := url.Values{"view": {view}, "from": {now.Add(-5 * 24 * time.Hour).Format(time.DateOnly)}, "to": {now.Add(48 * time.Hour).Format(time.DateOnly)}}
	w.get("/v1/audit?"+q.Encode(), &report)
	if !report.OK || report.Rows == 0 {
		w.t.Fatalf("the audit of %s over %d rows: %s", view, report.Rows, report.Differences)
	}
}
