package live_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/live"
	"github.com/pinflow/pinflow/internal/query"
	"github.com/pinflow/pinflow/internal/sqlledger"
	"github.com/pinflow/pinflow/internal/testbed"
)

// rotten is a ledger one segment of which is damaged.
type rotten struct {
	*sqlledger.DB
	segment int64
}

func (r *rotten) damage(segs []ledger.Segment) []ledger.Segment {
	for i := range segs {
		if segs[i].ID == r.segment {
			segs[i].Data = append(bytes.Clone(segs[i].Data), 1)
		}
	}
	return segs
}

func (r *rotten) SegmentData(ctx context.Context, ids []int64) ([]ledger.Segment, error) {
	segs, err := r.DB.SegmentData(ctx, ids)
	return r.damage(segs), err
}

func (r *rotten) Read(ctx context.Context, q ledger.Read) (*ledger.Data, error) {
	data, err := r.DB.Read(ctx, q)
	if data != nil {
		data.Segments = r.damage(data.Segments)
	}
	return data, err
}

// A segment that is damaged is told of and kept as it is, and ends nothing: what lies beside it is merged and rolled up
// as ever. Questions that touch it are refused with its place, others are answered.
func TestDamagedSegmentIsLeftAlone(t *testing.T) {
	seed := testbed.Seed(t)
	testbed.Bubble(t, func(t *testing.T) {
		w := newTiered(t, seed, "Europe/London")
		t.Cleanup(func() { w.ok(w.db.Close()) })
		for range 30 {
			w.flush()
			time.Sleep(time.Minute)
		}
		version := func() int64 {
			data, err := w.db.Read(t.Context(), ledger.Read{View: "pins"})
			w.ok(err)
			return data.Version.ID
		}()
		list := func(tier string, rolled bool) []ledger.Segment {
			all, err := w.db.Segments(t.Context(), version, tier, rolled)
			w.ok(err)
			return all
		}
		fresh := list("minute", false)
		bad := fresh[w.rnd.IntN(len(fresh))]
		led := &rotten{w.db, bad.ID}
		var said bytes.Buffer
		c, err := live.NewCompactor("test", time.Hour, slog.New(slog.NewTextHandler(&said, nil)), led)
		w.ok(err)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(30 * time.Hour)
		cancel()
		w.ok(<-ended)
		if n := strings.Count(said.String(), "is damaged"); n != 1 || !strings.Contains(said.String(), fmt.Sprintf("segment=%d ", bad.ID)) {
			t.Errorf("it was told of %d times:\n%s", n, said.String())
		}
		left := list("minute", false)
		if len(left) != 1 || left[0].ID != bad.ID {
			t.Errorf("of %d segments %d are not rolled up, only %d is damaged: %+v", len(fresh), len(left), bad.ID, left)
		}
		if len(list("hour", false))+len(list("day", false)) == 0 {
			t.Error("nothing was rolled up")
		}
		e, err := query.New(query.Config{}, led, time.Now)
		w.ok(err)
		ask := func(from, to time.Time) error {
			_, err := e.Query(t.Context(), query.Request{View: "pins", Measures: []string{"posted"}, Grain: "day", From: from.Format(time.RFC3339), To: to.Format(time.RFC3339)})
			return err
		}
		day := time.UnixMicro(bad.To).UTC().Truncate(24 * time.Hour)
		err = ask(day, day.AddDate(0, 0, 1))
		if fault.CodeOf(err) != "bad_segment" || !strings.Contains(err.Error(), fmt.Sprintf("segment %d of the ledger", bad.ID)) {
			t.Errorf("a question that touches it: %v", err)
		}
		w.ok(ask(day.AddDate(0, 0, 1), day.AddDate(0, 0, 2)))
	})
}
