package httpapi

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Profiles are on their own listener, for this host alone, and end with it.
func TestProfilesAreForThisHost(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ServeProfiles(l)(ctx) }()
	ask := func(path string, change func(*http.Request)) (int, []byte) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		change(r)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, body
	}
	status, heap := ask("/debug/pprof/heap", func(*http.Request) {})
	if _, err := gzip.NewReader(bytes.NewReader(heap)); status != 200 || err != nil {
		t.Errorf("a heap profile: %d, %v, %.50q", status, err, heap)
	}
	if status, body := ask("/debug/pprof/goroutine?debug=1", func(r *http.Request) { r.Host = "localhost:1234" }); status != 200 || !strings.Contains(string(body), "goroutine profile") {
		t.Errorf("goroutines: %d %.50q", status, body)
	}
	for name, change := range map[string]func(*http.Request){
		"another name":          func(r *http.Request) { r.Host = "evil.example" },
		"an address of the net": func(r *http.Request) { r.Host = "192.0.2.1:80" },
		"a page of another":     func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
	} {
		if status, body := ask("/debug/pprof/heap", change); status != http.StatusForbidden {
			t.Errorf("%s: %d %.50q", name, status, body)
		}
	}
	if status, _ := ask("/v1/status", func(*http.Request) {}); status != http.StatusNotFound {
		t.Errorf("what is no profile: %d", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// The address that others reach has none, whatever it is asked for: only the page, as at any path that is not the API's.
func TestTheAPIHasNoProfiles(t *testing.T) {
	a := newAPI(t, &world{}, Config{})
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=1", "/debug/pprof/cmdline", "/debug/pprof/profile?seconds=1"} {
		got := ask(a, "GET", path, nil)
		if page := ask(a, "GET", "/no/such/page", nil); got.Body.String() != page.Body.String() || got.Header().Get("Content-Type") != page.Header().Get("Content-Type") {
			t.Errorf("%s: %d %.60q", path, got.Code, got.Body)
		}
	}
}
