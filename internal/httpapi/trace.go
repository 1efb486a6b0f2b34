package httpapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/pinflow/pinflow/internal/trace"
)

// Tracer follows events.
type Tracer interface {
	Event(ctx context.Context, id string, may func(stream string) bool) (*trace.Trace, error)
	At(ctx context.Context, topic string, partition int32, offset int64, may func(stream string) bool) (*trace.Trace, error)
}

// traceEvent tells where an event is. One that is nowhere is an empty list, and where was looked.
func (a *API) traceEvent(w http.ResponseWriter, r *http.Request) error {
	t, err := a.deps.Tracer.Event(r.Context(), r.PathValue("id"), func(stream string) bool { return sees(w, stream) })
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, t)
}

// traceRecord tells the same of the event whose record lies at a position of a topic.
func (a *API) traceRecord(w http.ResponseWriter, r *http.Request) error {
	partition, err := strconv.ParseInt(r.PathValue("partition"), 10, 32)
	if err != nil || partition < 0 {
		return problemf(http.StatusBadRequest, "bad_parameter", "%q is not the number of a partition", r.PathValue("partition"))
	}
	offset, err := strconv.ParseInt(r.PathValue("offset"), 10, 64)
	if err != nil || offset < 0 {
		return problemf(http.StatusBadRequest, "bad_parameter", "%q is not an offset", r.PathValue("offset"))
	}
	t, err := a.deps.Tracer.At(r.Context(), r.PathValue("topic"), int32(partition), offset, func(stream string) bool { return sees(w, stream) })
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return writeJSON(w, http.StatusOK, t)
}
