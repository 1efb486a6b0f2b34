package e2e

import (
	bigendian "encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/prove"
)

// soon writes a time zone whose day ends at a moment, and returns the environment that knows it as Test/Soon.
func soon(t *testing.T, end time.Time) []string {
	t.Helper()
	offset := -int32(end.Unix() % 86_400)
	if offset < -43_200 {
		offset += 86_400
	}
	file := append([]byte("TZif"), make([]byte, 16)...) // version 1
	for _, n := range []uint32{0, 0, 0, 0, 1, 4} {      // one type, four letters
		file = bigendian.BigEndian.AppendUint32(file, n)
	}
	file = bigendian.BigEndian.AppendUint32(file, uint32(offset))
	file = append(file, 0, 0, 'S', 'O', 'O', 0)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "Test"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "Test", "Soon"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	return []string{"ZONEINFO=" + dir}
}

// A day of a zone in which it ends while the test runs is not complete before everything that was answered by
// then is in the lake and in the live numbers: the batch unit is away over the day's end.
func TestDayLandsOnKafka(t *testing.T) {
	prove.Invariant(t, "D2", prove.Kafka)
	k := startKafka(t)
	project := t.TempDir()
	if r := pinflow(t, project, "init", "."); r.code != 0 {
		t.Fatal(r.stderr)
	}
	edit(t, filepath.Join(project, "streams", "pin.yaml"), "grace: 10m", "grace: 1s")
	edit(t, filepath.Join(project, "metrics", "pins.yaml"), "time_zone: UTC", "time_zone: Test/Soon")
	end := time.Now().Add(15 * time.Second).Truncate(time.Second)
	env := append(k.settings(), soon(t, end)...)
	dir := t.TempDir()
	serve, door := launch(t, "serve", dir, env, "--config", filepath.Join(project, "pinflow.yaml")), launch(t, "collect", dir, env, "--config", filepath.Join(project, "pinflow.yaml"))
	live := launch(t, "live", dir, env, "--config", filepath.Join(project, "pinflow.yaml"))
	batch := launch(t, "batch", dir, env, "--config", filepath.Join(project, "pinflow.yaml"))
	if status, code := door.send("pin", 10); status != 202 {
		t.Fatalf("%d %s", status, code)
	}
	serve.settled("pin", 10)
	batch.stop()
	sent := int64(10)
	for time.Now().Before(end.Add(time.Second)) {
		if status, code := door.send("pin", 5); status != 202 {
			t.Fatalf("%d %s", status, code)
		}
		sent += 5
	}
	// The cut comes with the first mark at end + grace + 35 s; the lake has not what was sent.
	for cut := false; !cut; time.Sleep(50 * time.Millisecond) {
		state, at := serve.day(end)
		if state == "complete" {
			t.Fatalf("the day is complete, and the lake has not what was sent")
		}
		cut = at
		if time.Since(end) > 2*time.Minute {
			t.Fatal("the day was not cut")
		}
	}
	if n := serve.rows("pin"); n != 10 {
		t.Fatalf("the lake has %d rows while batch is away", n)
	}
	batch.run()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		state, _ := serve.day(end)
		if state == "complete" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a minute after batch is back the day is %s", state)
		}
	}
	if n := serve.rows("pin"); n != sent {
		t.Errorf("the day is complete with %d rows in the lake, %d were answered", n, sent)
	}
	if n := livePosition(serve); n != sent {
		t.Errorf("the day is complete with %d records in live, %d were answered", n, sent)
	}
	for _, s := range []*server{door, batch, live, serve} {
		s.stop()
	}
}

// day tells how the day before a moment stands in the zone Test/Soon, and whether its cut is there.
func (s *server) day(end time.Time) (state string, cut bool) {
	s.t.Helper()
	var all struct {
		Days []struct {
			Stream, Zone, State string
			CutAt               *time.Time `json:"cut_at"`
		} `json:"days"`
	}
	s.get("/v1/days?stream=pin", &all)
	for _, d := range all.Days {
		if d.Stream == "pin" && d.Zone == "Test/Soon" && d.CutAt != nil && d.CutAt.Sub(end) > 0 && d.CutAt.Sub(end) < time.Hour {
			return d.State, true
		}
	}
	return "open", false
}

func edit(t *testing.T, name, from, to string) {
	t.Helper()
	text := string(read(t, name))
	if !strings.Contains(text, from) {
		t.Fatalf("%s does not say %q:\n%s", name, from, text)
	}
	if err := os.WriteFile(name, []byte(strings.Replace(text, from, to, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}
