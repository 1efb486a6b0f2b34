package e2e

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/pinflow/pinflow/internal/prove"
	"github.com/pinflow/pinflow/internal/testbed"
)

// C1, L1, M1, D1: the disk fills up under load, so that the door refuses and the batch unit cannot write.
// When there is room again the same process goes on by itself, and everything accepted is there once.
func TestDiskFillsUp(t *testing.T) {
	disk := smallDisk(t, "256m")
	prove.Invariant(t, "C1 L1 M1 D1", prove.EmbeddedLog, prove.Disk, prove.SQLite)
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 3))
	s := start(t, filepath.Join(disk, "data"))
	door := func(status int) func() bool {
		return func() bool {
			resp, err := http.Get(s.url() + "/readyz")
			if err != nil {
				t.Fatalf("the door is gone: %v\n%s", err, s.tail())
			}
			resp.Body.Close()
			return resp.StatusCode == status
		}
	}
	met := func() int {
		text, err := os.ReadFile(s.out)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Count(string(text), `msg="sealing failed, trying again" unit=batch`)
	}
	truth := assault{rate: 5000, events: 50_000, kills: 2}.run(t, rnd, s, func() {
		before, filler := met(), filepath.Join(disk, "filler")
		fill(t, filler)
		s.until(door(http.StatusServiceUnavailable), "the door still takes events")
		s.until(func() bool { return met() > before }, "the batch unit has not met the full disk")
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
		s.until(door(http.StatusOK), "the door is still shut")
	})
	t.Log(must(t, "verify", "--url", s.url(), "--truth", truth))
	s.stop()
}

// fill writes a file until its disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 64<<10); len(block) > 0; {
		if _, err := f.Write(block); errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
}
