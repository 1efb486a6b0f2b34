package httpapi

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/calendar"
	"github.com/pinflow/pinflow/internal/deadletter"
	"github.com/pinflow/pinflow/internal/query"
)

// DeadLetters are what lies in the lake's table of them.
type DeadLetters interface {
	Groups(ctx context.Context, in deadletter.Range) (*deadletter.Groups, error)
	Letters(ctx context.Context, in deadletter.Range, group string, most int) (*deadletter.Letters, error)
}

// usualRange and usualLetters are what is told unless somebody asks for more.
const (
	usualRange   = "now-30d/d"
	usualLetters = 20
)

func (a *API) listDeadLetters(w http.ResponseWriter, r *http.Request) error {
	in, err := a.deadRange(w, r, "from", "to", "stream")
	if err != nil {
		return err
	}
	a.slow(w)
	out, err := a.deps.DeadLetters.Groups(r.Context(), in)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, out)
}

func (a *API) showDeadLetters(w http.ResponseWriter, r *http.Request) error {
	in, err := a.deadRange(w, r, "from", "to", "limit")
	if err != nil {
		return err
	}
	limit := usualLetters
	if text := r.URL.Query().Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > deadletter.MaxLetters {
			return problemf(http.StatusBadRequest, "bad_parameter", "limit=%s is not a number from 1 to %d", text, deadletter.MaxLetters)
		}
	}
	a.slow(w)
	out, err := a.deps.DeadLetters.Letters(r.Context(), in, r.PathValue("group"), limit)
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, out)
}

// deadRange is what a request asks for, and may see.
func (a *API) deadRange(w http.ResponseWriter, r *http.Request, known ...string) (deadletter.Range, error) {
	q := r.URL.Query()
	for key := range q {
		if !slices.Contains(known, key) {
			return deadletter.Range{}, unknownParameter(key, known...)
		}
	}
	in := deadletter.Range{}
	zone, err := calendar.Load("UTC")
	if err != nil {
		return in, err
	}
	now := time.Now()
	for name, at := range map[string]*time.Time{"from": &in.From, "to": &in.To} {
		us, err := query.When(usual(q, name), now, zone)
		if err != nil {
			return in, problemf(http.StatusBadRequest, "bad_parameter", "%s: %s", name, err)
		}
		*at = time.UnixMicro(us).UTC()
	}
	if !in.From.Before(in.To) {
		return in, problemf(http.StatusBadRequest, "bad_parameter", "to: the range ends at %s, it begins at %s", in.To.Format(time.RFC3339), in.From.Format(time.RFC3339))
	}
	in.Streams, err = a.deadStreams(w, r, q.Get("stream"))
	return in, err
}

// deadStreams are the streams of the letters: the one asked for, else those that the key is for; nil: all.
func (a *API) deadStreams(w http.ResponseWriter, r *http.Request, only string) ([]string, error) {
	if only != "" {
		if err := mayStream(w, only); err != nil {
			return nil, err
		}
		snap, err := a.deps.Catalogue.Load(r.Context())
		if err != nil {
			return nil, err
		}
		for _, s := range snap.Streams {
			if s.Name == only {
				return []string{only}, nil
			}
		}
		return nil, unknownStream(snap, only)
	}
	if !limited(w) {
		return nil, nil
	}
	return append([]string{}, keyOf(w).Streams...), nil
}

func usual(q url.Values, name string) string {
	switch text := q.Get(name); {
	case text != "":
		return text
	case name == "from":
		return usualRange
	}
	return "now"
}
