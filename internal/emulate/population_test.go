package emulate

import (
	"slices"
	"testing"
	"time"
)

func people(t *testing.T, users int64, seed uint64) *generator {
	t.Helper()
	e, err := New(Config{URL: "http://x", Users: users, Seed: seed}, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return e.gen
}

// The share of rank r is 1/(r+1) of the harmonic sum; no rank is out of range.
func TestZipf(t *testing.T) {
	const n, draws = 100, 200_000
	z, d := newZipf(n), dice(7)
	var seen [n]int
	for range draws {
		seen[z.rank(&d)]++
	}
	harmonic := 0.0
	for r := range n {
		harmonic += 1 / float64(r+1)
	}
	for _, r := range []int{0, 1, 2, 9, 50} {
		want := draws / (float64(r+1) * harmonic)
		if got := float64(seen[r]); got < want*0.85 || got > want*1.15 {
			t.Errorf("rank %d was drawn %d times, expected about %.0f", r, seen[r], want)
		}
	}
	if one := newZipf(1); one.rank(&d) != 0 {
		t.Error("one user is not rank 0")
	}
}

// Few post most, most categories differ in popularity by seed, and who posts comes back at once.
func TestPopulation(t *testing.T) {
	g := people(t, 500, 3)
	const posts = 30_000
	byUser, byCategory, last := map[int64]int{}, map[string]int{}, map[int64]int64{}
	again := 0
	for post := range int64(posts) {
		user, row := g.who(post)
		if user < 0 || user >= 500 || row < 0 || row >= int64(len(g.rows[Pin])) {
			t.Fatalf("post %d: user %d, row %d", post, user, row)
		}
		if u, r := g.who(post); u != user || r != row {
			t.Fatalf("post %d is of two users", post)
		}
		byUser[user]++
		byCategory[g.rows[Pin][row].facts.category]++
		if before, ok := last[user]; ok && post-before <= g.people.lanes {
			again++
		}
		last[user] = post
	}
	counts := []int{}
	for _, n := range byUser {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	top := 0
	for _, n := range counts[:10] {
		top += n
	}
	if share := float64(top) / posts; share < 0.25 || share > 0.65 {
		t.Errorf("the ten busiest of %d users post %.0f %%", len(counts), 100*share)
	}
	if share := float64(again) / posts; share < 0.6 {
		t.Errorf("only %.0f %% of the posts follow one of the same user: there are no sessions", 100*share)
	}
	most, least := 0, posts
	for _, n := range byCategory {
		most, least = max(most, n), min(least, n)
	}
	if len(byCategory) < 10 || most < 4*least {
		t.Errorf("%d categories, the largest with %d posts, the smallest with %d", len(byCategory), most, least)
	}
}

func TestPaceFactor(t *testing.T) {
	day := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	rhythm := Pace{Rhythm: 0.8}
	sum := 0.0
	for m := range 1440 {
		sum += rhythm.factor(day.Add(time.Duration(m)*time.Minute), 0)
	}
	if mean := sum / 1440; mean < 0.999 || mean > 1.001 {
		t.Errorf("a rhythm changes the day's mean to %v", mean)
	}
	for _, c := range []struct {
		pace Pace
		at   time.Duration // of the day, and since the start of the run
		want float64
	}{
		{Pace{}, 5 * time.Hour, 1},
		{rhythm, 4 * time.Hour, 0.2},
		{rhythm, 16 * time.Hour, 1.8},
		{Pace{Rhythm: 1}, 4 * time.Hour, minFactor},
		{Pace{Growth: 1}, 2 * time.Hour, 4},
		{Pace{Growth: 1, Per: 24 * time.Hour}, 24 * time.Hour, 2},
		{Pace{Burst: Burst{Factor: 5, For: time.Minute, Every: time.Hour}}, 3*time.Hour + 59*time.Second, 5},
		{Pace{Burst: Burst{Factor: 5, For: time.Minute, Every: time.Hour}}, 3*time.Hour + 61*time.Second, 1},
	} {
		if got := c.pace.factor(day.Add(c.at), c.at); got < c.want*0.999 || got > c.want*1.001 {
			t.Errorf("%+v after %s: %v, want %v", c.pace, c.at, got, c.want)
		}
	}
}

// A calendar goes from the start of the span to its end without going back, as dense as the rhythm says.
func TestCalendar(t *testing.T) {
	end := time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)
	if back, width := newCalendar(Pace{}, end).stretch(1, 2, 3); back != 0 || width != freshWidth {
		t.Errorf("events of now are %d old", back)
	}
	c := newCalendar(Pace{Since: 10 * 24 * time.Hour, Rhythm: 0.8}, end)
	before := int64(10 * microsPerDay)
	night, afternoon := 0, 0
	for i := range 100_000 {
		back, width := c.stretch(int64(i), int64(i)+1, 100_000)
		if back > before || back < 0 || back+width > before+1 {
			t.Fatalf("event %d lies %d back within %d, the one before it %d", i, back, width, before)
		}
		before = back
		switch end.Add(-time.Duration(back) * time.Microsecond).Hour() {
		case 4:
			night++
		case 16:
			afternoon++
		}
	}
	if before > 2*c.step {
		t.Errorf("the last event lies %d back", before)
	}
	if ratio := float64(afternoon) / float64(night); ratio < 6 || ratio > 12 {
		t.Errorf("%d events in the afternoon, %d in the night", afternoon, night)
	}
}

// Events that begin a week ago, with a rhythm, are in the truth as they are sent.
func TestAWeekInAMoment(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Connections = 8
	cfg.Pace = Pace{Since: 7 * 24 * time.Hour, Rhythm: 0.6, Growth: 0.3, Per: 24 * time.Hour, Burst: Burst{Factor: 4, For: time.Hour, Every: 30 * time.Hour}}
	if c := emulate(t, cfg); c.Unexpected != 0 || c.Sent != cfg.Events {
		t.Errorf("counts %+v", c)
	}
	r, err := verify(t, m, cfg.Truth)
	if err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
	for _, s := range r.Streams {
		if s.Days < 7 {
			t.Errorf("%s has %d days", s.Stream, s.Days)
		}
	}
}

// Bursts change when events are sent, not which.
func TestBursts(t *testing.T) {
	m := newMemory(t)
	cfg := emulation(m, t)
	cfg.Rate, cfg.Events, cfg.Streams = 20_000, 2000, []string{User}
	cfg.Pace.Burst = Burst{Factor: 3, For: 30 * time.Millisecond, Every: 90 * time.Millisecond}
	if c := emulate(t, cfg); c.Sent != 2000 {
		t.Errorf("counts %+v", c)
	}
	if r, err := verify(t, m, cfg.Truth); err != nil {
		t.Fatalf("%v\n%v", err, r)
	}
}
