package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/testbed"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) role(name string, drain time.Duration, err error) role {
	return role{name, func(ctx context.Context) error {
		<-ctx.Done()
		time.Sleep(drain)
		j.mu.Lock()
		defer j.mu.Unlock()
		j.lines = append(j.lines, name)
		return err
	}}
}

func TestStopsStageByStage(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := supervise(ctx, quiet(), time.Minute,
			stage{j.role("door", 5*time.Second, nil)},
			stage{j.role("live", 2*time.Second, nil), j.role("batch", time.Second, nil)},
			stage{j.role("committer", 0, nil)})
		if err != nil {
			t.Fatal(err)
		}
		if want := []string{"door", "batch", "live", "committer"}; !slices.Equal(j.lines, want) {
			t.Errorf("stopped in the order %v, want %v", j.lines, want)
		}
	})
}

func TestOneFailureStopsAll(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		var j journal
		cause := errors.New("the disk is gone")
		failing := role{"batch", func(context.Context) error { return cause }}
		err := supervise(t.Context(), quiet(), time.Minute, stage{j.role("door", time.Second, nil)}, stage{failing, j.role("live", 0, nil)})
		if !errors.Is(err, cause) {
			t.Errorf("got %v, want %v", err, cause)
		}
		if want := []string{"door", "live"}; !slices.Equal(j.lines, want) {
			t.Errorf("stopped %v, want %v", j.lines, want)
		}
	})
}

func TestBudgetIsShared(t *testing.T) {
	testbed.Bubble(t, func(t *testing.T) {
		var j journal
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := supervise(ctx, quiet(), 10*time.Second, stage{j.role("door", 6*time.Second, nil)}, stage{j.role("live", 6*time.Second, nil)})
		if err == nil || !strings.Contains(err.Error(), "still running: [live]") {
			t.Errorf("got %v", err)
		}
		time.Sleep(10 * time.Second) // the role ends in the bubble
	})
}
