package audit_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pinflow/pinflow/internal/audit"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/metric"
	"github.com/pinflow/pinflow/internal/testbed"
)

// A segment whose bytes are damaged is named, and so is each bucket and group that it held; the rest is compared.
func TestNamesWhatADamagedSegmentHeld(t *testing.T) {
	rnd := rand.New(rand.NewPCG(testbed.Seed(t), 3))
	w := newWorld(t, func(v *metric.View) { v.Dimensions = v.Dimensions[:1] })
	first := []pin{{at: today, category: "art", likes: 3}, {at: today.Add(time.Hour), category: "food", likes: 5}}
	second := []pin{{at: today.Add(2 * time.Hour), category: "art", likes: 1}}
	w.store(append(slices.Clone(first), second...)...)
	w.answer("minute", first...)
	w.answer("minute", second...)
	data := slices.Clone(w.segs[0].Data)
	data[rnd.IntN(len(data))] ^= 1 << rnd.IntN(8)
	w.segs[0].Data = data
	r, err := w.try(audit.Request{From: day(0), Measures: []string{"posted"}})
	if err != nil {
		if fault.CodeOf(err) != "newer_segment" { // the flipped bit was one of the format's number
			t.Fatal(err)
		}
		return
	}
	if len(r.Damaged) != 1 || r.Damaged[0].Segment != 1 || r.Damaged[0].From != today.Format(time.RFC3339) || r.Damaged[0].Rows != 2 || r.OK {
		t.Errorf("ok %v, damaged %+v", r.OK, r.Damaged)
	}
	var got []string
	for _, d := range r.Differences {
		got = append(got, fmt.Sprintf("%s %s %s %s|%s %s", d.Bucket, shown(d.Group, "category"), d.Measure, number(d.Answer), number(d.Lake), d.Detail))
	}
	want := []string{
		today.Format(time.RFC3339) + " art posted 0|1 the answer has no such group",
		today.Add(time.Hour).Format(time.RFC3339) + " food posted 0|1 the answer has no such group",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
