package emulate

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pinflow/pinflow/internal/project"
)

// The streams of the built-in project.
const (
	Pin  = "pin"
	Geo  = "geo"
	User = "user"
)

// Streams are all of them, in the order in which a post is sent.
var Streams = []string{Pin, Geo, User}

// facts are what the views measure of an event, read from the demonstration's rows by hand.
type facts struct {
	category, country, media string
	video                    bool
	downloaded               int64
	followers                int64
	followed                 bool   // followers is known
	poster                   string // of the row; "" when unknown
	user                     int64

	latitude, longitude float64
	age                 int64
}

// signed is the name that a pin is posted under, "" when unknown: the row's, and whose it is.
func (f *facts) signed() string {
	if f.poster == "" {
		return ""
	}
	return f.poster + " " + strconv.FormatInt(f.user, 10)
}

// template is a row of the demonstration, ready to become events.
type template struct {
	facts  facts
	tail   []byte // members that every event of the row has, from the comma before the first on
	poster []byte // of a pin, as JSON up to where the user's number goes; nil: unknown
}

// templates are the rows by stream. Pin and geo rows of one number belong together.
type templates map[string][]template

// own are the members that differ from event to event.
var own = []string{"index", "ind", "unique_id", "timestamp", "poster_name"}

func loadTemplates() (templates, error) {
	demo, err := project.Demo()
	if err != nil {
		return nil, err
	}
	out := templates{}
	for stream, rows := range demo {
		for i, row := range rows {
			f, err := factsOf(row.Fields)
			if err != nil {
				return nil, fmt.Errorf("reading row %d of %s: %w", i+1, stream, err)
			}
			tail, err := tailOf(row.Fields)
			if err != nil {
				return nil, fmt.Errorf("reading row %d of %s: %w", i+1, stream, err)
			}
			t := template{facts: f, tail: tail}
			if f.poster != "" {
				if t.poster, err = json.Marshal(f.poster + " "); err != nil {
					return nil, err
				}
				t.poster = t.poster[:len(t.poster)-1]
			}
			out[stream] = append(out[stream], t)
		}
	}
	if len(out[Pin]) == 0 || len(out[Pin]) != len(out[Geo]) || len(out[User]) == 0 {
		return nil, fmt.Errorf("the demonstration has %d pins, %d places and %d users", len(out[Pin]), len(out[Geo]), len(out[User]))
	}
	for i := range out[Pin] { // a pin is posted from its place
		country := out[Geo][i].facts.country
		text, err := json.Marshal(country)
		if err != nil {
			return nil, err
		}
		p := &out[Pin][i]
		p.facts.country = country
		p.tail = append(append(p.tail, `,"country":`...), text...)
	}
	return out, nil
}

func tailOf(fields map[string]any) ([]byte, error) {
	names := make([]string, 0, len(fields))
	for name := range fields {
		if !slices.Contains(own, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var tail []byte
	for _, name := range names {
		value, err := json.Marshal(fields[name])
		if err != nil {
			return nil, err
		}
		tail = append(append(append(tail, `,"`+name...), `":`...), value...)
	}
	return tail, nil
}

func factsOf(fields map[string]any) (f facts, err error) {
	f.category, _ = fields["category"].(string)
	f.country, _ = fields["country"].(string)
	f.media, _ = fields["is_image_or_video"].(string)
	f.video = f.media == "video"
	if strings.HasPrefix(f.media, "multi") {
		f.media = "story"
	}
	if f.poster, _ = fields["poster_name"].(string); f.poster == "User Info Error" {
		f.poster = ""
	}
	f.downloaded, _ = fields["downloaded"].(int64)
	f.latitude, _ = fields["latitude"].(float64)
	f.longitude, _ = fields["longitude"].(float64)
	f.age, _ = fields["age"].(int64)
	if text, ok := fields["follower_count"].(string); ok && text != "User Info Error" {
		f.followed = true
		f.followers, err = followers(text)
	}
	return f, err
}

// followers reads 184, 124k and 2M.
func followers(text string) (int64, error) {
	times := int64(1)
	if rest, ok := strings.CutSuffix(text, "k"); ok {
		text, times = rest, 1000
	} else if rest, ok := strings.CutSuffix(text, "M"); ok {
		text, times = rest, 1_000_000
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n * times, err
}
