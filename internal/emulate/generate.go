package emulate

import (
	"strconv"
	"time"
)

// Fates of an event, as the truth file has them.
const (
	accepted   = 'a'
	dead       = 'd'
	rejected   = 'r'
	unresolved = 'u'
)

// made is one generated event.
type made struct {
	name  string // of its run and stream: what its id begins with
	post  int64
	body  []byte
	want  byte  // the fate it must have
	time  int64 // event time, microseconds
	facts facts
	test  bool // is_test: in the lake, in no view
	again bool // to be sent once more, after it was accepted
}

// id is the event's id.
func (m *made) id() string { return m.name + strconv.FormatInt(m.post, 36) }

// index links pin, place and user of a post.
func (m *made) index() int64 { return m.post + 1 }

// Shares of special events, of 1.
type Shares struct {
	Late      float64 `json:"late"`      // 11 minutes to 2 days old
	Bad       float64 `json:"bad"`       // to be dead-lettered or rejected
	Duplicate float64 `json:"duplicate"` // sent again
	Malformed float64 `json:"malformed"` // no events at all: to be rejected
	Future    float64 `json:"future"`    // dated ahead: half of them within what is allowed, half to be dead-lettered
}

// when says which moments a batch's events are made of, in microseconds: they are posted at, and of
// [at - back - width, at - back].
type when struct {
	at, back, width int64
}

// testShare of events are marked is_test.
const testShare = 0.005

// generator makes the events of a run. It is a function of its fields, the stream, the number of the
// post and the moments of its batch; it may be used by many at once.
type generator struct {
	seed   uint64
	users  int64
	shares Shares
	rows   templates
	people *population
	names  map[string]string // by stream
}

func newGenerator(h *header, rows templates) *generator {
	g := &generator{seed: h.Seed, users: h.Users, shares: h.Shares, rows: rows, names: map[string]string{}}
	for _, stream := range Streams {
		g.names[stream] = h.Run + "-" + stream + "-"
	}
	g.people = newPopulation(g, h.Users, rows[Pin])
	return g
}

// mix is SplitMix64's output function (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
func mix(x uint64) uint64 {
	x += 0x9E3779B97F4A7C15
	x = (x ^ x>>30) * 0xBF58476D1CE4E5B9
	x = (x ^ x>>27) * 0x94D049BB133111EB
	return x ^ x>>31
}

// dice draws number after number for one event.
type dice uint64

func (d *dice) next() uint64 { *d = dice(mix(uint64(*d))); return uint64(*d) }

// below returns a number in [0, n).
func (d *dice) below(n int64) int64 { return int64(d.next() % uint64(n)) }

func (d *dice) chance(share float64) bool { return float64(d.next()>>11)/(1<<53) < share }

func (g *generator) dice(label string, post int64) dice {
	h := mix(g.seed)
	for i := range len(label) {
		h = mix(h ^ uint64(label[i]))
	}
	return dice(mix(h ^ uint64(post)))
}

// event makes what post number post sends to the stream in a batch of those moments. The body is
// appended to dst, which is returned.
func (g *generator) event(dst []byte, stream string, post int64, w when) (made, []byte) {
	user, row := g.who(post)
	d := g.dice(stream, post)
	if stream == User {
		row = user % int64(len(g.rows[User]))
	}
	t := &g.rows[stream][row]
	e := made{name: g.names[stream], post: post, want: accepted, time: w.at - w.back - d.below(w.width), facts: t.facts}
	e.facts.user = user
	if d.chance(g.shares.Late) {
		e.time -= 11*60_000_000 + d.below(2*86_400_000_000)
	}
	e.test = d.chance(testShare)
	e.again = d.chance(g.shares.Duplicate)
	moment, tail := g.oddity(&e, stream, &d, w.at)
	from := len(dst)
	dst = append(append(dst, `{"event_id":"`...), e.name...)
	dst = append(strconv.AppendInt(dst, post, 36), '"')
	dst = appendMoment(dst, stream, moment)
	dst = appendLink(dst, stream, e.index(), &d)
	dst = append(strconv.AppendInt(append(dst, `,"user_id":`...), user, 10), t.tail...)
	if stream == Pin {
		dst = appendPoster(dst, t, user)
	}
	if e.test {
		dst = append(dst, `,"is_test":true`...)
	}
	dst = append(append(dst, tail...), '}')
	if e.want == rejected {
		dst = dst[:from+(len(dst)-from)/2]
		if d.below(2) == 0 {
			dst = append(dst[:from], `["not an event"]`...)
		}
	}
	e.body = dst[from:len(dst):len(dst)]
	return e, dst
}

