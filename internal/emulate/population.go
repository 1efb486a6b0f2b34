package emulate

import (
	"math/bits"
	"slices"
)

// zipf draws ranks whose weight falls with one over the rank: a few users post most, a few categories
// are what most post about. Its table is made by divisions of integers, so it is the same everywhere.
type zipf []uint64 // weights summed up to each rank

func newZipf(n int64) zipf {
	z := make(zipf, n)
	var sum uint64
	for i := range z {
		sum += (1 << 40) / uint64(i+1)
		z[i] = sum
	}
	return z
}

// rank draws one in [0, len(z)).
func (z zipf) rank(d *dice) int64 {
	at, _ := bits.Mul64(d.next(), z[len(z)-1])
	i, _ := slices.BinarySearch(z, at+1)
	return int64(i)
}

// population decides who posts what. Users come in sessions: a lane is one user after the other, each
// posting a few times in a row, mostly about what the session is about; neighbouring posts are of
// different lanes, as those of people who are there at the same time.
type population struct {
	users      zipf
	categories zipf
	rows       [][]int64 // of the pins, by category in order of popularity
	lanes      int64
}

const (
	maxUsers    = 10_000_000 // a table of 80 MB
	maxLanes    = 64
	loyalty     = 0.7 // share of a session's posts that are of its category
	minSession  = 2   // posts
	sessionSpan = 14  // lengths above the least
)

func newPopulation(g *generator, users int64, pins []template) *population {
	p := &population{users: newZipf(users), lanes: min(max(users/8, 1), maxLanes)}
	byName := map[string][]int64{}
	var names []string
	for i := range pins {
		name := pins[i].facts.category
		if byName[name] == nil {
			names = append(names, name)
		}
		byName[name] = append(byName[name], int64(i))
	}
	slices.Sort(names)
	d := g.dice("categories", 0) // what is popular differs by seed
	for i := len(names) - 1; i > 0; i-- {
		k := d.below(int64(i + 1))
		names[i], names[k] = names[k], names[i]
	}
	for _, name := range names {
		p.rows = append(p.rows, byName[name])
	}
	p.categories = newZipf(int64(len(names)))
	return p
}

// who is the user of a post and the row of its pin and place: the same for the three streams, which are
// linked by the post's index.
func (g *generator) who(post int64) (user, row int64) {
	p := g.people
	lane, turn := post%p.lanes, post/p.lanes
	habit := g.dice("lane", lane)
	length, phase := minSession+habit.below(sessionSpan), habit.below(1<<20)
	session := g.dice("session", lane<<40|(turn+phase)/length)
	user = p.users.rank(&session)
	category := p.categories.rank(&session)
	d := g.dice("post", post)
	if !d.chance(loyalty) {
		category = p.categories.rank(&d)
	}
	rows := p.rows[category]
	return user, rows[d.below(int64(len(rows)))]
}
