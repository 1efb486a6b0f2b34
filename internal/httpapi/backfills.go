package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/pinflow/pinflow/internal/fault"
	"github.com/pinflow/pinflow/internal/ledger"
)

// Backfills are what the ledger knows of histories that are filled in.
type Backfills interface {
	Backfills(ctx context.Context, id int64) ([]ledger.Backfill, error)
	BackfillTasks(ctx context.Context, id int64) ([]ledger.Task, error)
	Steer(ctx context.Context, id int64, action string) error
}

// backfillBody is a back-fill as people know it.
type backfillBody struct {
	ID           int64            `json:"id"`
	View         string           `json:"view"`
	Stream       string           `json:"stream"`
	Version      string           `json:"version"`
	VersionState string           `json:"version_state"`
	Engine       string           `json:"engine"`
	State        string           `json:"state"`
	Import       string           `json:"import,omitempty"` // the imported file that it is of; else it is of all below the version's cut
	CreatedAt    time.Time        `json:"created_at"`
	ListedAt     *time.Time       `json:"listed_at"` // null: its days are not known yet
	FinishedAt   *time.Time       `json:"finished_at"`
	Days         map[string]int64 `json:"days"` // by state, and their total
	RowsDone     int64            `json:"rows_done"`
	RowsTotal    int64            `json:"rows_total"`
	Rows         int64            `json:"rows"` // folded: what lies above the cut is live's
	Rate         float64          `json:"rows_per_second"`
	ETA          *float64         `json:"eta_seconds"`     // null: nobody knows
	Waiting      int64            `json:"days_waiting"`    // that failed and are left alone for a while
	NextTry      *time.Time       `json:"next_try"`        // of the first of them
	Error        string           `json:"error,omitempty"` // newest failure of a day that is not done
	Plan         json.RawMessage  `json:"plan,omitempty"`
	Tasks        []taskBody       `json:"tasks,omitempty"`
}

type taskBody struct {
	Day        string     `json:"day"`
	State      string     `json:"state"`
	Rows       int64      `json:"rows"`
	Expect     int64      `json:"rows_total"`
	Bytes      int64      `json:"bytes"`
	Tries      int        `json:"tries"`
	Error      string     `json:"error,omitempty"`
	NextTry    *time.Time `json:"next_try"` // of a day that failed and waits
	Holder     string     `json:"holder,omitempty"`
	StartedAt  *time.Time `json:"started_at"`
	FinishedAt *time.Time `json:"finished_at"`
}

func orNone(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func backfillBodyOf(b *ledger.Backfill, now time.Time) backfillBody {
	out := backfillBody{
		ID: b.ID, View: b.View, Stream: b.Stream, Version: b.Hash, VersionState: b.VersionIs, Engine: b.Engine, State: b.State, Import: b.File,
		CreatedAt: b.CreatedAt, ListedAt: orNone(b.ListedAt), FinishedAt: orNone(b.FinishedAt),
		Days: map[string]int64{ledger.Queued: 0, ledger.Running: 0, ledger.Done: 0, ledger.Failed: 0}, RowsDone: b.Read + b.Working, RowsTotal: b.Expect, Rows: b.Rows,
		Waiting: b.Waiting, NextTry: orNone(b.NextTry), Error: b.Trouble,
	}
	total := int64(0)
	for state, n := range b.Tasks {
		out.Days[state] = n
		total += n
	}
	out.Days["total"] = total
	if b.ListedAt.IsZero() {
		return out
	}
	end := now
	if !b.FinishedAt.IsZero() {
		end = b.FinishedAt
	}
	if took := end.Sub(b.ListedAt).Seconds(); took > 0 && out.RowsDone > 0 {
		out.Rate = float64(out.RowsDone) / took
		waits := b.Tasks[ledger.Failed]+b.Waiting > 0 // nobody knows for how long
		if b.State == ledger.Running && out.RowsDone >= b.Expect/100 && !waits {
			eta := max(0, float64(b.Expect-out.RowsDone)/out.Rate)
			out.ETA = &eta
		}
	}
	return out
}

func (a *API) listBackfills(w http.ResponseWriter, r *http.Request) error {
	all, err := a.deps.Backfills.Backfills(r.Context(), 0)
	if err != nil {
		return err
	}
	out := make([]backfillBody, len(all))
	now := time.Now()
	for i := range all {
		out[i] = backfillBodyOf(&all[i], now)
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, map[string]any{"backfills": out})
}

func (a *API) showBackfill(w http.ResponseWriter, r *http.Request) error {
	id, err := backfillID(r)
	if err != nil {
		return err
	}
	return a.writeBackfill(w, r, id)
}

func (a *API) writeBackfill(w http.ResponseWriter, r *http.Request, id int64) error {
	all, err := a.deps.Backfills.Backfills(r.Context(), id)
	if err != nil {
		return err
	}
	if len(all) != 1 {
		return unknownBackfill(strconv.FormatInt(id, 10))
	}
	out := backfillBodyOf(&all[0], time.Now())
	if json.Valid(all[0].Plan) {
		out.Plan = all[0].Plan
	}
	tasks, err := a.deps.Backfills.BackfillTasks(r.Context(), id)
	if err != nil {
		return err
	}
	for _, t := range tasks {
		out.Tasks = append(out.Tasks, taskBody{t.Day, t.State, t.Rows, t.Expect, t.Bytes, t.Tries, t.Error, orNone(t.After), t.Holder, orNone(t.Started), orNone(t.Finished)})
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, out)
}

func backfillID(r *http.Request) (int64, error) {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil || id <= 0 {
		return 0, unknownBackfill(strconv.Quote(r.PathValue("id")))
	}
	return id, nil
}

func unknownBackfill(id string) error {
	return fault.New(fault.Record, "unknown_backfill", "there is no back-fill %s", id).WithAdvice("see: pinflow backfill ls")
}

// steer does one of the actions on a back-fill.
func (a *API) steer(action string) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := backfillID(r)
		if err != nil {
			return err
		}
		if err := a.deps.Backfills.Steer(r.Context(), id, action); err != nil {
			return err
		}
		a.log.Info("steered a back-fill", "request_id", requestID(w), "backfill", id, "action", action)
		return a.writeBackfill(w, r, id)
	}
}
