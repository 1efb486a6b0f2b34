package httpapi

import (
	"context"
	_ "embed"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"
)

//go:embed openapi.json
var openAPIText []byte

// healthz says that the process answers; it asks nobody.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error {
	return writeText(w, http.StatusOK, "ok\n")
}

// readyTimeout bounds all checks together.
const readyTimeout = 3 * time.Second

// readyz asks every check at once and says a line of each.
func (a *API) readyz(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	errs := make([]error, len(a.deps.Checks))
	var wg sync.WaitGroup
	for i, c := range a.deps.Checks {
		wg.Go(func() { errs[i] = c.Check(ctx) })
	}
	wg.Wait()
	status := http.StatusOK
	var out strings.Builder
	if a.draining.Load() {
		status = http.StatusServiceUnavailable
		out.WriteString("fail draining: the process is stopping\n")
	}
	for i, c := range a.deps.Checks {
		if errs[i] != nil {
			status = http.StatusServiceUnavailable
			fmt.Fprintf(&out, "fail %s: %s\n", c.Name, oneLine(errs[i].Error()))
		} else {
			fmt.Fprintf(&out, "ok   %s\n", c.Name)
		}
	}
	if out.Len() == 0 {
		out.WriteString("ok\n")
	}
	return writeText(w, status, out.String())
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

func (a *API) version(w http.ResponseWriter, _ *http.Request) error {
	return writeJSON(w, http.StatusOK, map[string]string{"version": a.cfg.Version, "go": runtime.Version()})
}

func (a *API) openAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-cache")
	_, _ = w.Write(openAPIText) // the client is gone: nobody is left to tell
	return nil
}

func writeText(w http.ResponseWriter, status int, text string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(text)) // the client is gone: nobody is left to tell
	return nil
}
