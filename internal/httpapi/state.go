package httpapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pinflow/pinflow/internal/days"
	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/lake"
	"github.com/pinflow/pinflow/internal/ledger"
	"github.com/pinflow/pinflow/internal/status"
)

// Status is where everything stands.
type Status interface {
	Report(ctx context.Context) (*status.Report, error)
}

// Days tells the state of a stream's days, newest first.
type Days interface {
	DaysOf(ctx context.Context, snap *ledger.Snapshot, stream string, limit int) ([]days.Day, error)
}

// Lake answers about the rows of a stream's table, for those who verify.
type Lake interface {
	Digest(ctx context.Context, table string) ([]lake.DayDigest, error)
	EventIDs(ctx context.Context, table, date string, fn func(id []byte) error) error
}

func (a *API) status(w http.ResponseWriter, r *http.Request) error {
	rep, err := a.deps.Status.Report(r.Context())
	if err != nil {
		return err
	}
	setClock(w)
	return writeJSON(w, http.StatusOK, rep)
}

// setClock tells the moment of the answer by the server's clock, finer than Date does. It is a header,
// so that the body, and with it the ETag, changes only with the data.
func setClock(w http.ResponseWriter) {
	w.Header().Set("Pinflow-Time", time.Now().UTC().Format("2006-01-02T15:04:05.000Z"))
}

// maxDays is the most days of a stream that one answer holds.
const maxDays = 400

func (a *API) days(w http.ResponseWriter, r *http.Request) error {
	date := r.PathValue("date")
	if date != "" {
		if _, err := time.Parse(time.DateOnly, date); err != nil {
			return problemf(http.StatusBadRequest, "bad_parameter", "%q is not a date: write 2026-11-22", date)
		}
	}
	limit := 60
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxDays {
			return problemf(http.StatusBadRequest, "bad_parameter", "limit=%s is not a number from 1 to %d", text, maxDays)
		}
		limit = n
	}
	if date != "" {
		limit = maxDays
	}
	snap, err := a.deps.Catalogue.Load(r.Context())
	if err != nil {
		return err
	}
	only := r.URL.Query().Get("stream")
	out := []days.Day{}
	found := only == ""
	if !found {
		if err := mayStream(w, only); err != nil {
			return err
		}
	}
	for _, s := range snap.Streams {
		if !sees(w, s.Name) {
			continue
		}
		if only != "" && s.Name != only {
			continue
		}
		found = true
		all, err := a.deps.Days.DaysOf(r.Context(), snap, s.Name, limit)
		if err != nil {
			return err
		}
		for _, d := range all {
			if date == "" || d.Date == date {
				out = append(out, d)
			}
		}
	}
	if !found {
		return unknownStream(snap, only)
	}
	setClock(w)
	return writeJSON(w, http.StatusOK, map[string]any{"days": out})
}

// deadLetters is the table of what no stream took; it is asked for like a stream's.
const deadLetters = "dead_letters"

// hasTable tells a stream that does not exist from a lake that lost a table.
func (a *API) hasTable(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("stream")
	if err := mayStream(w, name); err != nil {
		return err
	}
	snap, err := a.deps.Catalogue.Load(r.Context())
	if err != nil {
		return err
	}
	for _, s := range snap.Streams {
		if s.Name == name {
			return nil
		}
	}
	if name == deadLetters {
		return nil
	}
	return unknownStream(snap, name)
}

func unknownStream(snap *ledger.Snapshot, name string) error {
	names := make([]string, len(snap.Streams))
	for i, s := range snap.Streams {
		names[i] = s.Name
	}
	return fault.New(fault.Record, "unknown_stream", "there is no stream %q", name).WithAdvice("use one of: %s", strings.Join(names, ", "))
}

func (a *API) lakeDigest(w http.ResponseWriter, r *http.Request) error {
	if err := a.hasTable(w, r); err != nil {
		return err
	}
	a.slow(w)
	days, err := a.deps.Lake.Digest(r.Context(), r.PathValue("stream"))
	if err != nil {
		return err
	}
	if days == nil {
		days = []lake.DayDigest{}
	}
	return writeJSON(w, http.StatusOK, map[string]any{"table": r.PathValue("stream"), "days": days})
}

// slow lets an answer that reads much of the lake take its time.
func (a *API) slow(w http.ResponseWriter) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(20 * a.cfg.Timeout)) // a test's recorder has none
}

// lakeIDs streams the event ids of a day, one JSON string a line.
func (a *API) lakeIDs(w http.ResponseWriter, r *http.Request) error {
	day := r.URL.Query().Get("day")
	if _, err := time.Parse(time.DateOnly, day); err != nil {
		return problemf(http.StatusBadRequest, "bad_parameter", "day=%s is not a date: write day=2026-11-22", day)
	}
	if err := a.hasTable(w, r); err != nil {
		return err
	}
	a.slow(w)
	out := bufio.NewWriterSize(&lazyType{w, "application/x-ndjson"}, 64<<10)
	err := a.deps.Lake.EventIDs(r.Context(), r.PathValue("stream"), day, func(id []byte) error {
		line, err := json.Marshal(string(id))
		if err != nil {
			return err
		}
		_, err = out.Write(append(line, '\n'))
		return err
	})
	if err != nil {
		return err
	}
	if out.Buffered() == 0 {
		w.Header().Set("Content-Type", "application/x-ndjson")
	}
	return out.Flush()
}

// lazyType sets the content type with the first byte, so that an early failure is still a problem.
type lazyType struct {
	http.ResponseWriter
	kind string
}

func (l *lazyType) Write(b []byte) (int, error) {
	l.Header().Set("Content-Type", l.kind)
	l.Header().Set("Cache-Control", "no-store")
	return l.ResponseWriter.Write(b)
}