// oddity makes the event one of those that are not as they should be, if its turn has come. It returns
// the time that it tells and what its object ends with.
func (g *generator) oddity(e *made, stream string, d *dice, at int64) (moment int64, tail string) {
	if d.chance(g.shares.Future) {
		if e.time = at + soonest + d.below(latest-soonest); d.below(2) == 0 {
			e.time, e.want, e.again = at+farOff+d.below(microsPerDay), dead, false
		}
	}
	if stream == Geo {
		e.time -= e.time % 1_000_000 // its timestamps are whole seconds
	}
	switch {
	case d.chance(g.shares.Malformed):
		e.want, e.again = rejected, false
	case d.chance(g.shares.Bad):
		e.again = false
		return spoil(e, stream, d, at)
	}
	return e.time, ""
}

// How far ahead the times lie of events that are dated in the future, microseconds: a server takes ten
// minutes, and its clock may be a little off.
const (
	soonest = 10_000_000
	latest  = 8 * 60_000_000
	farOff  = 3_600_000_000
)

// appendPoster appends who posted a pin.
func appendPoster(b []byte, t *template, user int64) []byte {
	if t.poster == nil {
		return append(b, `,"poster_name":"User Info Error"`...)
	}
	b = append(append(b, `,"poster_name":`...), t.poster...)
	return append(strconv.AppendInt(b, user, 10), '"')
}

// appendLink appends what ties the streams together, and a pin's own id.
func appendLink(b []byte, stream string, index int64, d *dice) []byte {
	if stream != Pin {
		return strconv.AppendInt(append(b, `,"ind":`...), index, 10)
	}
	b = strconv.AppendInt(append(b, `,"index":`...), index, 10)
	hi, lo := d.next()&^0xF000|0x4000, d.next()&^(3<<62)|1<<63 // a UUID of version 4
	b = appendHex(append(b, `,"unique_id":"`...), hi>>32, 8)
	b = appendHex(append(b, '-'), hi>>16, 4)
	b = appendHex(append(b, '-'), hi, 4)
	b = appendHex(append(b, '-'), lo>>48, 4)
	return append(appendHex(append(b, '-'), lo, 12), '"')
}

// appendHex appends the last n hexadecimal digits of x.
func appendHex(b []byte, x uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, "0123456789abcdef"[x>>(4*i)&15])
	}
	return b
}

// noMoment is the event time of one whose event time is no time.
const noMoment = -1

func appendMoment(b []byte, stream string, micros int64) []byte {
	name, layout := `,"event_time":"`, "2006-01-02T15:04:05.999999Z"
	if stream == Geo {
		name, layout = `,"timestamp":"`, "2006-01-02 15:04:05"
	}
	b = append(b, name...)
	if micros == noMoment {
		return append(b, `yesterday"`...)
	}
	return append(time.UnixMicro(micros).UTC().AppendFormat(b, layout), '"')
}

// spoil makes an event that must not count: of a wrong type, with an impossible time, or no event at
// all. It returns its event time and what its object ends with.
func spoil(e *made, stream string, d *dice, at int64) (moment int64, tail string) {
	e.want = dead
	switch d.below(6) {
	case 0, 1: // of duplicate keys the last counts
		return e.time, map[string]string{Pin: `,"follower_count":"12x"`, Geo: `,"latitude":"north"`, User: `,"age":"old"`}[stream]
	case 2:
		return noMoment, ""
	case 3:
		return at + farOff, ""
	case 4:
		return 915_148_800_000_000, "" // 1999
	}
	e.want = rejected
	return e.time, ""
}
